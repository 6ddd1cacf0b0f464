"""`VideoStream`: the H.264 pictures of one session on their way to frames, in order, off the event loop.

Every picture builds on the one before, so none may be skipped: all that wait are decoded in one go, by one worker at a
time, and only the newest becomes a frame. Whoever sends faster than it decodes loses the queue and is asked for a
keyframe, as after a picture that does not decode; what comes before the keyframe is dropped, and counted.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from gi_data.video_stream import StreamDecoder, has_keyframe
from gi_model.errors import ClipError
from gi_model.frames import Frame
from gi_serve.decoders import Decoders
from gi_serve.engine import Engine
from gi_serve.images import MAX_PIXELS
from gi_serve.problems import FRAME_INVALID, Problem, as_problem
from gi_serve.protocol import FrameMessage
from gi_serve.sessions import Session

MAX_UNITS: Final = 64  # that wait to be decoded
MAX_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Unit:
    """An access unit as it came. life: of its session at that time."""

    message: FrameMessage
    received_ns: int
    life: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of some units: a problem for each that has one; the index of the newest picture, and its frame."""

    problems: dict[int, Problem]
    newest: int | None
    frame: Frame | None
    seconds: float


class VideoStream:
    """One session's video. Belongs to the event loop's thread, but for `_decode`, which has the decoder to itself."""

    def __init__(self, engine: Engine, session: Session, decoders: Decoders) -> None:
        self._engine, self._session, self._decoders = engine, session, decoders
        self._decoder = StreamDecoder(max_pixels=MAX_PIXELS)
        self._waiting: deque[Unit] = deque()
        self._is_running = False
        self._restarts = False  # before the next unit
        self._is_asked = False  # for a keyframe

    def offer(self, unit: Unit) -> None:
        """Decode `unit` after those before it."""
        num_bytes = sum(len(each.message.data) for each in self._waiting)
        if len(self._waiting) >= MAX_UNITS or num_bytes > MAX_BYTES:
            for each in self._waiting:
                self._engine.drop(self._session, each.message.seq)
            self._waiting.clear()
            self.restart()
            self._ask()
        self._waiting.append(unit)
        self._start()

    def restart(self) -> None:
        """Something is missing: nothing decodes before a keyframe."""
        self._restarts = True

    def _start(self) -> None:
        if self._is_running or not self._waiting:
            return
        self._is_running = True
        units, restarts = list(self._waiting), self._restarts
        self._waiting.clear()
        self._restarts = False
        self._decoders.put(partial(self._decode, units, restarts), partial(self._finish, units))

    def _decode(self, units: Sequence[Unit], restarts: bool) -> Decoded:
        """In a thread."""
        began, problems, newest, frame = time.perf_counter(), dict[int, Problem](), None, None
        if restarts:
            self._decoder.restart()
        for index, unit in enumerate(units):
            data = unit.message.data
            try:
                if not self._decoder.needs_keyframe or has_keyframe(data):
                    self._decoder.feed(data)
                    newest = index
            except ClipError as error:
                problems[index] = Problem(FRAME_INVALID, str(error))
        stepper = self._engine.stepper
        try:
            frame = None if newest is None else self._decoder.frame(stepper.height, stepper.width)
        except Exception as error:  # a conversion's own exception must not reach a client
            problems[newest or 0], newest = as_problem(error), None
        return Decoded(problems, newest, frame, time.perf_counter() - began)

    def _finish(self, units: Sequence[Unit], outcome: Decoded | Problem) -> None:
        self._is_running = False
        if self._session.is_closed:
            return
        if isinstance(outcome, Problem):
            outcome = Decoded(dict.fromkeys(range(len(units)), outcome), None, None, 0.0)
        decoded, engine, session = outcome, self._engine, self._session
        self._start()
        for index, unit in enumerate(units):
            if unit.life != session.life:
                engine.abandon(session, unit.message.seq)
            elif (problem := decoded.problems.get(index)) is not None:
                engine.metrics.bad_frames += 1
                session.sink.failed(session, unit.message.seq, problem)
            elif index != decoded.newest:
                engine.drop(session, unit.message.seq)
            elif decoded.frame is not None:
                engine.metrics.decode.observe(decoded.seconds)
                engine.submit(session, decoded.frame, unit.message, unit.received_ns)
        if decoded.newest is not None:
            self._is_asked = False
        if decoded.problems or decoded.newest is None:
            self._ask()

    def _ask(self) -> None:
        if not self._is_asked:
            self._is_asked = True
            self._session.sink.needs_keyframe(self._session)
