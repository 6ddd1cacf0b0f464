"""`Streams`: the sessions of one connection, and the `Sink` that turns what happens to them into events."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gi_serve.access import ANYONE, Caller
from gi_serve.command_plan import CommandPlan, plan_to_dict
from gi_serve.engine import Engine
from gi_serve.intake import Intake
from gi_serve.outbox import CLOSE_GOING_AWAY, CLOSE_IDLE, CLOSE_KEY_REVOKED, CLOSE_RESUMED, Outbox, Writer
from gi_serve.problems import MESSAGE_INVALID, REQUEST_INVALID, SESSION_UNKNOWN, Problem
from gi_serve.protocol import ActionMessage, FrameMessage
from gi_serve.protocol_json import read_state
from gi_serve.schemas import (
    ActionExecuted,
    ClockSync,
    RobotRelease,
    RobotStop,
    StreamClose,
    StreamFork,
    StreamReset,
    StreamResume,
    StreamUpdate,
    view_model,
    view_session,
)
from gi_serve.service import Service
from gi_serve.sessions import Session

MAX_STREAMS: Final = 64
_CLOSE_CODES: Final = {
    "going_away": CLOSE_GOING_AWAY,
    "idle": CLOSE_IDLE,
    "key_revoked": CLOSE_KEY_REVOKED,
    "resumed": CLOSE_RESUMED,
}


@dataclass(slots=True, eq=False)
class Stream:
    """One session on a connection. notify: whether it wants `frame.dropped` and `deadline.missed`."""

    engine: Engine
    intake: Intake
    session: Session
    notify: bool


class Streams:
    """Belongs to the event loop's thread. notify: what a stream wants unless it says; caller: whose they are."""

    def __init__(self, service: Service, writer: Writer, *, notify: bool, caller: Caller = ANYONE) -> None:
        self.outbox = Outbox(writer)
        self._service, self._notify, self._caller = service, notify, caller
        self._streams: dict[int, Stream] = {}

    @property
    def num_open(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    # ------------------------------------------------------------------ what the client asks

    def offer(self, message: FrameMessage, received_ns: int) -> None:
        """Take a frame, which came at `received_ns`. Raises Problem."""
        stream = self._find(message.stream_id)
        stream.engine.metrics.receive.observe((time.monotonic_ns() - received_ns) / 1e9)
        stream.intake.offer(stream.session, message)

    def update(self, update: StreamUpdate) -> None:
        """Open the stream, or change its session. Raises Problem."""
        stream = self._streams.get(update.stream_id)
        if stream is None:
            self._open(update)
            return
        if update.adapter not in (None, stream.session.options.adapter):
            detail = "A session keeps its adapter: close the stream, or open another, with the new one."
            raise Problem(REQUEST_INVALID, detail)
        stream.session.options = stream.engine.check(update.change(stream.session.options))
        if update.notify is not None:
            stream.notify = update.notify
        self._send_session("session.updated", stream)

    def reset(self, reset: StreamReset) -> None:
        """Start the stream's session anew. Raises Problem."""
        stream = self._find(reset.stream_id)
        stream.engine.reset_session(stream.session, reset.change(stream.session.options))
        self.outbox.forget_answer(reset.stream_id)
        self._send_session("session.updated", stream)

    def close(self, close: StreamClose) -> None:
        """End the stream's session. Raises Problem."""
        stream = self._find(close.stream_id)
        stream.engine.close_session(stream.session, reason="client")

    def resume(self, wanted: StreamResume) -> None:
        """Go on with a session whose connection was lost, under its new stream id. Raises Problem."""
        self._check_new(wanted.stream_id)
        engine, session = self._service.resume_session(wanted, self, caller=self._caller)
        stream = self._add(engine, session, notify=wanted.notify)
        if session.video is not None:
            session.video.restart()  # the lost connection may have swallowed a picture
        self._send_session(
            "session.resumed",
            stream,
            model=self._view_model(engine),
            last_seq=session.last_seq,
            executed_seq=session.executed_seq,
        )
        if (missed := session.missed_answer(wanted.answered_seq)) is not None:
            self.outbox.put_answer(replace(missed, stream_id=wanted.stream_id))

    def fork(self, fork: StreamFork) -> None:
        """Open a stream that goes on as another would. Raises Problem."""
        origin = self._find(fork.stream_id)
        self._check_new(fork.to_stream_id)
        session = self._service.fork_session(
            origin.session, origin.engine, self, caller=self._caller, stream_id=fork.to_stream_id
        )
        self._send_created(self._add(origin.engine, session, notify=origin.notify))

    def execute(self, executed: ActionExecuted) -> None:
        """Let what was held enter the session's history. Raises GiError."""
        stream = self._find(executed.stream_id)
        stream.engine.correct(stream.session, executed.seq, read_state(executed.action))

    def stop_robot(self, stop: RobotStop) -> None:
        """To neutral now, until it is released. Raises Problem."""
        stream = self._find(stop.stream_id)
        stream.engine.robots.stop(stream.session)

    def release_robot(self, release: RobotRelease) -> None:
        """Obey the policy again. Raises Problem."""
        stream = self._find(release.stream_id)
        stream.engine.robots.release(stream.session)
        self._send("robot.released", stream_id=release.stream_id)

    def sync_clock(self, sync: ClockSync, received_ns: int) -> None:
        """Tell the time."""
        self._send("clock.sync", client_ns=sync.client_ns, received_ns=received_ns, sent_ns=time.monotonic_ns())

    def leave(self, *, is_lost: bool) -> None:
        """The connection is gone: end every session, or keep those that may be resumed if it was lost."""
        for stream in list(self._streams.values()):
            if is_lost:
                stream.engine.suspend_session(stream.session)
            else:
                stream.engine.close_session(stream.session, reason="client")
        self._streams.clear()

    def go_away(self, grace_s: float, engine: Engine | None = None, adapter: str | None = None) -> None:
        """Tell the streams (of `engine`, with `adapter`; None: all) that they end in `grace_s` seconds.

        Until then they play on.
        """
        for stream_id, stream in self._streams.items():
            is_its = adapter is None or stream.session.options.adapter == adapter
            if engine is None or (stream.engine is engine and is_its):
                self._send("session.going_away", stream_id=stream_id, grace_s=grace_s)

    def end(self) -> None:
        """Close the connection once everything is sent: the server ends."""
        self.outbox.close(CLOSE_GOING_AWAY)

    def _find(self, stream_id: int) -> Stream:
        if stream_id not in self._streams:
            raise Problem(SESSION_UNKNOWN, f"Stream {stream_id} is not open: send session.update first.")
        return self._streams[stream_id]

    def _open(self, update: StreamUpdate) -> None:
        self._check_new(update.stream_id)
        engine = self._service.find_engine(update.model)
        options = replace(update.options(engine.stepper, stream_id=update.stream_id), is_resumable=update.resume)
        session = self._service.open_session(engine, options, self, caller=self._caller)
        self._send_created(self._add(engine, session, notify=update.notify))

    def _check_new(self, stream_id: int) -> None:
        if stream_id in self._streams:
            raise Problem(MESSAGE_INVALID, f"Stream {stream_id} is open: close it, or choose another stream_id.")
        if len(self._streams) >= MAX_STREAMS:
            raise Problem(MESSAGE_INVALID, f"A connection has at most {MAX_STREAMS} streams.")

    def _add(self, engine: Engine, session: Session, *, notify: bool | None) -> Stream:
        intake = self._service.intakes[engine.stepper.name]
        stream = Stream(engine, intake, session, self._notify if notify is None else notify)
        self._streams[session.options.stream_id] = stream
        return stream

    def _send_created(self, stream: Stream) -> None:
        timeout_s = stream.engine.config.resume_timeout_s
        is_kept = stream.session.options.is_resumable and timeout_s > 0
        resume = {"token": stream.session.resume_token, "timeout_s": timeout_s} if is_kept else None
        self._send_session("session.created", stream, model=self._view_model(stream.engine), resume=resume)

    def _view_model(self, engine: Engine) -> dict[str, Any]:
        return view_model(engine).model_dump(exclude={"action_space": {"vocabulary"}})

    # ------------------------------------------------------------------ what happens to its sessions (the Sink)

    def answered(self, session: Session, message: ActionMessage) -> None:
        """Send the action; `deadline.missed` too where it is wanted."""
        self.outbox.put_answer(message)
        if message.is_late and self._streams[message.stream_id].notify:
            late_us = message.age_us - int(session.options.deadline_s * 1e6)
            self._send("deadline.missed", stream_id=message.stream_id, seq=message.seq, late_us=late_us)

    def dropped(self, session: Session, seq: int) -> None:
        """Send `frame.dropped` where it is wanted; the next answer counts it in any case."""
        if self._streams[session.options.stream_id].notify:
            self._send("frame.dropped", stream_id=session.options.stream_id, seq=seq)

    def failed(self, session: Session, seq: int, problem: Problem) -> None:
        """Send the problem; the session lives on."""
        self.send_error(problem, {"stream_id": session.options.stream_id, "seq": seq})

    def needs_keyframe(self, session: Session) -> None:
        """Ask for one."""
        self._send("keyframe.needed", stream_id=session.options.stream_id)

    def planned(self, session: Session, plan: CommandPlan, answer: ActionMessage | None) -> None:
        """Change the answer that waits to be sent, or tell the plan alone."""
        stream_id = session.options.stream_id
        if answer is not None and self.outbox.is_unsent(stream_id):
            self.outbox.replace_answer(replace(answer, stream_id=stream_id))
        else:
            self._send("robot.plan", stream_id=stream_id, plan=plan_to_dict(plan))

    def is_unsent(self, session: Session) -> bool:
        """Whether its newest answer waits for a client that reads slowly."""
        return self.outbox.is_unsent(session.options.stream_id)

    def closed(self, session: Session, reason: str) -> None:
        """Say goodbye; the connection ends with its last stream, unless the client closed that one itself."""
        stream_id = session.options.stream_id
        stream = self._streams.get(stream_id)
        if stream is None or stream.session is not session:  # it ended before it was a stream
            return
        del self._streams[stream_id]
        self.outbox.forget_answer(stream_id)
        self._send("session.closed", stream_id=stream_id, reason=reason)
        if not self._streams and reason != "client":
            self.outbox.close(_CLOSE_CODES.get(reason, CLOSE_GOING_AWAY))

    def count_sent(self, stream_id: int, encode_s: float, send_s: float) -> None:
        """Count what an answer took to write."""
        if (stream := self._streams.get(stream_id)) is not None:
            stream.engine.metrics.encode.observe(encode_s)
            stream.engine.metrics.send.observe(send_s)

    def send_error(self, problem: Problem, about: Mapping[str, int]) -> None:
        """Send the event `error`. about: the stream and frame it concerns."""
        self._service.server_metrics.count(problem)
        self._send("error", error=problem.to_dict(), **about)

    def _send_session(self, event: str, stream: Stream, **extra: Any) -> None:
        session, model = stream.session, stream.engine.stepper.name
        view = view_session(session, model).model_dump()
        self._send(event, stream_id=session.options.stream_id, session=view, **extra)

    def _send(self, event: str, **fields: Any) -> None:
        self.outbox.put_event({"type": event, **fields})
