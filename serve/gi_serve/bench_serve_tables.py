"""The tables that `gi bench serve` and `gi bench faults` show to people."""

from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from gi_serve.bench_faults import FaultReport
from gi_serve.bench_serve import OURS, Bar, ServeBench, ServeReport

_COLUMNS = ("actions/s", "on time", "p50 ms", "p99", "CPU us", "drops")


def print_serve(report: ServeReport, config: ServeBench, machine: dict[str, Any]) -> None:
    """A row a contestant, the promises, the real policy, the machine."""
    title = f"{config.repetitions} trials of {config.seconds:g} s in turns; medians; CPU of the server, a frame"
    table = Table(
        Column("scenario", no_wrap=True),
        Column("server", no_wrap=True),
        *_COLUMNS,
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        title=title,
    )
    for row in report.rows:
        names = ("actions_per_s", "p50_ms", "p99_ms", "cpu_us", "drops")
        speed, p50, p99, cpu, drops = (f"{row.median(name):,.0f}" for name in names)
        figures = (speed, f"{row.median('on_time'):.1%}", p50, p99, cpu, drops)
        table.add_row(row.scenario, row.contestant, *figures, style="bold" if row.contestant == OURS else "")
    console = Console(highlight=False)
    console.print(table)
    for bar in report.bars:
        _print_bar(console, bar)
    decodes = [trial.decode_us for row in report.rows for trial in row.trials if trial.decode_us]
    if decodes:
        console.print(f"decoding the JPEG: {sorted(decodes)[len(decodes) // 2]:.0f} us of CPU")
    if report.policy is not None:
        what = config.checkpoint or f"{config.preset}, random weights"
        held = f"{report.policy.num_on_time} players at {config.policy_rate:g} Hz on time"
        console.print(f"{escape(what)}: {held}; the server promised {report.policy.advertised}")
    _print_machine(console, machine)
    for note in report.notes:
        console.print(f"[yellow]note[/] {escape(note)}")


def print_faults(report: FaultReport, machine: dict[str, Any]) -> None:
    """What was done to the server, and the promises."""
    console = Console(highlight=False)
    for name, count in report.counts.items():
        console.print(f"{name.replace('_', ' ')}: {count:,}")
    memory = report.resident_mb
    console.print(
        f"memory of the server: {memory[0]:.0f} MB at first, {max(memory):.0f} at most, {memory[-1]:.0f} at last"
    )
    for bar in report.bars:
        _print_bar(console, bar)
    _print_machine(console, machine)


def _print_bar(console: Console, bar: Bar) -> None:
    colour, sense = "green" if bar.is_met else "red", "at most" if bar.is_most else "at least"
    console.print(f"[{colour}]{bar.value:,.2f}[/] {bar.name} (wanted: {sense} {bar.limit:,g})")


def _print_machine(console: Console, facts: dict[str, Any]) -> None:
    console.print(f"{facts['processor']}, {facts['cpus']} CPUs, load {facts['load']:.1f}, Python {facts['python']}")
