"""`gi bench`: every performance claim of this project is one of these commands.

Departments above this one add theirs through the entry-point group `gi.benchmarks`: a function
`(bench: typer.Typer) -> None`, as in `gi.commands`.
"""

import json
from dataclasses import asdict
from importlib.metadata import entry_points
from typing import Annotated

import typer

from gi_model.cli_bench_model import model_command


def register(app: typer.Typer) -> None:
    """Add the group."""
    bench = typer.Typer(no_args_is_help=True, help="Measure, beside a baseline in the same run.")
    bench.command("codec")(codec_command)
    bench.command("model")(model_command)
    for entry in sorted(entry_points(group="gi.benchmarks"), key=lambda entry: entry.name):
        entry.load()(bench)
    app.add_typer(bench, name="bench")


def codec_command(
    seed: Annotated[int, typer.Option(help="Seed of the drawn motion.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON.")] = False,
) -> None:
    """Mouse motion through its tokens: error of ours beside uniform, mu-law, and log bins, on heavy-tailed motion."""
    from rich.console import Console
    from rich.table import Table

    from gi_model.bench_codec import run

    scores = run(seed)
    if as_json:
        typer.echo(json.dumps([asdict(score) for score in scores]))
        return
    table = Table(
        "motion", "codec", "relative L1", "path ratio", "R2", title="mouse codec, lower relative L1 is better"
    )
    for score in scores:
        row = (score.motion, score.codec, f"{score.relative_l1:.4f}", f"{score.ratio:.3f}", f"{score.r2:.4f}")
        table.add_row(*row, style="bold" if score.codec == "gi-model" else "")
    Console().print(table)
