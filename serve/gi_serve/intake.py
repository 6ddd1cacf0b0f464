"""`Intake`: frames as they arrive -> frames of the model's size, without holding up the event loop.

A raw frame of the model's size is used where it lies: no copy, no thread. Everything else is decoded and resized in a
few threads, one frame a session at a time; of the frames that arrive meanwhile only the newest is kept, so a burst of
huge images costs its sender alone, and frames stay in order. Video has its own way (`VideoStream`).
"""

import time
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from gi_model.frames import Frame
from gi_serve.decoders import Decoders
from gi_serve.engine import Engine
from gi_serve.images import decode_image, view_raw
from gi_serve.problems import Problem
from gi_serve.protocol import Codec, FrameMessage
from gi_serve.sessions import Session
from gi_serve.video_intake import Unit, VideoStream

Decoded = tuple[Frame, float]  # the seconds it took


class Arrival(NamedTuple):
    """A frame as it came. life: of its session at that time."""

    message: FrameMessage
    received_ns: int
    life: int


@dataclass(slots=True)
class Intake:
    """The way into one engine. All methods belong to the event loop's thread."""

    engine: Engine
    decoders: Decoders
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
            session.video = session.video or VideoStream(self.engine, session, self.decoders)
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
        self.decoders.put(
            partial(_timed_decode, arrival.message, stepper.height, stepper.width),
            partial(self._decoded, session, arrival),
        )

    def _decoded(self, session: Session, arrival: Arrival, outcome: Decoded | Problem) -> None:
        following = self._waiting.pop(session)
        if following is not None and not session.is_closed:
            self._waiting[session] = None
            self._decode(session, following)
        if session.is_closed or session.life != arrival.life:
            self.engine.abandon(session, arrival.message.seq)
            return
        if isinstance(outcome, Problem):
            self.engine.metrics.bad_frames += 1
            session.sink.failed(session, arrival.message.seq, outcome)
            return
        frame, seconds = outcome
        self.engine.metrics.decode.observe(seconds)
        self.engine.submit(session, frame, arrival.message, arrival.received_ns)


def _timed_decode(message: FrameMessage, height: int, width: int) -> Decoded:
    """In a thread: the frame, and the seconds it took."""
    started = time.perf_counter()
    return decode_image(message, height, width), time.perf_counter() - started
