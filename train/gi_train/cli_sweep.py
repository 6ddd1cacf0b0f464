"""`gi sweep`: how loss falls with size and with data, measured and fitted."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gi_data.cli_output import AsJson, progress_bar
from gi_model.errors import ConfigError
from gi_train.stopping import stoppable

if TYPE_CHECKING:
    from gi_train.scaling_law import ScalingLaw
    from gi_train.sweep import Outcome, Sweep


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sweep")(sweep_command)


def sweep_command(
    data: Annotated[Path, typer.Option(metavar="CORPUS", help="Folder of a corpus (from `gi shard`).")],
    out: Annotated[Path, typer.Option(help="Folder of the sweep; finished runs in it are kept.")],
    sizes: Annotated[str, typer.Option(help="DIMxLAYERS, with commas between.")] = "32x2,64x2,96x3,160x3",
    hours: Annotated[
        str, typer.Option(help="Hours of play to learn from, with commas (default: 1/8, 1/4, 1/2, and all of it).")
    ] = "",
    preset: Annotated[str, typer.Option(help="What sizes scale, and the settings of training.")] = "tiny",
    epochs: Annotated[float, typer.Option(help="Passes of each run over its data.")] = 1.0,
    batch_size: Annotated[int | None, typer.Option(help="Windows a step (default: the preset's).")] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each point.")] = 1,
    jobs: Annotated[int, typer.Option(help="Runs at a time.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Train a grid of sizes x data, fit L = E + A / N^alpha + B / D^beta, say what the runs leave open.

    Writes sweep.json, sweep.png, and sweep.html. Stop it at any time: the same command goes on.

    Example: gi sweep --data runs/corpus --out runs/sweep --epochs 2 --batch-size 10
    """
    from gi_train.sweep import Sweep, count_hours

    amounts = _numbers(hours) if hours else tuple(count_hours(data) * share for share in (1 / 8, 1 / 4, 1 / 2, 1))
    sweep = Sweep(
        corpus=data,
        out=out,
        sizes=tuple(sizes.split(",")),
        hours=amounts,
        preset=preset,
        epochs=epochs,
        batch_size=batch_size,
        seeds=seeds,
        jobs=jobs,
    )
    with stoppable("finished runs are kept: the same command goes on from here"):
        outcomes, law = _measure(sweep, as_json)
    if as_json:
        typer.echo(json.dumps({"law": asdict(law), "out": str(out)}))
    else:
        _print(outcomes, law)
        typer.echo(f"chart: {out / 'sweep.png'}  page: {out / 'sweep.html'}")


def _measure(sweep: "Sweep", as_json: bool) -> "tuple[list[Outcome], ScalingLaw]":
    from gi_train.scaling_law import Trained, check_grid, fit_law
    from gi_train.sweep import plan, run
    from gi_train.sweep_report import write_sweep

    check_grid(len(set(sweep.sizes)), len(set(sweep.hours)), sweep.seeds)  # before hours of training
    points = plan(sweep)
    with progress_bar(as_json) as progress:
        task = progress.add_task("training", total=len(points))

        def advance(outcome: "Outcome") -> None:
            last = f"{outcome.point.name}: {outcome.loss:.3f}"
            progress.update(task, advance=1, description=last)

        outcomes = run(sweep, points, advance=advance)
    runs = [Trained(outcome.parameters, outcome.point.ticks, outcome.loss) for outcome in outcomes]
    law = fit_law(runs)
    write_sweep(sweep, outcomes, law)
    return outcomes, law


def _print(outcomes: "Sequence[Outcome]", law: "ScalingLaw") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from gi_train.sweep_report import HEADS, list_rows, name_parts

    table = Table(box=SIMPLE_HEAD, title="Held-out loss, nats a tick", title_justify="left")
    for number, head in enumerate(HEADS):
        table.add_column(head, justify="right" if number else "left")
    for row in list_rows(outcomes, law):
        table.add_row(*row)
    console = Console(highlight=False)
    console.print(table)
    for name, value in name_parts(law).items():
        console.print(f"{name}: [bold]{value}[/]")
    for doubt in law.doubts.values():
        console.print(f"[yellow]{doubt}[/]")


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError("cannot read --hours", got=text, expected="numbers with commas between: 0.1,0.2") from error
