"""`Streams`: the sessions of one connection, and the `Sink` that turns what happens to them into events."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gi_serve.access import ANYONE, Caller
from gi_serve.engine import Engine
from gi_serve.intake import Intake
from gi_serve.outbox import CLOSE_GOING_AWAY, CLOSE_IDLE, CLOSE_KEY_REVOKED, Outbox
from gi_serve.problems import MESSAGE_INVALID, SESSION_UNKNOWN, Problem
from gi_serve.protocol import ActionMessage, FrameMessage
from gi_serve.schemas import StreamClose, StreamReset, StreamUpdate, view_model, view_session
from gi_serve.service import Service
from gi_serve.sessions import Session

MAX_STREAMS: Final = 64
_CLOSE_CODES: Final = {"going_away": CLOSE_GOING_AWAY, "idle": CLOSE_IDLE, "key_revoked": CLOSE_KEY_REVOKED}


@dataclass(slots=True, eq=False)
class Stream:
    """One session on a connection. notify: whether it wants `frame.dropped` and `deadline.missed`."""

    engine: Engine
    intake: Intake
    session: Session
    notify: bool


class Streams:
    """Belongs to the event loop's thread. notify: what a stream wants unless it says; caller: whose they are."""

    def __init__(self, service: Service, *, notify: bool, caller: Caller = ANYONE) -> None:
        self.outbox = Outbox()
        self._service, self._notify, self._caller = service, notify, caller
        self._streams: dict[int, Stream] = {}

    @property
    def num_open(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    # ------------------------------------------------------------------ what the client asks

    def offer(self, message: FrameMessage) -> None:
        """Take a frame. Raises Problem."""
        stream = self._find(message.stream_id)
        stream.intake.offer(stream.session, message)

    def update(self, update: StreamUpdate) -> None:
        """Open the stream, or change its session. Raises Problem."""
        stream = self._streams.get(update.stream_id)
        if stream is None:
            self._open(update)
            return
        if update.notify is not None:
            stream.notify = update.notify
        stream.session.options = update.change(stream.session.options)
        self._send_session("session.updated", stream)

    def reset(self, reset: StreamReset) -> None:
        """Start the stream's session anew. Raises Problem."""
        stream = self._find(reset.stream_id)
        self.outbox.forget_answer(reset.stream_id)
        stream.engine.reset_session(stream.session, reset.change(stream.session.options))
        self._send_session("session.updated", stream)

    def close(self, close: StreamClose) -> None:
        """End the stream's session. Raises Problem."""
        stream = self._find(close.stream_id)
        stream.engine.close_session(stream.session, reason="client")

    def close_all(self) -> None:
        """End every session: the connection is gone."""
        for stream in list(self._streams.values()):
            stream.engine.close_session(stream.session, reason="client")

    def go_away(self, grace_s: float, engine: Engine | None = None) -> None:
        """Tell the streams (of `engine`, or all) that they end in `grace_s` seconds; until then they play on."""
        for stream_id, stream in self._streams.items():
            if engine is None or stream.engine is engine:
                self._send("session.going_away", stream_id=stream_id, grace_s=grace_s)

    def end(self) -> None:
        """Close the connection once everything is sent: the server ends."""
        self.outbox.close(CLOSE_GOING_AWAY)

    def _find(self, stream_id: int) -> Stream:
        if stream_id not in self._streams:
            raise Problem(SESSION_UNKNOWN, f"Stream {stream_id} is not open: send session.update first.")
        return self._streams[stream_id]

    def _open(self, update: StreamUpdate) -> None:
        if len(self._streams) >= MAX_STREAMS:
            raise Problem(MESSAGE_INVALID, f"A connection has at most {MAX_STREAMS} streams.")
        engine = self._service.find_engine(update.model)
        options = update.options(engine.stepper, stream_id=update.stream_id)
        session = self._service.open_session(engine, options, self, caller=self._caller)
        intake = self._service.intakes[engine.stepper.name]
        stream = Stream(engine, intake, session, self._notify if update.notify is None else update.notify)
        self._streams[update.stream_id] = stream
        model = view_model(engine).model_dump(exclude={"action_space": {"vocabulary"}})
        self._send_session("session.created", stream, model=model)

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

    def closed(self, session: Session, reason: str) -> None:
        """Say goodbye; the connection ends with its last stream, unless the client closed that one itself."""
        stream_id = session.options.stream_id
        del self._streams[stream_id]
        self.outbox.forget_answer(stream_id)
        self._send("session.closed", stream_id=stream_id, reason=reason)
        if not self._streams and reason != "client":
            self.outbox.close(_CLOSE_CODES[reason])

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
