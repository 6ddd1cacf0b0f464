"""`Session`: one player's stream: its slot in the model, options, counters; and the `Sink` that hears of it.

Everything here is touched on the event loop's thread only, so nothing needs a lock.
"""

import secrets
import time
from dataclasses import dataclass, field
from typing import Protocol

from gi_model.frames import Frame
from gi_model.stepper import Sampling
from gi_serve.problems import Problem
from gi_serve.protocol import ActionMessage


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a client may choose. deadline_s: a frame answered later than this after its arrival counts as late."""

    sampling: Sampling
    deadline_s: float
    stream_id: int = 0


@dataclass(frozen=True, slots=True)
class ReadyFrame:
    """A frame of the model's size that waits for a step. Times are of the server's monotonic clock."""

    pixels: Frame
    seq: int
    capture_ns: int
    received_ns: int
    ready_ns: int
    deadline_ns: int


class Sink(Protocol):
    """Whoever hears a session's answers: a stream's connection, or the requests that wait for one."""

    def answered(self, session: "Session", message: ActionMessage, /) -> None:
        """A frame was answered."""
        ...

    def dropped(self, session: "Session", seq: int, /) -> None:
        """Frame `seq` will not be answered: a newer one, or a reset, came first."""
        ...

    def failed(self, session: "Session", seq: int, problem: Problem, /) -> None:
        """Frame `seq` cannot be answered."""
        ...

    def closed(self, session: "Session", reason: str, /) -> None:
        """The session ended: "client", "idle", or "going_away"."""
        ...


@dataclass(slots=True, eq=False)
class Session:
    """One stream. `life` rises with every reset: what was asked in an earlier life is never answered in this one."""

    slot: int
    options: SessionOptions
    sink: Sink
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    life: int = 0
    is_fresh: bool = True  # the model's slot must be opened before the next step
    is_closed: bool = False
    pending: ReadyFrame | None = None
    last_seq: int = -1
    num_frames: int = 0
    num_answers: int = 0
    num_dropped: int = 0
    num_late: int = 0
    unreported_drops: int = 0  # since the last answer
    active_ns: int = field(default_factory=time.monotonic_ns)

    def drop(self, seq: int) -> None:
        """Frame `seq` gave way to a newer one: the next answer will say so."""
        self.unreported_drops += 1
        self.abandon(seq)

    def abandon(self, seq: int) -> None:
        """Frame `seq` will not be answered."""
        self.num_dropped += 1
        self.sink.dropped(self, seq)

    def take_drops(self) -> int:
        """Frames dropped since the last answer; the count starts anew."""
        count, self.unreported_drops = self.unreported_drops, 0
        return count
