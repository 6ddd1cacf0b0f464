"""`gi bench train`: what the trainer costs beyond the model: the real loop beside a bare one, in turns, in one process.

The real loop is `pretrain` itself, all of it: reader on clips that are in memory, checks, flags, logs. When it fetches
the first batch of a stretch of steps, the bare loop (forward, backward, clip, AdamW, on batches it already has, with
weights of its own) takes a stretch of the same length. Each pair of stretches gives a ratio; the median counts, so a
neighbour's burst spoils one pair. On a shared CPU only process CPU time means anything; wall time stands beside it.
With `save_every` the real loop saves in every other stretch, whose ratio to its neighbours without is what saving
costs at one save a stretch.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

import gi_train.pretrain as trainer
from gi_data.blend import Blend
from gi_data.reader import Reader
from gi_model.batch import Batch
from gi_model.config import PolicyConfig
from gi_model.policy import Policy
from gi_train.config import TrainConfig
from gi_train.optimizers import build_optimizer
from gi_train.parallel import Parallel
from gi_train.run_files import RunPaths, read_rows
from gi_train.throughput import Throughput

NUM_KEPT = 8  # batches that the bare loop goes round
SETTLE_S = 0.05  # for the reader to get as far ahead as it may
PARTS = ("fetch", "forward", "backward", "step")


@dataclass(frozen=True)
class TrainBench:
    """How long: pairs of stretches of `stretch` steps each, after a warm-up of as many steps as make an epoch."""

    policy: PolicyConfig
    train: TrainConfig
    pairs: int = 12
    stretch: int = 20
    saves: bool = False


@dataclass(frozen=True)
class Cost:
    """Process CPU seconds and wall seconds of one stretch."""

    cpu_s: float
    wall_s: float


@dataclass(frozen=True)
class Overhead:
    """Medians of paired ratios less 1, and the middle half of them."""

    cpu: float
    cpu_quartiles: tuple[float, float]
    wall: float
    wall_quartiles: tuple[float, float]

    @classmethod
    def of(cls, pairs: list[tuple[Cost, Cost]]) -> "Overhead":
        """Of (more, less) pairs."""
        cpu = sorted(more.cpu_s / less.cpu_s - 1 for more, less in pairs)
        wall = sorted(more.wall_s / less.wall_s - 1 for more, less in pairs)
        return cls(median(cpu), _middle_half(cpu), median(wall), _middle_half(wall))


@dataclass(frozen=True)
class TrainReport:
    """trainer: the loop beside a bare one; saving: stretches with a save beside those without; seconds: of a step."""

    device: str
    trainer: Overhead
    saving: Overhead | None
    frames_per_s: float
    frames_per_cpu_s: float
    mfu: float
    peak_memory_mb: float  # of the GPU, the bare loop's weights and moments included; 0 on a CPU
    seconds: dict[str, float] = field(default_factory=dict)


class BareLoop:
    """What anyone would write: nothing is checked, logged, or saved, and no data is read."""

    def __init__(self, bench: TrainBench, device: torch.device) -> None:
        torch.manual_seed(bench.train.seed)
        policy = Policy(bench.policy).to(device)
        self._model: Any = torch.compile(policy) if bench.train.compile else policy
        self._optimizer = build_optimizer(policy, bench.train)
        self._bench, self._device = bench, device
        self._batches: list[Batch] = []

    def keep(self, batch: Batch) -> None:
        """Remember a batch, up to NUM_KEPT."""
        if len(self._batches) < NUM_KEPT:
            self._batches.append(batch.to(self._device))

    def run(self, num_steps: int) -> None:
        """Take so many steps."""
        bf16 = self._bench.train.precision == "bf16"
        for number in range(num_steps):
            batch = self._batches[number % len(self._batches)]
            with torch.autocast(self._device.type, torch.bfloat16, enabled=bf16):
                loss, _ = self._model(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._bench.train.clip_norm)
            self._optimizer.step()
            self._optimizer.zero_grad()


class Turns:
    """Lets the bare loop run between stretches of the real one; measures both."""

    def __init__(self, bench: TrainBench, device: torch.device, first: int) -> None:
        self._bench, self._device, self._first = bench, device, first
        self._bare = BareLoop(bench, device)
        self._begun: tuple[float, float] | None = None
        self.real: list[Cost] = []
        self.bare: list[Cost] = []

    def before(self, step: int) -> None:
        """The real loop is about to fetch the batch of step `step`, from 0."""
        since = step - self._first
        if since < 0 or since % self._bench.stretch:
            return
        if self._begun:
            self.real.append(self._end(self._begun))
        begun = self._now()
        self._bare.run(self._bench.stretch)
        if since:
            self.bare.append(self._end(begun))
        self._begun = self._now()

    def keep(self, batch: Batch) -> None:
        """Give the bare loop a batch to go round on."""
        self._bare.keep(batch)

    def _now(self) -> tuple[float, float]:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.process_time(), time.perf_counter()

    def _end(self, begun: tuple[float, float]) -> Cost:
        """Whatever still runs ahead in the background belongs to the stretch that ends, in CPU time."""
        wall = self._now()[1] - begun[1]
        time.sleep(SETTLE_S)
        return Cost(self._now()[0] - begun[0], wall)


class PacedReader(Reader):
    """The reader of `pretrain`, which tells `turns` before each batch."""

    turns: Turns

    def __iter__(self) -> Iterator[Batch]:
        """As the reader's."""
        for step, batch in enumerate(super().__iter__()):
            self.turns.keep(batch)
            self.turns.before(step)
            yield batch


