"""`PostedFrames`: the sink of a session whose frames are posted: each request waits for the answer to its own frame."""

import asyncio
from dataclasses import dataclass, field

from gi_serve.command_plan import CommandPlan
from gi_serve.problems import FRAME_SUPERSEDED, SESSION_CLOSED, Problem
from gi_serve.protocol import ActionMessage
from gi_serve.sessions import Session


@dataclass(slots=True, eq=False)
class PostedFrames:
    """Waiting requests by the seq of their frame."""

    _waiting: dict[int, "asyncio.Future[ActionMessage]"] = field(default_factory=dict)

    def expect(self, session: Session, seq: int) -> "asyncio.Future[ActionMessage]":
        """The future answer to frame `seq`; it raises Problem when there will be none."""
        if session.is_closed:
            raise Problem(SESSION_CLOSED)
        future: asyncio.Future[ActionMessage] = asyncio.get_running_loop().create_future()
        self._waiting[seq] = future
        future.add_done_callback(lambda _done: self._waiting.pop(seq, None))
        return future

    def answered(self, _session: Session, message: ActionMessage) -> None:
        """Answer the request."""
        if (future := self._waiting.get(message.seq)) and not future.done():
            future.set_result(message)

    def dropped(self, session: Session, seq: int) -> None:
        """The request lost to a newer one."""
        self.failed(session, seq, Problem(FRAME_SUPERSEDED, "Wait for each answer before the next frame."))

    def failed(self, _session: Session, seq: int, problem: Problem) -> None:
        """The request has no answer."""
        if (future := self._waiting.get(seq)) and not future.done():
            future.set_exception(problem)

    def needs_keyframe(self, session: Session) -> None:
        """Requests carry images, never video."""

    def planned(self, session: Session, plan: CommandPlan, answer: ActionMessage | None) -> None:
        """The next answer says so."""

    def is_unsent(self, _session: Session) -> bool:
        """An answer is handed over at once."""
        return False

    def closed(self, session: Session, reason: str) -> None:
        """No request will be answered any more."""
        for seq in list(self._waiting):
            self.failed(session, seq, Problem(SESSION_CLOSED, f"Reason: {reason}."))
