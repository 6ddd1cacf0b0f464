"""`Engine`: one model, many players. Sessions own slots; every session with a frame joins the next step.

    submit(session, frame) --newest wins--> pending --longest wait first--> one step --> Sink.answered

The model runs in one thread of its own, never on the event loop, and only there is it touched. While it works on a
batch the next one forms; when it is done the next starts at once, so no frame ever waits for a timer. A whole batch
costs two thread crossings, however many sessions it holds. An answer goes to the session object that sent the frame,
never to "whoever has the slot now": a slot reused while its former owner's frame was in the model cannot mix two
players up. Rejected: a queue a session (old frames are worthless), a batching delay (it only adds latency), a thread
a session.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gi_model.actions import InputState
from gi_model.errors import ActionError
from gi_model.frames import Frame
from gi_model.shield import Shield
from gi_model.stepper import Stepper, Steps
from gi_serve.admission import Demand, admits, count_on_time
from gi_serve.engine_adapters import EngineAdapters
from gi_serve.logs import tag_of
from gi_serve.metrics import ModelMetrics
from gi_serve.model_thread import Entry, ModelThread, Outcome
from gi_serve.problems import (
    CAPACITY_FULL,
    DRAINING,
    FEEDBACK_LATE,
    INTERNAL,
    MESSAGE_INVALID,
    OVERLOADED,
    RESUME_REFUSED,
    STEP_FAILED,
    Problem,
)
from gi_serve.protocol import ActionMessage, FrameMessage
from gi_serve.recorder import Recorder
from gi_serve.robots import Limited, Robots
from gi_serve.scheduling import choose
from gi_serve.sessions import Nobody, ReadyFrame, Session, SessionOptions, Sink
from gi_serve.step_times import StepTimes

logger = logging.getLogger("gi_serve")
RESUME_TIMEOUT_S: Final = 30.0
_RETRY_WHEN_OVERLOADED_S: Final = 5


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """idle_timeout_s: a session without a frame for so long ends; resume_timeout_s: so does one without a connection.

    admits_late: take sessions as long as there are slots, though they make others late.
    """

    idle_timeout_s: float = 60.0
    resume_timeout_s: float = RESUME_TIMEOUT_S
    admits_late: bool = False


class Engine:
    """Batches the sessions of one `Stepper`. All methods belong to the event loop's thread."""

    def __init__(
        self,
        stepper: Stepper,
        metrics: ModelMetrics,
        config: EngineConfig | None = None,
        *,
        times: StepTimes | None = None,
        recorder: Recorder | None = None,
        shield: Shield | None = None,
    ) -> None:
        self.stepper, self.metrics, self.config = stepper, metrics, config or EngineConfig()
        self.times, self._recorder = times or StepTimes(), recorder
        self.sessions: dict[str, Session] = {}
        self.adapters = EngineAdapters(self)
        self.is_draining = False
        self._free_slots = list(reversed(range(stepper.num_slots)))
        self._pending: set[Session] = set()
        self._is_stepping = False
        self._is_scheduled = False
        self.robots = Robots(stepper, metrics, self._remember, shield=shield)
        self._thread = ModelThread(stepper, self._finish_step, judge=None if shield is None else self.robots.judge)
        self.on_step: Callable[[Outcome], None] | None = None  # hears of every step
        metrics.slots = stepper.num_slots

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Start the model's thread. Call on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End every session, then the model's thread, after the step it is in."""
        self.drain()
        await self._thread.stop()

    def drain(self) -> None:
        """Take no new session and end those there are."""
        self.is_draining = True
        for session in list(self.sessions.values()):
            self.close_session(session, reason="going_away")

    @property
    def is_ready(self) -> bool:
        """Whether a new session would be served."""
        return self._thread.is_alive and not self.is_draining

    @property
    def capacity(self) -> dict[str, Any]:
        """What `/v1/models` says: slots, and how many players at the model's rate it can hold on time, as measured."""
        tick_s = 1.0 / self.stepper.fps
        base_s, per_session_s = self.times.line
        return {
            "num_slots": self.stepper.num_slots,
            "num_free": len(self._free_slots),
            "num_on_time": count_on_time(self.times, Demand(self.stepper.fps, tick_s), self.stepper.num_slots),
            "step_ms": {"base": round(base_s * 1e3, 3), "per_session": round(per_session_s * 1e3, 3)},
        }

    # ------------------------------------------------------------------ sessions

    def open_session(self, options: SessionOptions, sink: Sink) -> Session:
        """Give a new session a slot. Raises Problem when there is none, or when it would make others late."""
        self.adapters.for_session(options.adapter)  # raises before its body is looked for
        robot = self.robots.make(options)  # which may refuse, so before there is a slot to lose
        session = self._take_slot(options, sink)
        self.robots.open(session, robot)
        session.recording = self._recorder.begin(self.stepper, session.adapter) if self._recorder is not None else None
        return session

    def _take_slot(self, options: SessionOptions, sink: Sink) -> Session:
        if self.is_draining:
            raise Problem(DRAINING, "Connect to another server.", retry_after_s=5)
        adapter = self.adapters.for_session(options.adapter)
        self.check(options)
        if not self._free_slots:
            detail = f"All {self.stepper.num_slots} sessions of {self.stepper.name} are taken."
            raise Problem(CAPACITY_FULL, detail, retry_after_s=self._retry_after_s())
        present = [self._demand_of(session.options) for session in self.sessions.values()]
        if not (self.config.admits_late or admits(self.times, present, self._demand_of(options))):
            detail = f"With the {len(present)} sessions of {self.stepper.name} that are open, frames would be late."
            raise Problem(OVERLOADED, detail, retry_after_s=_RETRY_WHEN_OVERLOADED_S)
        session = Session(self._free_slots.pop(), options, sink, adapter=adapter)
        self.sessions[session.id] = session
        self.adapters.count_sessions(session, +1)
        self.metrics.sessions = len(self.sessions)
        return session

    def check(self, options: SessionOptions) -> SessionOptions:
        """Return `options` if the model can play so. Raises ConfigError."""
        self.stepper.check(options.sampling, options.adapter)
        return options

    def fork_session(self, session: Session, sink: Sink, *, stream_id: int = 0) -> Session:
        """A new session that answers as `session` would, from the frames that the model has taken. Raises Problem."""
        fork = self._take_slot(replace(session.options, stream_id=stream_id), sink)
        fork.is_fresh, fork.last_seq = session.is_fresh, session.last_seq
        fork.stepped_seq, fork.answered = session.stepped_seq, session.answered
        self.robots.fork(session, fork)
        if self._recorder is not None and session.recording is not None:
            fork.recording = self._recorder.fork(session.recording)
        if not session.is_fresh:
            self._thread.copy(session.slot, fork.slot, lambda: self.close_session(fork, reason="failed"))
        return fork

    def reset_session(self, session: Session, options: SessionOptions) -> None:
        """Start the session anew: memory, clock, and random numbers; frames of its former life are never answered."""
        session.options = self.check(options)
        session.active_ns = time.monotonic_ns()
        self._discard_pending(session)
        session.start_anew()

    def close_session(self, session: Session, *, reason: str) -> None:
        """End a session and free its slot. Idempotent."""
        if session.is_closed:
            return
        session.is_closed = True
        self._pending.discard(session)
        self.robots.close(session)
        session.pending = None
        del self.sessions[session.id]
        self.adapters.count_sessions(session, -1)
        self._free_slots.append(session.slot)
        self.metrics.sessions = len(self.sessions)
        if session.recording is not None:
            session.recording.end(reason)
        session.sink.closed(session, reason)
        logger.info("session closed", extra={"session": tag_of(session.id), "reason": reason})

    def suspend_session(self, session: Session) -> None:
        """Its connection is lost: keep it for whoever brings its token, if it asked for that; else end it."""
        if session.options.is_resumable and self.config.resume_timeout_s > 0 and not self.is_draining:
            session.sink, session.lost_ns = Nobody(), time.monotonic_ns()
        else:
            self.close_session(session, reason="lost")

    def resume_session(self, session: Session, token: str, sink: Sink, *, stream_id: int) -> None:
        """Give `session` to `sink`, also if its old connection only seems to live. Raises Problem without its token."""
        is_its_own = hmac.compare_digest(session.resume_token.encode(), token.encode())
        if not (session.options.is_resumable and is_its_own):
            raise Problem(RESUME_REFUSED, "It ended, or the token is not its own: open a new session.")
        session.sink.closed(session, "resumed")
        session.sink, session.lost_ns, session.active_ns = sink, None, time.monotonic_ns()
        session.options = replace(session.options, stream_id=stream_id)

    def evict_idle(self) -> None:
        """End the sessions that sent no frame for `idle_timeout_s`, and those that nobody resumed in time."""
        now_ns = time.monotonic_ns()
        idle_ns, resume_ns = self.config.idle_timeout_s * 1e9, self.config.resume_timeout_s * 1e9
        for session in list(self.sessions.values()):
            if session.lost_ns is not None and now_ns - session.lost_ns > resume_ns:
                self.close_session(session, reason="lost")
            elif session.lost_ns is None and now_ns - session.active_ns > idle_ns:
                self.close_session(session, reason="idle")

    async def between_steps(self, work: Callable[[], None]) -> None:
        """Let `work` change the stepper, between two steps; raises what it raises."""
        await self._thread.between_steps(work)

    def _demand_of(self, options: SessionOptions) -> Demand:
        return Demand(options.fps or self.stepper.fps, options.deadline_s)

    def _retry_after_s(self) -> int:
        """Seconds until the first session would be evicted: the soonest that a slot is sure to be free, if ever."""
        now_ns = time.monotonic_ns()

        def left_s(session: Session) -> float:
            if session.lost_ns is not None:
                return self.config.resume_timeout_s - (now_ns - session.lost_ns) / 1e9
            return self.config.idle_timeout_s - (now_ns - session.active_ns) / 1e9

        return max(1, round(min(map(left_s, self.sessions.values()))))

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
        if session.options.adapter is not None:
            self.metrics.adapter_frames[session.options.adapter] += 1
        if session.recording is not None:
            session.recording.frame(message, session.active_ns)

    def submit(self, session: Session, pixels: Frame, message: FrameMessage, received_ns: int) -> None:
        """Let `pixels`, of the model's size, wait for the next step; a frame that already waits is dropped."""
        if session.is_closed:
            return
        if message.seq < session.newest_ready_seq:  # another codec's decoder was slower
            self.drop(session, message.seq)
            return
        frame = ReadyFrame(
            pixels=pixels,
            seq=message.seq,
            capture_ns=message.capture_ns,
            received_ns=received_ns,
            ready_ns=time.monotonic_ns(),
            deadline_ns=received_ns + int(session.options.deadline_s * 1e9),
        )
        if (replaced := session.put_pending(frame)) is not None:
            self.drop(session, replaced.seq)
        self._pending.add(session)
        if session.watch is not None:
            session.watch.see(pixels, message.seq)
        if not self._is_stepping and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._start_step)  # frames of this turn of the loop join the same batch

    def correct(self, session: Session, seq: int, state: InputState) -> None:
        """Let `state` be what was held in the tick of frame `seq`, whatever was answered: a person took over, say.

        Raises Problem if the model has gone on since: its past cannot be changed.
        """
        if seq != session.stepped_seq:
            detail = f"seq {seq} is not the newest frame that the model saw, {session.stepped_seq}: send it sooner."
            raise Problem(FEEDBACK_LATE, detail)
        self.robots.check_executed(session, state)
        session.executed_seq = seq
        self._remember(session, seq, state)

    def _remember(self, session: Session, seq: int, state: InputState) -> None:
        """The model's history holds controls alone: other commands of direct actuators are recorded, no more."""
        if session.answered == (seq, state):
            return
        known, session.answered = session.answered, None
        tokens = None
        if known is None or known[0] != seq or replace(known[1], commands=state.commands) != state:
            tokens = self.stepper.action_space.encode(state)
            self._thread.correct(session.slot, tokens)
        if session.recording is not None:
            session.recording.executed(seq, tokens, state.commands)

    def drop(self, session: Session, seq: int) -> None:
        """Count a frame of `session` that a newer one replaced."""
        self.metrics.dropped_frames += 1
        session.drop(seq)

    def abandon(self, session: Session, seq: int) -> None:
        """Tell a session that was reset that a frame of its former life has no answer; a closed one knows."""
        if not session.is_closed:
            session.abandon(seq)

    def _discard_pending(self, session: Session) -> None:
        frame, session.pending, session.due_ns = session.pending, None, None
        self._pending.discard(session)
        if frame is not None:
            self.drop(session, frame.seq)

    # ------------------------------------------------------------------ steps

    def _start_step(self) -> None:
        self._is_scheduled = False
        if self._pending and not self._is_stepping:
            self._is_stepping = True
            self._thread.step(list(self._take_batch()))

    def _take_batch(self) -> Iterator[Entry]:
        """The frames of the next step, longest wait first; the rest goes on waiting."""
        for session in choose(self._pending, self.times, time.monotonic_ns()):
            self._pending.discard(session)
            frame = session.take_pending()
            if session.recording is not None:
                session.recording.step(frame.seq, session.options.sampling, opens=session.is_fresh)
            yield Entry(session, frame, session.slot, session.life, session.is_fresh, session.options.sampling)
            session.is_fresh = False

    def _finish_step(self, outcome: Outcome) -> None:
        self._is_stepping = False
        if self.on_step is not None:
            self.on_step(outcome)
        self.metrics.count_step(len(outcome.entries), outcome.started_ns, outcome.stepped_ns, outcome.done_ns)
        if outcome.steps is None:
            self._fail(outcome)
        else:
            self.times.observe(len(outcome.entries), (outcome.done_ns - outcome.started_ns) / 1e9)
        limited: Mapping[int, Limited] = {}
        if self.robots.num_open and outcome.steps is not None:  # before the next step: it must find what was executed
            limited = self.robots.limit(outcome.entries, outcome.steps, outcome.judged)
        self._start_step()  # before the answers are written: the model never waits for them
        if outcome.steps is not None:
            for row, entry in enumerate(outcome.entries):
                if not entry.is_wanted:
                    self.abandon(entry.session, entry.frame.seq)
                else:
                    self.metrics.queue.observe((outcome.started_ns - entry.frame.ready_ns) / 1e9)
                    self._answer(entry, outcome.steps, row, limited.get(row))

    def _fail(self, outcome: Outcome) -> None:
        self.metrics.step_failures += 1
        for entry in outcome.entries:
            if entry.session.recording is not None and not entry.session.is_closed:
                entry.session.recording.failed(entry.frame.seq)
            if not entry.is_wanted:
                self.abandon(entry.session, entry.frame.seq)
            else:
                entry.session.sink.failed(entry.session, entry.frame.seq, Problem(STEP_FAILED))

    def _answer(self, entry: Entry, steps: Steps, row: int, limited: Limited | None) -> None:
        session, frame, now_ns = entry.session, entry.frame, time.monotonic_ns()
        tokens = steps.tokens[row]
        try:
            states = self.robots.states_of(entry, steps, row)
        except ActionError:
            logger.exception("the model wrote what is no input state")
            session.sink.failed(session, frame.seq, Problem(INTERNAL))
            return
        if limited is not None:
            states, tokens = self.robots.overrule(states, tokens, limited)
        if session.stepped_seq == frame.seq and session.executed_seq != frame.seq:
            session.answered = frame.seq, states[0]
        if session.recording is not None:
            session.recording.answer(frame.seq, steps.tokens[row], steps.confidence[row], steps.commands_of(row))
        is_late = now_ns > frame.deadline_ns
        self.metrics.count_answer(now_ns - frame.received_ns, is_late=is_late)
        message = ActionMessage(
            seq=frame.seq,
            capture_ns=frame.capture_ns,
            age_us=(now_ns - frame.received_ns) // 1000,
            num_dropped=session.take_drops(),
            is_late=is_late,
            states=states,
            tokens=tokens,
            confidence=steps.confidence[row],
            stream_id=session.options.stream_id,
            plan=None if limited is None else limited[1],
        )
        session.answer(message)
