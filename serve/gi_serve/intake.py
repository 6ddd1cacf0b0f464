"""`Intake`: frames as they arrive -> frames of the model's size, without holding up the event loop.

A raw frame of the model's size is used where it lies: no copy, no thread. Everything else is decoded and resized in a
small pool, one frame a session at a time; of the frames that arrive meanwhile only the newest is kept, so a burst of
huge images costs its sender alone, and frames stay in order. Video has its own way (`VideoStream`).
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from gi_model.frames import Frame
from gi_serve.engine import Engine
from gi_serve.images import decode_image, view_raw
from gi_serve.problems import Problem, as_problem
from gi_serve.protocol import Codec, FrameMessage
from gi_serve.sessions import Session
from gi_serve.video_intake import Unit, VideoStream

Decoded = tuple[Frame, float] | Problem  # the seconds it took


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame as it came. life: of its session at that time."""

    message: FrameMessage
    received_ns: int
    life: int


@dataclass(slots=True)
class Intake:
    """The way into one engine. All methods belong to the event loop's thread."""

    engine: Engine
    pool: ThreadPoolExecutor
    _waiting: dict[Session, Arrival | None] = field(default_factory=dict)  # key: a decode runs; value: the next

    def offer(self, session: Session, message: FrameMessage) -> None:
        """Take a frame of `session`; bad pixels are told to the sink.

        Raises Problem if its seq does not rise, or if it comes too soon.
        """
        received_ns = time.monotonic_ns()
        if session.frame_bucket is not None:
            session.frame_bucket.check("frames")
        self.engine.receive(session, message)
        if message.codec == Codec.H264:
            session.video = session.video or VideoStream(self.engine, session, self.pool)
            session.video.offer(Unit(message, received_ns, session.life))
            return
        arrival = Arrival(message, received_ns, session.life)
        if session in self._waiting:
            self._replace(session, arrival)
        elif self._fits(message):
            self.engine.submit(session, view_raw(message), message, received_ns)
        else:
            self._waiting[session] = None
            self._decode(session, arrival)

    def _fits(self, message: FrameMessage) -> bool:
        stepper = self.engine.stepper
        return message.codec == Codec.RAW and (message.height, message.width) == (stepper.height, stepper.width)

    def _replace(self, session: Session, arrival: Arrival) -> None:
        if (old := self._waiting[session]) is not None:
            self.engine.drop(session, old.message.seq)
        self._waiting[session] = arrival

    def _decode(self, session: Session, arrival: Arrival) -> None:
        stepper = self.engine.stepper
        future = asyncio.get_running_loop().run_in_executor(
            self.pool, _timed_decode, arrival.message, stepper.height, stepper.width
        )
        future.add_done_callback(lambda done: self._decoded(session, arrival, done))

    def _decoded(self, session: Session, arrival: Arrival, done: "asyncio.Future[Decoded]") -> None:
        following = self._waiting.pop(session)
        if following is not None and not session.is_closed:
            self._waiting[session] = None
            self._decode(session, following)
        if done.cancelled() or session.is_closed or session.life != arrival.life:
            self.engine.abandon(session, arrival.message.seq)
            return
        outcome = done.result()
        if isinstance(outcome, Problem):
            self.engine.metrics.bad_frames += 1
            session.sink.failed(session, arrival.message.seq, outcome)
            return
        frame, seconds = outcome
        self.engine.metrics.decode.observe(seconds)
        self.engine.submit(session, frame, arrival.message, arrival.received_ns)


def _timed_decode(message: FrameMessage, height: int, width: int) -> Decoded:
    """In the pool: the frame and the seconds it took, or why there is none."""
    started = time.perf_counter()
    try:
        return decode_image(message, height, width), time.perf_counter() - started
    except Exception as error:  # a codec's own exception must not reach a client, nor end the pool's thread
        return as_problem(error)
