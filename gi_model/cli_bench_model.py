"""`gi bench model`: every size's weights, operations, memory, and CPU time an action, beside what public peers need."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from gi_model.bench_model import Bar, ModelBench, SizeCost

MARKS = {True: "[green]met[/]", False: "[red]not met[/]", None: "not measured"}


def model_command(
    preset: Annotated[
        list[str] | None, typer.Option(help="Only this size; may be given again. Presets, and 71M and 183M.")
    ] = None,
    timed: Annotated[bool, typer.Option(help="Time sizes up to 250 M parameters, not only count them.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
) -> None:
    """Parameters, GFLOP, cache, and CPU ms an action of every size: streaming beside computing the window again.

    Example: gi bench model --preset small --preset 71M
    """
    from gi_model.bench_model import run

    report = run(tuple(preset or ()), timed=timed)
    if as_json:
        typer.echo(json.dumps(_facts(report)))
    else:
        _print(report)


def _facts(report: "ModelBench") -> dict[str, object]:
    return asdict(report) | {"bars": [asdict(bar) | {"is_met": bar.is_met} for bar in report.bars]}


def _print(report: "ModelBench") -> None:
    from rich.console import Console

    console, machine = Console(), report.machine
    console.print(_sizes_table(report.sizes))
    console.print(_times_table(report.sizes))
    console.print(
        f"one thread in this run: {machine.matmul_gflops:.0f} GFLOP/s in a matrix product, "
        f"{machine.read_gb_per_s:.1f} GB/s reading weights once"
    )
    console.print(_bars_table(report.bars))


def _sizes_table(sizes: tuple["SizeCost", ...]) -> "Table":
    from rich.table import Table

    columns = ("size", "parameters M", "encoder, past, backbone, decoder", "GFLOP critical", "in all")
    parts = ("encoder, past, backbone, attention, decoder", "GFLOP to train a tick", "cache MB", "of s")
    table = Table(*columns, *parts, title="weights; GFLOP an action with a full cache; cache of a session in bf16")
    for size in sizes:
        weights = ", ".join(f"{number / 1e6:.2f}" for number in size.parameters.values())
        work = ", ".join(f"{value:.3f}" for value in size.gflop.values())
        costs = (f"{size.gflop_critical:.3f}", f"{size.gflop_all:.3f}", work, f"{size.gflop_training:.2f}")
        memory = (f"{size.cache_mb:.2f}", f"{size.window_s:.1f}")
        table.add_row(size.name, f"{sum(size.parameters.values()) / 1e6:.1f}", weights, *costs, *memory)
    return table


def _times_table(sizes: tuple["SizeCost", ...]) -> "Table":
    from rich.table import Table

    columns = ("size", "streaming", "window from kept tokens", "window from pixels", "streaming is faster by")
    table = Table(*columns, title="CPU ms an action, one thread, process time")
    for size in sizes:
        if size.timing is None:
            table.add_row(size.name, "-", "-", "-", size.not_timed)
            continue
        stream, tokens, pixels = size.timing.stream_ms, size.timing.from_tokens_ms, size.timing.from_pixels_ms
        times = f"{tokens / stream:.1f}x, {pixels / stream:.1f}x"
        table.add_row(size.name, f"{stream:.1f}", f"{tokens:.1f}", f"{pixels:.1f}", times)
    return table


def _bars_table(bars: tuple["Bar", ...]) -> "Table":
    from rich.table import Table

    table = Table("lower is better", "reference", "bar", "ours", "", title="beside public peers")
    for bar in bars:
        ours = "-" if bar.ours is None else f"{bar.ours:.2f}"
        table.add_row(bar.what, bar.reference, f"{bar.limit:g}", ours, MARKS[bar.is_met])
    return table
