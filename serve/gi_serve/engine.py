"""`Engine`: one model, many players. Sessions own slots; every session with a frame joins the next step.

    submit(session, frame) --newest wins--> pending --earliest deadline first--> one step --> Sink.answered

The model runs in one thread of its own, never on the event loop, and only there is it touched. While it works on a
batch the next one forms; when it is done the next starts at once, so no frame ever waits for a timer. A whole batch
costs two thread crossings, however many sessions it holds. An answer goes to the session object that sent the frame,
never to "whoever has the slot now": a slot reused while its former owner's frame was in the model cannot mix two
players up. Rejected: a queue a session (old frames are worthless), a batching delay (it only adds latency), a thread
a session.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gi_model.actions import ActionSpace, InputState
from gi_model.errors import ActionError
from gi_model.frames import Frame
from gi_model.stepper import Sampling, Stepper, Steps
from gi_serve.metrics import ModelMetrics
from gi_serve.problems import CAPACITY_FULL, DRAINING, INTERNAL, MESSAGE_INVALID, STEP_FAILED, Problem
from gi_serve.protocol import ActionMessage, FrameMessage
from gi_serve.sessions import ReadyFrame, Session, SessionOptions, Sink

logger = logging.getLogger("gi_serve")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a batch, as it was when the batch was taken."""

    session: Session
    frame: ReadyFrame
    life: int
    opens: Sampling | None  # not None: open the slot first

    @property
    def is_wanted(self) -> bool:
        """Whether the session still lives the life that sent the frame."""
        return not self.session.is_closed and self.session.life == self.life


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model made of a batch. steps None: it failed."""

    entries: Sequence[Entry]
    steps: Steps | None
    started_ns: int
    done_ns: int


class Engine:
    """Batches the sessions of one `Stepper`. All methods belong to the event loop's thread."""

    def __init__(self, stepper: Stepper, metrics: ModelMetrics, *, idle_timeout_s: float = 60.0) -> None:
        self.stepper, self.metrics, self.idle_timeout_s = stepper, metrics, idle_timeout_s
        self.sessions: dict[str, Session] = {}
        self.is_draining = False
        self._free_slots = list(reversed(range(stepper.num_slots)))
        self._pending: set[Session] = set()
        self._is_stepping = False
        self._is_scheduled = False
        self._batches: queue.SimpleQueue[list[Entry] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run_steps, name=f"step-{stepper.name}", daemon=True)
        metrics.slots = stepper.num_slots

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Start the model's thread. Call on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End every session, then the model's thread, after the step it is in."""
        self.drain()
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join)

    def drain(self) -> None:
        """Take no new session and end those there are."""
        self.is_draining = True
        for session in list(self.sessions.values()):
            self.close_session(session, reason="going_away")

    @property
    def is_ready(self) -> bool:
        """Whether a new session would be served."""
        return self._thread.is_alive() and not self.is_draining

    # ------------------------------------------------------------------ sessions

    def open_session(self, options: SessionOptions, sink: Sink) -> Session:
        """Give a new session a slot. Raises Problem when there is none."""
        if self.is_draining:
            raise Problem(DRAINING, "Connect to another server.", retry_after_s=5)
        if not self._free_slots:
            detail = f"All {self.stepper.num_slots} sessions of {self.stepper.name} are taken."
            raise Problem(CAPACITY_FULL, detail, retry_after_s=self._retry_after_s())
        session = Session(self._free_slots.pop(), options, sink)
        self.sessions[session.id] = session
        self.metrics.sessions = len(self.sessions)
        return session

    def reset_session(self, session: Session, options: SessionOptions) -> None:
        """Start the session anew: memory, clock, and random numbers; frames of its former life are never answered."""
        session.options, session.is_fresh = options, True
        session.life += 1
        session.active_ns = time.monotonic_ns()
        self._discard_pending(session)
        session.take_drops()

    def close_session(self, session: Session, *, reason: str) -> None:
        """End a session and free its slot. Idempotent."""
        if session.is_closed:
            return
        session.is_closed = True
        self._pending.discard(session)
        session.pending = None
        del self.sessions[session.id]
        self._free_slots.append(session.slot)
        self.metrics.sessions = len(self.sessions)
        session.sink.closed(session, reason)

    def evict_idle(self) -> None:
        """Close the sessions that sent no frame for `idle_timeout_s`."""
        before_ns = time.monotonic_ns() - int(self.idle_timeout_s * 1e9)
        for session in [each for each in self.sessions.values() if each.active_ns < before_ns]:
            self.close_session(session, reason="idle")

    def _retry_after_s(self) -> int:
        """Seconds until the quietest session would be evicted: the soonest that a slot is sure to be free, if ever."""
        quietest_ns = min(session.active_ns for session in self.sessions.values())
        return max(1, round(self.idle_timeout_s - (time.monotonic_ns() - quietest_ns) / 1e9))

    # ------------------------------------------------------------------ frames

    def receive(self, session: Session, message: FrameMessage) -> None:
        """Count a frame on arrival. Raises Problem if its seq does not rise."""
        if message.seq <= session.last_seq:
            self.metrics.bad_frames += 1
            raise Problem(MESSAGE_INVALID, f"seq {message.seq} after {session.last_seq}: seq must rise in a stream.")
        session.last_seq = message.seq
        session.num_frames += 1
        session.active_ns = time.monotonic_ns()
        self.metrics.frames += 1

    def submit(self, session: Session, pixels: Frame, message: FrameMessage, received_ns: int) -> None:
        """Let `pixels`, of the model's size, wait for the next step; a frame that already waits is dropped."""
        if session.is_closed:
            return
        self._discard_pending(session)
        session.pending = ReadyFrame(
            pixels=pixels,
            seq=message.seq,
            capture_ns=message.capture_ns,
            received_ns=received_ns,
            ready_ns=time.monotonic_ns(),
            deadline_ns=received_ns + int(session.options.deadline_s * 1e9),
        )
        self._pending.add(session)
        if not self._is_stepping and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._start_step)  # frames of this turn of the loop join the same batch

    def drop(self, session: Session, seq: int) -> None:
        """Count a frame of `session` that a newer one replaced."""
        self.metrics.dropped_frames += 1
        session.drop(seq)

    def abandon(self, session: Session, seq: int) -> None:
        """Tell a session that was reset that a frame of its former life has no answer; a closed one knows."""
        if not session.is_closed:
            session.abandon(seq)

    def _discard_pending(self, session: Session) -> None:
        frame, session.pending = session.pending, None
        self._pending.discard(session)
        if frame is not None:
            self.drop(session, frame.seq)

    # ------------------------------------------------------------------ steps

    def _start_step(self) -> None:
        self._is_scheduled = False
        if self._pending and not self._is_stepping:
            self._is_stepping = True
            self._batches.put(list(self._take_batch()))

    def _take_batch(self) -> Iterator[Entry]:
        """Every pending frame, earliest deadline first."""
        waiting = [(session.pending.deadline_ns, session.slot, session) for session in self._pending if session.pending]
        self._pending.clear()
        for _deadline_ns, _slot, session in sorted(waiting):
            frame, session.pending = session.pending, None
            if frame is not None:
                yield Entry(session, frame, session.life, session.options.sampling if session.is_fresh else None)
                session.is_fresh = False

    def _run_steps(self) -> None:
        """The model's thread: batches in, outcomes back to the loop, one crossing each."""
        while (entries := self._batches.get()) is not None:
            started_ns = time.monotonic_ns()
            steps = self._step(entries)
            outcome = Outcome(entries, steps, started_ns, time.monotonic_ns())
            try:
                self._loop.call_soon_threadsafe(self._finish_step, outcome)
            except RuntimeError:  # the loop is closed: nobody is left to answer
                return

    def _step(self, entries: Sequence[Entry]) -> Steps | None:
        try:
            for entry in entries:
                if entry.opens is not None:
                    self.stepper.open(entry.session.slot, entry.opens)
            frames = np.stack([entry.frame.pixels for entry in entries])
            steps = self.stepper.step(frames, [entry.session.slot for entry in entries])
        except Exception:  # whatever the model raises ends this batch, not the server
            logger.exception("the model failed on a batch of %d", len(entries))
            return None
        return steps

    def _finish_step(self, outcome: Outcome) -> None:
        self._is_stepping = False
        self.metrics.batch_size.observe(len(outcome.entries))
        self.metrics.forward.observe((outcome.done_ns - outcome.started_ns) / 1e9)
        if outcome.steps is None:
            self._fail(outcome)
        self._start_step()  # before the answers are written: the model never waits for them
        if outcome.steps is not None:
            for row, entry in enumerate(outcome.entries):
                if not entry.is_wanted:
                    self.abandon(entry.session, entry.frame.seq)
                else:
                    self.metrics.queue.observe((outcome.started_ns - entry.frame.ready_ns) / 1e9)
                    self._answer(entry, outcome.steps, row)

    def _fail(self, outcome: Outcome) -> None:
        self.metrics.step_failures += 1
        for entry in outcome.entries:
            if not entry.is_wanted:
                self.abandon(entry.session, entry.frame.seq)
            else:
                entry.session.is_fresh = True  # its memory may be half written
                entry.session.sink.failed(entry.session, entry.frame.seq, Problem(STEP_FAILED))

    def _answer(self, entry: Entry, steps: Steps, row: int) -> None:
        session, frame, now_ns = entry.session, entry.frame, time.monotonic_ns()
        tokens = steps.tokens[row : row + 1]
        try:
            state = decode_tokens(self.stepper.action_space, tokens.tobytes())
        except ActionError:
            logger.exception("the model wrote tokens that no input state encodes to")
            session.sink.failed(session, frame.seq, Problem(INTERNAL))
            return
        is_late = now_ns > frame.deadline_ns
        session.num_answers += 1
        session.num_late += is_late
        self.metrics.answers += 1
        self.metrics.deadline_misses += is_late
        self.metrics.total.observe((now_ns - frame.received_ns) / 1e9)
        message = ActionMessage(
            seq=frame.seq,
            capture_ns=frame.capture_ns,
            age_us=(now_ns - frame.received_ns) // 1000,
            num_dropped=session.take_drops(),
            is_late=is_late,
            states=(state,),
            tokens=tokens,
            confidence=steps.confidence[row : row + 1],
            stream_id=session.options.stream_id,
        )
        session.sink.answered(session, message)


@lru_cache(maxsize=16384)
def decode_tokens(space: ActionSpace, tokens: bytes) -> InputState:
    """`space.decode` of int64 token bytes; cached, because players hold few distinct states."""
    return space.decode(np.frombuffer(tokens, np.int64))
