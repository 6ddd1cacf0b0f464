"""`gi export checkpoint | merged | untrained`: policies made from others.

checkpoint: any saved step of a run, however it was sharded. merged: a base with an adapter folded in. untrained: the
base's shape with new weights, which says what its training was worth.
"""

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
    group.command("merged")(merged_command)
    group.command("untrained")(untrained_command)


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


def merged_command(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="Checkpoint that the adapter was made for.")],
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="Folder of the adapter (gi posttrain).")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make or replace.")],
) -> None:
    """Fold an adapter into its base: a checkpoint that serves without it.

    Example: gi export merged runs/demo/policy/checkpoint runs/line-adapter/adapter runs/line
    """
    from gi_model.adapters import load_adapter
    from gi_model.attachment import merge
    from gi_model.calibration import load_calibration, save_calibration
    from gi_model.checkpoint import load_policy, save_policy

    policy, found = load_policy(base), load_adapter(adapter)
    merge(policy, found)
    policy.config = policy.config.replace(fps=found.config.fps)
    facts = {"base": f"{found.config.base_name} ({found.config.base_fingerprint})", "adapter": found.config.name}
    save_policy(policy, out, facts=facts)
    if calibration := load_calibration(adapter, policy.space):
        save_calibration(calibration, out)
    typer.echo(f"policy: {out}")


def untrained_command(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="Checkpoint whose shape to take.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make or replace.")],
    seed: Annotated[int, typer.Option(help="Fixes the weights.")] = 0,
) -> None:
    """Write a policy of a checkpoint's shape with weights as before any training: the control of a transfer study.

    Example: gi export untrained runs/demo/policy/checkpoint runs/untrained --seed 1
    """
    import torch

    from gi_model.checkpoint import load_policy, save_policy
    from gi_model.policy import Policy

    trained = load_policy(base)
    torch.manual_seed(seed)
    save_policy(Policy(trained.config, trained.space), out, facts={"trained": "never", "seed": seed})
    typer.echo(f"policy: {out}")
