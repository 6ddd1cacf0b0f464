"""The live line of a training run: bar, loss, frames a second, time left; plain lines where nobody watches.

The bar is on stderr, the plain lines on stdout: in a pod's log, they are all that tells how far a run is.
"""

import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_LINES = 10  # in a whole run, when the output is no terminal,
PLAIN_PERIOD_S = 60.0  # and one a minute


class TrainProgress:
    """Shows the step, loss, and rate; a context manager."""

    def __init__(self, steps: int, first: int, *, enabled: bool = True, name: str = "pretrain") -> None:
        self._console = Console(stderr=True)
        self._live, self._name = enabled and self._console.is_terminal, name
        self._plain_every = max(1, steps // PLAIN_LINES) if enabled and not self._live else 0
        self._steps, self._printed, self._printed_at = steps, first, time.monotonic()
        columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
        self._bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self._console)
        self._task = self._bar.add_task(name, total=steps, completed=first, text="")

    def __enter__(self) -> Self:
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(f"[yellow]{text}[/]", highlight=False)

    def update(self, step: int, *, loss: float, rate: float, seconds_left: float) -> None:
        """Show the newest figures; rate in frames a second."""
        text = f"loss {loss:.3f}  {rate:,.0f} frames/s"
        if self._live:
            self._bar.update(self._task, completed=step, text=text)
        elif self._plain_every and self._is_due(step):
            self._printed, self._printed_at = step, time.monotonic()
            left = timedelta(seconds=round(seconds_left))
            print(f"{self._name} {step}/{self._steps}  {text}  {left} left", flush=True)  # noqa: T201 - stdout is its place

    def _is_due(self, step: int) -> bool:
        is_late = time.monotonic() >= self._printed_at + PLAIN_PERIOD_S
        return is_late or step >= self._printed + self._plain_every or step == self._steps
