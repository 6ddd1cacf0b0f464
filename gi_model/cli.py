"""`gi`: one command; each department adds its subcommands through the entry-point group `gi.commands`.

An entry is a function `(app: typer.Typer) -> None` that registers commands. Third parties add theirs the same way. A
GiError becomes one line of what, got, expected, do this; a file that the system refuses, one that names it
(GI_TRACEBACK=1 shows where from). Ctrl-C exits with 130.
"""

import os
import sys
from importlib.metadata import entry_points

import typer
from rich.console import Console
from rich.markup import escape

from gi_model import __version__
from gi_model.errors import GiError
from gi_model.exit_codes import ExitCode

HELP = "The model that sees pixels and presses keys: record, shard, pretrain, serve, play, evaluate."


def build_app() -> typer.Typer:
    """The `gi` command with every subcommand that is installed."""
    app = typer.Typer(name="gi", help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

    @app.callback(invoke_without_command=True)
    def root(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
        if version:
            typer.echo(__version__)
            raise typer.Exit

    for entry in sorted(entry_points(group="gi.commands"), key=lambda entry: entry.name):
        entry.load()(app)
    return app


def main() -> None:
    """Run `gi`."""
    try:
        build_app()()
    except (GiError, OSError) as error:
        if os.environ.get("GI_TRACEBACK") or (isinstance(error, OSError) and error.filename is None):
            raise
        said = str(error) if isinstance(error, GiError) else f"{error.strerror}: {error.filename}"
        Console(stderr=True).print(f"[bold red]error[/] {escape(said)}", highlight=False)
        sys.exit(error.exit_code if isinstance(error, GiError) else ExitCode.FAILED)
