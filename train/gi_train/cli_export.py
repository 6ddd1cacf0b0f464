"""`gi export checkpoint`: any saved step of a run, however it was sharded, as one policy."""

from pathlib import Path
from typing import Annotated, Literal

import typer

GROUP = "export"


def register(app: typer.Typer) -> None:
    """Add the command to the group of exports, whose other members belong to the corpus; make the group without it."""
    group = next((each.typer_instance for each in app.registered_groups if each.name == GROUP), None)
    if group is None:
        group = typer.Typer(help="Write what this project made in formats of others.", no_args_is_help=True)
        app.add_typer(group, name=GROUP)
    group.command("checkpoint")(checkpoint_command)


def checkpoint_command(
    source: Annotated[
        Path, typer.Argument(metavar="RUN_OR_STEP", help="A run's folder (its newest step), or a step's.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make or replace.")],
    dtype: Annotated[
        Literal["float32", "bf16"], typer.Option(help="Of the weights: bf16 takes half the bytes.")
    ] = "float32",
) -> None:
    """Write a saved step as a checkpoint: config, weights, action space, card; from any strategy and number of ranks.

    Example: gi export checkpoint runs/big/steps/010000 runs/big-10k --dtype bf16
    """
    import torch

    from gi_train.train_state import export_policy, find_state

    step = find_state(source)
    kinds = {"float32": torch.float32, "bf16": torch.bfloat16}
    export_policy(step, out, dtype=kinds[dtype], facts={"step": int(step.name), "exported from": source.name})
    typer.echo(f"policy: {out}")
