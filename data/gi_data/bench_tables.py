"""The tables that `gi bench reader` and `gi bench video` show to people."""

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from gi_data.bench_reader import FLOOR, ReaderBench, ReaderReport
from gi_data.bench_reader_meter import machine
from gi_data.bench_reader_soak import Soak
from gi_data.bench_video import VideoReport


def print_reader(report: ReaderReport, soaked: Soak | None, config: ReaderBench) -> None:
    """A row a reader, the promises, memory, and the machine."""
    title = (
        f"{report.frames} frames, {config.size}x{config.size}, windows of {config.window_ticks}, "
        f"batches of {config.batch_size}, {config.repetitions} repetitions"
    )
    names = ("order", "frames/CPU-s", "median", "frames/s", "of the floor")
    table = Table(
        Column("reader", overflow="fold", min_width=28), *names, box=SIMPLE, padding=(0, 1, 0, 0), title=title
    )
    floor = next(score.best for score in report.scores if score.name == FLOOR)
    for score in report.scores:
        figures = (f"{score.best:,.0f}", f"{score.median:,.0f}", f"{score.wall:,.0f}", f"{score.best / floor:.0%}")
        table.add_row(score.name, score.order, *figures, style="bold" if score.name.startswith("gi") else "")
    console = Console(highlight=False)
    console.print(table)
    for bar in report.bars:
        value = "not measured" if bar.value is None else f"{bar.value:.2f} by best, {bar.paired:.2f} by pairs:"
        colour = "yellow" if bar.value is None else "green" if bar.value >= bar.at_least else "red"
        console.print(f"[{colour}]{value}[/] {bar.name} (wanted: {bar.at_least:.2f})")
    console.print(f"{report.bytes_per_hour / 1e9:.3f} GB an hour, {report.clips} clips")
    if soaked is not None:
        console.print(f"memory over {soaked.windows} windows: {_trend(soaked)}")
    for kind, quality in report.mixture.items():
        shown = f"{quality.distance:.2f} from the whole, {quality.distance_at_random:.2f} if drawn at random"
        console.print(f"{kind} of a batch: {shown}")
    facts = machine()
    console.print(f"{facts['processor']}, {facts['cpus']} CPUs, load {facts['load']:.1f}, Python {facts['python']}")
    for note in report.notes:
        console.print(f"[yellow]note[/] {escape(note)}")


def _trend(soaked: Soak) -> str:
    seen = soaked.resident_mb
    return f"{seen[0]:.0f} MB at first, {max(seen):.0f} at most, {seen[-1]:.0f} at last; growth {soaked.growth_mb:+.1f}"


def print_video(report: VideoReport) -> None:
    """A row a setting."""
    names = ("GB/h", "PSNR", "encode", "decode", "planes", "window")
    title = f"{report.frames} frames of Doom at {report.fps} a second; CPU time, one thread"
    caption = "PSNR in dB; encode: frames a second; decode, to planes, random windows: us a frame"
    columns = (Column("size"), Column("setting", overflow="fold", min_width=30))
    table = Table(*columns, *names, box=SIMPLE, padding=(0, 1, 0, 0), title=title, caption=caption)
    for score in report.scores:
        times = (score.encode_frames_per_cpu_s, score.decode_us, score.planes_us, score.window_us)
        shown = [f"{value:,.0f}" if value else "-" for value in times]
        table.add_row(
            f"{score.width}x{score.height}", score.setting, f"{score.gb_per_hour:.3f}", f"{score.psnr_db:.2f}", *shown
        )
    console = Console(highlight=False)
    console.print(table)
    for note in report.notes:
        console.print(f"[yellow]skipped[/] {escape(note)}")
