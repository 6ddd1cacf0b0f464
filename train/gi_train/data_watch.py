"""What training reads, said at its start; and whether it waits for data, said once, by name, with what to change."""

from collections.abc import Callable, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from gi_data.blend import Stream
from gi_data.reader import Reader
from gi_data.reader_stats import STARVING


def print_shares(streams: Sequence[Stream], console: Console | None = None) -> None:
    """Show which games of which corpora are read, and how much of each."""
    table = Table("corpus", "game", "hours", "share of windows", box=SIMPLE, padding=(0, 1, 0, 0))
    for stream in streams:
        table.add_row(stream.corpus, stream.game, f"{stream.hours:.2f}", f"{stream.share:.1%}")
    (console or Console(stderr=True, highlight=False)).print(table)


def share_facts(streams: Sequence[Stream]) -> dict[str, float]:
    """The same for the run's metrics: "share/CORPUS/GAME"."""
    return {f"share/{stream.corpus}/{stream.game}": stream.share for stream in streams}


class DataWatch:
    """Measures the share of time that training waits for `reader`; speaks up the first time that it is too much."""

    def __init__(self, reader: Reader, say: Callable[[str], None]) -> None:
        self._reader, self._say = reader, say
        self._before = reader.stats()
        self._has_spoken = False

    def waited(self, seconds: float) -> float:
        """Share of the last `seconds` spent waiting for data; nothing is said while the reader fills its memory."""
        now = self._reader.stats()
        is_filled = sum(self._before.windows.values()) >= self._reader.num_ahead
        stats, self._before = now.since(self._before), now
        share = stats.wait_s / seconds
        if share > STARVING and is_filled and not self._has_spoken:
            self._has_spoken = True
            advice = stats.advice(self._reader.config.window_ticks)
            self._say(f"training waits for data {share:.0%} of the time: {advice}")
        return share
