"""`sweep`: a grid of sizes x amounts of data, each point a real `gi pretrain` in a process of its own.

A size is written DIMxLAYERS; heads, stem, and decoder grow with the width in the preset's proportions, so the preset
stays the one dial; the learning rate falls with the square root of the width. Amounts of data are nested views of one
corpus, each game cut alike, all with the same held-out clips. Every run passes over its data once (or `epochs` times)
with a schedule of that length: losses of longer runs that were cut short would follow another curve (Hoffmann et al.
2022, section 3.1). Finished runs are kept, unfinished ones resume.
"""

import hashlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from gi_data.catalog import Catalog
from gi_data.views import subset
from gi_model.config import PRESETS as SIZES
from gi_model.config import PolicyConfig, preset
from gi_model.errors import ConfigError, TrainingError
from gi_train.config import PRESETS, TrainConfig
from gi_train.demo_stages import GI
from gi_train.run_files import RunPaths, read_rows

HEAD_DIM = 32
EVALUATE_BATCHES = 40
COMMAND = "command.json"


@dataclass(frozen=True)
class Sweep:
    """A grid. sizes: DIMxLAYERS; hours: of play to learn from; metric: of the held-out rows of metrics.jsonl."""

    corpus: Path
    out: Path
    sizes: tuple[str, ...]
    hours: tuple[float, ...]
    preset: str = "tiny"
    epochs: float = 1.0
    batch_size: int | None = None
    seeds: int = 1
    jobs: int = 1
    metric: str = "nll"

    def __post_init__(self) -> None:
        for name in ("epochs", "seeds", "jobs"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"sweep: {name} out of range", got=getattr(self, name), expected="above 0")
        if not self.sizes or not self.hours or min(self.hours) <= 0:
            raise ConfigError("sweep: an empty grid", got=(self.sizes, self.hours), expected="--sizes and --hours")
        for size in self.sizes:
            scale(preset(self.preset), size)

    @property
    def train(self) -> TrainConfig:
        """The preset's settings, with this sweep's batch size."""
        config = PRESETS[self.preset]
        return config.replace(batch_size=self.batch_size) if self.batch_size else config


@dataclass(frozen=True)
class Point:
    """One run of the grid: what it learns from (a view) and how long. ticks: of play, each counted once."""

    size: str
    hours: float
    seed: int
    view: Path
    ticks: int
    steps: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.size}-{self.hours:.4g}h-{self.seed}"


@dataclass(frozen=True)
class Outcome:
    """A finished point and its held-out loss, in nats a tick."""

    point: Point
    parameters: int
    loss: float


def scale(base: PolicyConfig, size: str) -> PolicyConfig:
    """`base` with the width and depth of `size`, its parts in proportion. Raises ConfigError on no DIMxLAYERS."""
    dim, _, layers = size.partition("x")
    if not (dim.isdecimal() and layers.isdecimal()) or not int(dim) or int(dim) % HEAD_DIM or not int(layers):
        raise ConfigError("no size of a sweep", got=size, expected=f"DIMxLAYERS, DIM a multiple of {HEAD_DIM}: 96x3")
    width = int(dim)
    first, second, third = (max(8, round(c * width / base.dim / 8) * 8) for c in base.stem_channels)
    return base.replace(
        dim=width,
        num_layers=int(layers),
        num_heads=width // HEAD_DIM,
        num_kv_heads=width // HEAD_DIM,
        stem_channels=(first, second, third),
        decoder_dim=max(16, round(base.decoder_dim * width / base.dim / 16) * 16),
    )


def plan(sweep: Sweep) -> list[Point]:
    """All points, small ones first; makes their views. Raises CorpusError, ConfigError."""
    amounts = [(hours, *make_view(sweep, hours)) for hours in sorted(sweep.hours)]
    points = []
    for size in sorted(sweep.sizes, key=lambda size: scale(preset(sweep.preset), size).dim):
        for hours, view, ticks in amounts:
            steps = round(sweep.epochs * ticks / (sweep.train.batch_size * sweep.train.window_ticks))
            if steps < 2:
                do = "Raise --hours or --epochs, or lower --batch-size."
                raise ConfigError(f"{hours} hours are not enough for a run", got=f"{steps} steps", do=do)
            points += [Point(size, hours, seed, view, ticks, steps) for seed in range(sweep.seeds)]
    return points


def make_view(sweep: Sweep, hours: float) -> tuple[Path, int]:
    """A view of about `hours` of training clips, the same share of each game, and all held-out ones; and its ticks.

    Views are nested: clips are taken in the order of a hash of their keys. Raises ConfigError if there is less play.
    """
    rows = Catalog.open(sweep.corpus).table.select(["key", "game", "split", "seconds", "num_ticks"]).to_pylist()
    train = [row for row in rows if row["split"] == "train"]
    there = sum(row["seconds"] for row in train) / 3600
    if hours > there * 1.001:
        raise ConfigError("the corpus holds less play to learn from", got=f"{there:.3f} hours", expected=f"{hours}")
    chosen, ticks = [], 0
    for game in sorted({row["game"] for row in train}):
        clips = sorted((row for row in train if row["game"] == game), key=lambda row: _order(row["key"]))
        left = hours / there * sum(row["seconds"] for row in clips)
        for row in clips:
            if left < row["seconds"] / 2:
                break
            left -= row["seconds"]
            ticks += row["num_ticks"]
            chosen.append(row["key"])
    view = sweep.out / "views" / f"{hours:.4g}h"
    keys = ", ".join("'" + key.replace("'", "''") + "'" for key in chosen)
    subset(sweep.corpus, view, where=f"split = 'val' or key in ({keys or 'null'})")
    return view, ticks


