"""`gi bench reader` and `gi bench video`: how fast the corpus is read, and which video settings it is stored with."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gi_data.cli_output import AsJson, progress_bar

if TYPE_CHECKING:
    from gi_data.bench_reader import ReaderBench, ReaderReport
    from gi_data.bench_reader_soak import Soak
    from gi_data.corpus import Corpus

NUM_FRAMES = 10_560  # five minutes of play: thirty clips


def register(bench: typer.Typer) -> None:
    """Add the benchmarks to the group `gi bench`."""
    bench.command("reader")(reader_command)
    bench.command("video")(video_command)


def reader_command(
    corpus: Annotated[
        Path | None, typer.Option(help="Read this corpus instead of one recorded from Doom for the purpose.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames to record where no corpus is given.")] = NUM_FRAMES,
    window: Annotated[int, typer.Option(help="Frames of a window.")] = 16,
    batch: Annotated[int, typer.Option(help="Windows of a batch.")] = 16,
    size: Annotated[int, typer.Option(help="Pixels a side.")] = 192,
    repetitions: Annotated[int, typer.Option(help="Readings of everyone, taken in turns; the best counts.")] = 5,
    peer_python: Annotated[
        Path | None, typer.Option(help="Python of an environment with torchcodec and lerobot, to run them too.")
    ] = None,
    soak: Annotated[int, typer.Option(help="Then read so many windows and watch the memory.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Frames a CPU-second of our reader, beside bare decoding and other readers of the same frames in the same run.

    Example: gi bench reader --window 16 --batch 16 --size 192
    """
    from gi_data.bench_reader import ReaderBench
    from gi_data.bench_reader_meter import machine
    from gi_data.bench_tables import print_reader

    config = ReaderBench(window, batch, size, repetitions, peer_python)
    with tempfile.TemporaryDirectory(prefix="gi-bench-") as name, _one_thread():
        opened = _open_corpus(corpus, Path(name), config, frames, as_json)
        report, soaked = _measure(opened, config, Path(name), soak, as_json)
    facts = asdict(report) | {"soak": soaked and asdict(soaked) | {"growth_mb": soaked.growth_mb}}
    if as_json:
        typer.echo(json.dumps(facts | {"setting": _setting(config), "machine": machine()}))
    else:
        print_reader(report, soaked, config)


def video_command(
    frames: Annotated[int, typer.Option(help="Frames of real play to encode.")] = 2112,
    repetitions: Annotated[int, typer.Option(help="Decodings of each video; the best counts.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Only a few settings.")] = False,
    as_json: AsJson = False,
) -> None:
    """What each video setting costs on real Doom frames: bytes, quality, encoding, decoding.

    Example: gi bench video --quick
    """
    from gi_data.bench_reader_meter import machine
    from gi_data.bench_tables import print_video
    from gi_data.bench_video import run
    from gi_data.bench_video_grid import GRID, QUICK

    settings = QUICK if quick else GRID
    with progress_bar(as_json) as progress:
        task = progress.add_task("encoding", total=len(settings))
        report = run(settings, frames, repetitions=repetitions, advance=lambda: progress.advance(task))
    if as_json:
        typer.echo(json.dumps(asdict(report) | {"machine": machine()}))
    else:
        print_video(report)


# ---------------------------------------------------------------------- the work


def _open_corpus(corpus: Path | None, folder: Path, config: "ReaderBench", frames: int, as_json: bool) -> "Corpus":
    from gi_data.corpus import Corpus

    if corpus is None:
        from gi_data.bench_play import make_corpus

        with progress_bar(as_json) as progress:
            task = progress.add_task("recording", total=frames)
            corpus = make_corpus(folder, frames, size=config.size, advance=lambda: progress.advance(task))
    return Corpus(corpus)


def _measure(
    corpus: "Corpus", config: "ReaderBench", folder: Path, num_windows: int, as_json: bool
) -> "tuple[ReaderReport, Soak | None]":
    from gi_data.bench_reader import num_readings, run
    from gi_data.bench_reader_soak import NUM_SAMPLES, soak

    with progress_bar(as_json) as progress:
        task = progress.add_task("reading", total=num_readings(config))
        report = run(corpus, config, folder, lambda: progress.advance(task))
        if not num_windows:
            return report, None
        task = progress.add_task(f"{num_windows} windows", total=NUM_SAMPLES)
        return report, soak(corpus, config.reader, num_windows, lambda: progress.advance(task))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch and its peers on one thread: more of them cost CPU time even while they wait."""
    import torch

    threads = torch.get_num_threads()
    before = os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the peers' processes
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _setting(config: "ReaderBench") -> dict[str, object]:
    names = ("window_ticks", "batch_size", "size", "repetitions")
    return {name: getattr(config, name) for name in names}
