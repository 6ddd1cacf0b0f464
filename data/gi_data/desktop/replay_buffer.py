"""`ReplayBuffer`: the last seconds of play in memory, saved when something worth keeping has just happened."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from gi_data.recording import RecordingWriter
from gi_model.actions import InputState
from gi_model.frames import Frame


class PlayedTick(NamedTuple):
    """One tick. is_cut: it does not follow the one before."""

    frame: Frame
    state: InputState
    t_ns: int
    known: bool
    is_cut: bool


class ReplayBuffer:
    """Holds `num_ticks` ticks; older ones are forgotten."""

    def __init__(self, num_ticks: int) -> None:
        self._ticks: deque[PlayedTick] = deque(maxlen=num_ticks)

    def __len__(self) -> int:
        return len(self._ticks)

    def append(self, tick: PlayedTick) -> None:
        """Remember `tick`."""
        self._ticks.append(tick)

    def save(self, open_writer: Callable[[], RecordingWriter]) -> int:
        """Write what is remembered as one recording, and forget it; return how many ticks. What fails is kept."""
        if not self._ticks:
            return 0
        with open_writer() as writer:
            for tick in self._ticks:
                write(writer, tick)
        num_ticks = len(self._ticks)
        self._ticks.clear()
        return num_ticks


def write(writer: RecordingWriter, tick: PlayedTick) -> None:
    """Append `tick`, as the first of a part if it follows nothing."""
    if tick.is_cut:
        writer.cut()
    writer.append(tick.frame, tick.state, t_ns=tick.t_ns, known=tick.known)
