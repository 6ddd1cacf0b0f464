"""`gi bench train`: the trainer beside a bare PyTorch loop."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gi_data.cli_output import AsJson, progress_bar

if TYPE_CHECKING:
    from gi_train.bench_train import Overhead, TrainReport

EPISODES = 3  # of each game: some minutes of play, which fit into any memory


def register(bench: typer.Typer) -> None:
    """Add the benchmark to the group `gi bench`."""
    bench.command("train")(train_command)


def train_command(
    preset: Annotated[str, typer.Option(help="Size and settings.")] = "tiny",
    corpus: Annotated[
        Path | None, typer.Option(help="Read this corpus instead of one recorded from Doom for the purpose.")
    ] = None,
    pairs: Annotated[int, typer.Option(help="Pairs of stretches: the real loop, then the bare one.")] = 12,
    stretch: Annotated[int, typer.Option(help="Steps of a stretch; with --saves one save in every other.")] = 20,
    saves: Annotated[bool, typer.Option("--saves", help="Also what saving costs a step.")] = False,
    batch_size: Annotated[int | None, typer.Option(help="Windows a step (default: the preset's).")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads of torch.")] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any other field of policy or training, NAME=JSON; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What the trainer costs beyond the model, on cached frames: process CPU time and wall time, in paired stretches.

    Example: gi bench train --preset tiny --saves
    """
    from gi_data.blend import Blend
    from gi_model.config import preset as policy_preset
    from gi_train.bench_train import TrainBench, run_bench
    from gi_train.cli_pretrain import apply_settings
    from gi_train.config import PRESETS

    policy, train = apply_settings(set_ or [], policy_preset(preset), PRESETS[preset])
    changes = {"threads": threads} | ({"batch_size": batch_size} if batch_size else {})
    bench = TrainBench(policy, train.replace(**changes), pairs, stretch, saves)

    with tempfile.TemporaryDirectory(prefix="gi-bench-") as name:
        folder = Path(name)
        data = Blend.open([str(corpus or _record(folder, as_json))])
        report = run_bench(data, bench, folder / "run")
    if as_json:
        from gi_data.bench_reader_meter import machine

        setting = {"preset": preset, "pairs": pairs, "stretch": stretch, "batch_size": bench.train.batch_size}
        typer.echo(json.dumps(asdict(report) | {"setting": setting, "machine": machine()}))
    else:
        _print(report, bench.stretch)


def _record(folder: Path, as_json: bool) -> Path:
    """A corpus of a few episodes of each game of the benchmarks, one of each held out."""
    from gi_data.bench_play import GAMES
    from gi_data.planning import plan
    from gi_data.record import RecordPlan
    from gi_data.record_jobs import record
    from gi_data.shards import ShardConfig, build

    recordings = folder / "recordings"
    with progress_bar(as_json) as progress:
        for game in progress.track(GAMES, description="recording"):
            record(RecordPlan(game, recordings, episodes=EPISODES))
    build(plan([recordings], folder / "corpus", val_fraction=1 / EPISODES), ShardConfig())
    return folder / "corpus"


def _print(report: "TrainReport", stretch: int) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"device {report.device}: [bold]{report.frames_per_s:,.0f}[/] frames/s, MFU {report.mfu:.1%}")
    console.print(f"trainer over a bare loop: {_show(report.trainer)}")
    if report.saving:
        console.print(f"one save every {stretch} steps: {_show(report.saving)}")
    if report.peak_memory_mb:
        console.print(f"peak memory {report.peak_memory_mb:,.0f} MB")
    parts = "  ".join(f"{name} {1000 * seconds:.2f}" for name, seconds in report.seconds.items())
    console.print(f"milliseconds a step: {parts}")


def _show(overhead: "Overhead") -> str:
    (low, high), (wall_low, wall_high) = overhead.cpu_quartiles, overhead.wall_quartiles
    cpu = f"[bold]{overhead.cpu:+.1%}[/] CPU time ({low:+.1%} to {high:+.1%})"
    return f"{cpu}, {overhead.wall:+.1%} wall ({wall_low:+.1%} to {wall_high:+.1%})"
