"""`Session`: one player's stream: its slot in the model, options, counters; and the `Sink` that hears of it.

Everything here is touched on the event loop's thread only, so nothing needs a lock.
"""

import secrets
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gi_model.actions import InputState
from gi_model.embodiment import Embodiment
from gi_model.frames import Frame
from gi_model.stepper import Sampling
from gi_serve.command_plan import CommandPlan
from gi_serve.limits import Bucket
from gi_serve.problems import Problem
from gi_serve.protocol import ActionMessage
from gi_serve.recorder import Recording

if TYPE_CHECKING:
    from gi_model.adapters import AdapterConfig
    from gi_serve.robot_session import RobotSession
    from gi_serve.video_intake import VideoStream
    from gi_serve.watch import Watched

_ANSWERS_KEPT: Final = 256  # to count what a lost connection swallowed


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a client may choose. deadline_s: a frame answered later than this after its arrival counts as late.

    fps: frames a second that it will send, for admission; None: the model's. is_resumable: its slot outlives a lost
    connection for a while. embodiment: of the body it drives, None for its adapter's, if that has one; lockstep: the
    body waits for each answer, so that silence is no fault.
    """

    sampling: Sampling
    deadline_s: float
    stream_id: int = 0
    fps: float | None = None
    is_resumable: bool = False
    adapter: str | None = None  # by name; None: the base alone
    embodiment: Embodiment | None = None
    lockstep: bool = False


class ReadyFrame(NamedTuple):
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

    def needs_keyframe(self, session: "Session", /) -> None:
        """Its video cannot go on without a keyframe."""
        ...

    def planned(self, session: "Session", plan: CommandPlan, answer: ActionMessage | None, /) -> None:
        """Its robot is to go to neutral, for no frame; `answer` is the newest answer, if there is one, changed so."""
        ...

    def is_unsent(self, session: "Session", /) -> bool:
        """Whether the newest answer still waits to be sent."""
        ...

    def closed(self, session: "Session", reason: str, /) -> None:
        """The session ended: "client", "idle", "lost", "failed", "key_revoked", or "going_away".

        Or it went to another sink: "resumed".
        """
        ...


class Nobody:
    """The sink of a session whose connection was lost: what happens meanwhile is told when it is resumed."""

    def answered(self, session: "Session", message: ActionMessage) -> None:
        """The session keeps its newest answer."""

    def dropped(self, session: "Session", seq: int) -> None:
        """The next answer counts it."""

    def failed(self, session: "Session", seq: int, problem: Problem) -> None:
        """Nobody waits for it."""

    def needs_keyframe(self, session: "Session") -> None:
        """Whoever comes back has to send one anyway."""

    def planned(self, session: "Session", plan: CommandPlan, answer: ActionMessage | None) -> None:
        """The session keeps it with its newest answer."""

    def is_unsent(self, _session: "Session") -> bool:
        """Its newest answer is told when it is resumed."""
        return False

    def closed(self, session: "Session", reason: str) -> None:
        """Whoever comes back is told that there is no such session."""


@dataclass(slots=True, eq=False)
class Session:
    """One stream. `life` rises with every reset: what was asked in an earlier life is never answered in this one."""

    slot: int
    options: SessionOptions
    sink: Sink
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    resume_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    owner: str = ""  # id of the key that opened it
    adapter: "AdapterConfig | None" = None  # what it plays with; None: the base alone
    trace_parent: str = ""  # the W3C traceparent of the request that opened it
    frame_bucket: Bucket | None = None  # None: frames come as fast as they may
    life: int = 0
    is_fresh: bool = True  # the model's slot must be opened before the next step
    is_closed: bool = False
    lost_ns: int | None = None  # since when its connection is gone
    pending: ReadyFrame | None = None
    due_ns: int | None = None  # deadline of the oldest frame since the last step: who waited longest goes first
    last_seq: int = -1
    stepped_seq: int = -1  # the newest frame that went into the model in this life
    answered: tuple[int, InputState] | None = None  # the answer to it, as long as nothing corrected it
    executed_seq: int = -1  # the newest frame of which the client told what was held
    num_frames: int = 0
    num_answers: int = 0
    num_dropped: int = 0
    num_late: int = 0
    unreported_drops: int = 0  # since the last answer
    recording: Recording | None = None
    watch: "Watched | None" = None  # who looks over the player's shoulder; None: nobody
    video: "VideoStream | None" = None  # where frames come as H.264
    robot: "RobotSession | None" = None  # where it drives a body
    active_ns: int = field(default_factory=time.monotonic_ns)
    newest_answer: ActionMessage | None = None
    _num_reported: int = 0  # frames that answers spoke of: answered, or counted as dropped
    _answers: deque[tuple[int, int]] = field(
        default_factory=lambda: deque(maxlen=_ANSWERS_KEPT)
    )  # seq, reported before

    @property
    def newest_ready_seq(self) -> int:
        """The newest frame that waits for a step, or had one."""
        return self.stepped_seq if self.pending is None else self.pending.seq

    def put_pending(self, frame: ReadyFrame) -> ReadyFrame | None:
        """Let `frame` wait; the one in whose place it waits, whose time in the queue it inherits."""
        replaced, self.pending = self.pending, frame
        if self.due_ns is None:
            self.due_ns = frame.deadline_ns
        return replaced

    def take_pending(self) -> ReadyFrame:
        """The frame that waits, on its way into the model."""
        frame = self.pending
        assert frame is not None
        self.pending = self.due_ns = self.answered = None
        self.stepped_seq = frame.seq
        return frame

    def answer(self, message: ActionMessage) -> None:
        """Frame `message.seq` was answered."""
        self.num_answers += 1
        self.num_late += message.is_late
        self._answers.append((message.seq, self._num_reported))
        self._num_reported += 1 + message.num_dropped
        self.newest_answer = message
        if self.watch is not None:
            self.watch.hear(message)
        self.sink.answered(self, message)

    def missed_answer(self, after_seq: int) -> ActionMessage | None:
        """The newest answer, for a client whose newest is that to `after_seq`; counts all that it missed as dropped."""
        newest = self.newest_answer
        if newest is None or newest.seq <= after_seq:
            return None
        reported = next(before for seq, before in self._answers if seq > after_seq)
        return replace(newest, num_dropped=self._num_reported - reported - 1)

    def start_anew(self) -> None:
        """Begin another life: no memory, no answer, no unreported drop."""
        self.is_fresh, self.answered, self.newest_answer = True, None, None
        self.stepped_seq = self.executed_seq = -1
        self.life += 1
        self._answers.clear()
        self.take_drops()

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