def run_bench(data: Blend, bench: TrainBench, out: Path) -> TrainReport:
    """Train on `data`, which must fit into the reader's memory, in `out`. Raises CorpusError."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(bench.train.threads)
    warmup = _count_warmup(data, bench)
    steps = warmup + (2 * bench.pairs + 1 if bench.saves else bench.pairs) * bench.stretch + 1
    every = 2 * bench.stretch if bench.saves else steps
    offset = bench.stretch // 2  # saves fall into the middle of a stretch
    first = warmup // every * every + every + offset if bench.saves else warmup
    config = bench.train.replace(
        steps=steps + first - warmup, save_every=every, evaluate_every=10 * steps, evaluate_batches=1, log_every=5
    )
    turns = Turns(bench, device, first)
    with _paced(turns):
        trainer.pretrain(data, out, bench.policy, config)
    return _report(bench, config, turns, device, out)


def _report(bench: TrainBench, config: TrainConfig, turns: Turns, device: torch.device, out: Path) -> TrainReport:
    pairs = list(zip(turns.real, turns.bare, strict=False))
    # The first stretch begins half a stretch after a save, so the second holds the next one.
    saving = list(zip(turns.real[1::2], turns.real[0::2], strict=False)) if bench.saves else []
    if bench.saves:
        pairs = pairs[0::2]
    frames = bench.stretch * config.batch_size * config.window_ticks
    plain = [real for real, _ in pairs]
    rate = frames / median(cost.wall_s for cost in plain)
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    throughput = Throughput(bench.policy, world_size=1, device=device, dtype=dtype, window_ticks=config.window_ticks)
    rows = [row for row in read_rows(RunPaths(out).metrics) if row["kind"] == "train"]
    on_gpu = device.type == "cuda"
    return TrainReport(
        device=torch.cuda.get_device_name(device) if on_gpu else "cpu",
        trainer=Overhead.of(pairs),
        saving=Overhead.of(saving) if saving else None,
        frames_per_s=rate,
        frames_per_cpu_s=frames / median(cost.cpu_s for cost in plain),
        mfu=throughput.facts(rate)["mfu"],
        peak_memory_mb=torch.cuda.max_memory_allocated(device) / 1e6 if on_gpu else 0.0,
        # The pause for the bare loop falls into some fetches: a median does not see it.
        seconds={name: median(row.get(f"seconds/{name}", 0.0) for row in rows) for name in PARTS},
    )


@contextmanager
def _paced(turns: Turns) -> Iterator[None]:
    """Let `pretrain` read through a PacedReader: the only way in that leaves the loop as it is."""

    def build(
        data: Blend, policy: PolicyConfig, config: TrainConfig, parallel: Parallel, *, split: str = "train"
    ) -> Reader:
        reader = original(data, policy, config, parallel, split=split)
        if split != "train":
            return reader
        paced = PacedReader(data, reader.config)
        paced.turns = turns
        return paced

    original = trainer.build_reader
    trainer.build_reader = build
    try:
        yield
    finally:
        trainer.build_reader = original


def _count_warmup(data: Blend, bench: TrainBench) -> int:
    """Steps until every clip has been decoded once, and the model's kernels are chosen."""
    windows = int((data.num_ticks[data.select("train")] // bench.train.window_ticks).sum())
    return max(2 * bench.stretch, -(-windows // bench.train.batch_size) + bench.stretch)


def _middle_half(values: list[float]) -> tuple[float, float]:
    return values[len(values) // 4], values[-1 - len(values) // 4]
