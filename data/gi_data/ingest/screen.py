"""`Screen`: the frames of a source as they pass, and from when to when they can be trusted.

A video may begin after the inputs or end before them, as a whole file or because it was cut off. A picture that merely
went on standing there would be stored beside labels it has nothing to do with, so ticks without one are left out.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from gi_data.ingest.timeline import TimedFrame
from gi_model.errors import ClipError

STILL_NS: Final = 1_000_000_000  # captures of changes only: a screen may stand still so long after the last frame


class Screen:
    """Iterates frames; ends quietly where they cannot be read further. Raises ClipError if there is not even one."""

    def __init__(self, frames: Iterable[TimedFrame]) -> None:
        self._frames = frames
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        self._is_over = False
        self.complaint = ""

    def __iter__(self) -> Iterator[TimedFrame]:
        try:
            for frame in self._frames:
                if self._last_ns is not None and frame.t_ns < self._last_ns:
                    raise ClipError("time stamps of pictures do not rise", got=f"{frame.t_ns} after {self._last_ns} ns")
                self._first_ns = frame.t_ns if self._first_ns is None else self._first_ns
                self._last_ns = frame.t_ns
                yield frame
        except ClipError as error:
            if self._last_ns is None:
                raise
            self.complaint = str(error)
        if self._last_ns is None:
            raise ClipError("no picture at all", expected="a video")
        self._is_over = True

    def is_before(self, t_ns: int) -> bool:
        """Whether t_ns is not after the first frame: nothing was on the screen until then."""
        return self._first_ns is None or t_ns <= self._first_ns

    def is_over_at(self, t_ns: int) -> bool:
        """Whether nothing is known any more of what was on the screen at t_ns."""
        patience = 0 if self.complaint else STILL_NS
        return self._is_over and self._last_ns is not None and t_ns > self._last_ns + patience
