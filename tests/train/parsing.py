"""`check_command`: whether a `gi` command of a plan exists, with every one of its flags; nothing is run."""

from collections.abc import Sequence

import typer.main

from gi_model.cli import build_app


def check_command(argv: Sequence[str]) -> None:
    """Raise a usage error if `argv`, "gi" first, does not parse."""
    command = typer.main.get_command(build_app())
    context = command.make_context("gi", list(argv[1:]))
    while isinstance(command, typer.core.TyperGroup):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command = found
        context = command.make_context(name, rest, parent=context)
