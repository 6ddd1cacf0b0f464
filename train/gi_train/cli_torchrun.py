"""`gi torchrun`: start the ranks of one node."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    app.command("torchrun", context_settings=settings, add_help_option=False)(torchrun_command)


def torchrun_command(context: typer.Context) -> None:
    """Run torchrun, and end with the exit code of its workers: all flags are torchrun's, --help too.

    Example: gi torchrun --nproc-per-node=2 --no-python gi pretrain --data runs/corpus --out runs/a
    """
    from gi_train.torchrun import run_torchrun

    raise typer.Exit(run_torchrun(context.args))