def count_hours(corpus: Path) -> float:
    """Hours of play in the training split. Raises CorpusError."""
    rows = Catalog.open(corpus).table.select(["split", "seconds"]).to_pylist()
    return float(sum(row["seconds"] for row in rows if row["split"] == "train")) / 3600


def run(sweep: Sweep, points: Sequence[Point], *, advance: Callable[[Outcome], None]) -> list[Outcome]:
    """Train every point that is not finished, `jobs` at a time. Raises TrainingError with the last words of a run."""
    outcomes: list[Outcome] = []
    children = Children()
    with ThreadPoolExecutor(sweep.jobs) as pool:
        futures = [pool.submit(_finish, sweep, point, children) for point in points]
        try:
            for future in as_completed(futures):
                outcomes.append(future.result())
                advance(outcomes[-1])
        except BaseException:
            for future in futures:
                future.cancel()
            children.end()
            raise
    return sorted(outcomes, key=lambda outcome: points.index(outcome.point))


class Children:
    """Processes of a sweep, ended together: they save what they have."""

    def __init__(self) -> None:
        self._lock, self._open, self._is_over = threading.Lock(), set[subprocess.Popen[str]](), False

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        """Exit status and stderr of a command."""
        with self._lock:
            if self._is_over:
                return -1, "stopped"
            child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            self._open.add(child)
        _, errors = child.communicate()
        with self._lock:
            self._open.discard(child)
        return child.returncode, errors

    def end(self) -> None:
        """Ask all to leave; nothing is started any more."""
        with self._lock:
            self._is_over = True
            for child in self._open:
                child.terminate()


def command(sweep: Sweep, point: Point) -> list[str]:
    """The words after `gi` that train `point`."""
    policy, base = scale(preset(sweep.preset), point.size), SIZES[sweep.preset]
    train = sweep.train
    settings: dict[str, object] = {
        name: value for name, value in policy.to_dict().items() if value != base.to_dict()[name]
    }
    settings |= {
        "warmup_steps": max(1, min(train.warmup_steps, point.steps // 10)),
        "evaluate_every": point.steps,
        "evaluate_batches": EVALUATE_BATCHES,
    }
    lr = train.lr_peak * (base.dim / policy.dim) ** 0.5
    words = ["pretrain", "--data", str(point.view), "--out", str(sweep.out / "runs" / point.name)]
    words += ["--preset", sweep.preset, "--steps", str(point.steps), "--batch-size", str(train.batch_size)]
    words += ["--lr", f"{lr:.4g}", "--temperature", "1", "--seed", str(point.seed)]
    for name, value in settings.items():
        words += ["--set", f"{name}={json.dumps(value)}"]
    return words


def _finish(sweep: Sweep, point: Point, children: Children) -> Outcome:
    """Train `point` unless it is finished."""
    words = command(sweep, point)
    paths = RunPaths(sweep.out / "runs" / point.name)
    _check_same(paths, words)
    if not paths.checkpoint.exists():
        status, errors = children.run([*GI, *words])
        if status != 0:
            tail = " / ".join(errors.split("\n")[-6:]).strip()
            do = f"The same command goes on from here; this run alone: gi {' '.join(words)}"
            raise TrainingError(f"run {point.name} failed", got=tail or f"exit {status}", do=do)
    held_out = [row for row in read_rows(paths.metrics) if row["kind"] == "val" and row["step"] == point.steps]
    if not held_out or sweep.metric not in held_out[-1]:
        do = f"Delete {paths.out} and run the same command again."
        raise TrainingError(f"run {point.name} has no held-out {sweep.metric}", do=do)
    return Outcome(point, _count_parameters(paths.checkpoint), float(held_out[-1][sweep.metric]))


def _check_same(paths: RunPaths, words: Sequence[str]) -> None:
    """What lies in a run's folder must be this run's."""
    file = paths.out / COMMAND
    if file.exists() and json.loads(file.read_text()) != list(words):
        do = f"Choose another --out, or delete {paths.out}."
        raise ConfigError(f"{paths.out} holds a run with other settings", got=file.read_text(), do=do)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(list(words)))


def _count_parameters(checkpoint: Path) -> int:
    from gi_model.checkpoint import load_policy

    return sum(parameter.numel() for parameter in load_policy(checkpoint).parameters())


def _order(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def describe(outcomes: Sequence[Outcome]) -> Iterator[dict[str, object]]:
    """Plain rows for JSON."""
    for outcome in outcomes:
        facts = asdict(outcome.point) | {"view": str(outcome.point.view)}
        yield facts | {"parameters": outcome.parameters, "loss": outcome.loss}
