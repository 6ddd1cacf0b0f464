"""How long commands are stopped: whatever they opened is closed, and one line says what is kept."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer
from rich.console import Console

from gi_model.exit_codes import ExitCode


@contextmanager
def stoppable(what_is_kept: str) -> Iterator[None]:
    """Unwind on SIGTERM as on Ctrl-C, so that games and servers are closed; say in one line what is kept; exit 130."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True).print(f"[yellow]stopped[/]; {what_is_kept}", highlight=False)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
