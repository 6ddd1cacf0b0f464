"""Looking over a player's shoulder: what a session's model sees and answers, a few times a second, for who may see it.

    GET /v1/sessions                 the sessions the caller may see, by tag
    WebSocket /v1/sessions/TAG/watch watch.started, then watch.update (a JPEG of the newest frame, the answers since),
                                     then watch.ended

A tag names a session and opens nothing. A caller sees its own sessions; with the scope `watch`, everybody's. A session
that nobody watches pays one comparison a frame; one that is watched hands over references, and the newest wins: the
JPEG is made in a thread, for the watcher's own pace, so that a slow watcher costs nobody but itself.
"""

import asyncio
import base64
import json
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol

import simplejpeg
from fastapi import APIRouter, Depends, WebSocket, WebSocketDisconnect
from pydantic import BaseModel

from gi_model.frames import Frame
from gi_serve.access import SUBPROTOCOL, Caller
from gi_serve.engine import Engine
from gi_serve.http_errors import problem_response
from gi_serve.logs import tag_of
from gi_serve.problems import CAPACITY_FULL, MESSAGE_INVALID, SESSION_UNKNOWN, Problem
from gi_serve.protocol import JSON, ActionMessage
from gi_serve.rest_access import require
from gi_serve.rest_problems import ANY, problems
from gi_serve.service import Service
from gi_serve.sessions import Session

MAX_WATCHERS: Final = 8  # of a server: all of them cost some 40 ms of CPU time a second
UPDATES_A_SECOND: Final = 10.0
ANSWERS_KEPT: Final = 64
JPEG_QUALITY: Final = 92
_COUNTERS: Final = ("num_frames", "num_answers", "num_dropped", "num_late")


class Watched(Protocol):
    """What a session tells, while it is watched."""

    def see(self, pixels: Frame, seq: int, /) -> None:
        """Frame `seq`, of the model's size, waits for a step."""
        ...

    def hear(self, message: ActionMessage, /) -> None:
        """It was answered."""
        ...


@dataclass(slots=True, eq=False)
class Watch:
    """The newest of one session: a frame, and the answers since a watcher last asked. Never grows."""

    seq: int = -1
    pixels: Frame | None = None
    answers: deque[ActionMessage] = field(default_factory=lambda: deque(maxlen=ANSWERS_KEPT))
    num_heard: int = 0
    num_watchers: int = 0

    def see(self, pixels: Frame, seq: int) -> None:
        """The newest frame wins."""
        self.pixels, self.seq = pixels, seq

    def hear(self, message: ActionMessage) -> None:
        """The oldest answer gives way."""
        self.answers.append(message)
        self.num_heard += 1

    def since(self, num_heard: int) -> list[ActionMessage]:
        """Answers after the first `num_heard`, as far as they are kept."""
        fresh = min(self.num_heard - num_heard, len(self.answers))
        return list(self.answers)[len(self.answers) - fresh :]


class SessionListing(BaseModel):
    """A session as whoever may watch it sees it. is_yours: opened with the caller's key."""

    tag: str
    model: str
    is_yours: bool
    num_frames: int
    num_answers: int
    num_dropped: int
    num_late: int


def build_watch_routes(service: Service) -> APIRouter:
    """The routes of `service`."""
    router = APIRouter(tags=["sessions"])
    watchers: set[WebSocket] = set()

    @router.get("/v1/sessions", responses=problems(*ANY))
    async def list_sessions(
        caller: Annotated[Caller, Depends(require(service.access, "play"))],
    ) -> list[SessionListing]:
        """The sessions that the caller may watch: its own; with the scope `watch`, all."""
        return [_list(engine, session, caller) for engine, session in _visible(service, caller)]

    @router.websocket("/v1/sessions/{tag}/watch")
    async def watch(websocket: WebSocket, tag: str) -> None:
        offered = websocket.scope["subprotocols"]
        try:
            caller = service.access.identify_stream(websocket.headers, offered).check("play")
            service.access.admit(caller, websocket.client.host if websocket.client else "")
            if len(watchers) >= MAX_WATCHERS:
                raise Problem(CAPACITY_FULL, f"At most {MAX_WATCHERS} watch at a time.", retry_after_s=10)
            if any(name != JSON and not name.startswith(SUBPROTOCOL) for name in offered):
                raise Problem(MESSAGE_INVALID, f"Offer the subprotocol {JSON}.")
            engine, session = _find(service, tag, caller)
        except Problem as refusal:
            service.server_metrics.count(refusal)
            await websocket.send_denial_response(problem_response(refusal))
            return
        watchers.add(websocket)
        try:
            await websocket.accept(JSON if JSON in offered else None)
            await _show(websocket, Watcher(service, engine, session, caller))
        finally:
            watchers.discard(websocket)

    return router


async def _show(websocket: WebSocket, watcher: "Watcher") -> None:
    """Send until the session, the caller's right, or the connection ends."""
    leaves = asyncio.create_task(_wait_for_end(websocket))
    try:
        with suppress(WebSocketDisconnect), _watching(watcher.session) as watch:
            await websocket.send_text(json.dumps(watcher.describe()))
            while not leaves.done() and not watcher.why_over:
                if (update := await watcher.update(watch)) is not None:
                    await websocket.send_text(update)
                await asyncio.wait([leaves], timeout=1 / UPDATES_A_SECOND)
            if not leaves.done():
                await websocket.send_text(json.dumps({"type": "watch.ended", "reason": watcher.why_over}))
                await websocket.close()
    finally:
        leaves.cancel()


async def _wait_for_end(websocket: WebSocket) -> None:
    """Return when the connection ends; what a watcher says is not listened to."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


@contextmanager
def _watching(session: Session) -> Iterator[Watch]:
    """Let the session tell, for as long as anybody watches."""
    watch = session.watch if isinstance(session.watch, Watch) else Watch()
    session.watch = watch
    watch.num_watchers += 1
    try:
        yield watch
    finally:
        watch.num_watchers -= 1
        if not watch.num_watchers:
            session.watch = None


@dataclass(slots=True)
class Watcher:
    """One connection that watches, and how far it has seen."""

    service: Service
    engine: Engine
    session: Session
    caller: Caller
    seen_seq: int = -1
    num_heard: int = 0

    @property
    def why_over(self) -> str:
        """Why there is nothing more to see; empty while there is."""
        if self.session.is_closed:
            return "the session ended"
        return "" if self.service.access.knows(self.caller.id) else "your key was revoked"

    def describe(self) -> dict[str, Any]:
        """The first message."""
        stepper = self.engine.stepper
        return {
            "type": "watch.started",
            "tag": tag_of(self.session.id),
            "model": stepper.name,
            "fps": stepper.fps,
            "factors": list(stepper.factors),
            "shape": [stepper.height, stepper.width, 3],
            "deadline_ms": self.session.options.deadline_s * 1e3,
        }

    async def update(self, watch: Watch) -> str | None:
        """The next message, or None when nothing happened."""
        answers, self.num_heard = watch.since(self.num_heard), watch.num_heard
        pixels, is_new, self.seen_seq = watch.pixels, watch.seq != self.seen_seq, watch.seq
        if not answers and not is_new:
            return None
        seq, shown = self.seen_seq, None
        if pixels is not None and is_new:
            shown = {"seq": seq, "jpeg": await asyncio.to_thread(_encode, pixels)}
        return json.dumps(
            {
                "type": "watch.update",
                "frame": shown,
                "answers": [_describe(answer) for answer in answers],
                "counts": {name: getattr(self.session, name) for name in _COUNTERS},
            },
            separators=(",", ":"),
        )


def _encode(pixels: Frame) -> str:
    """In a thread: base64 of a JPEG."""
    return base64.b64encode(simplejpeg.encode_jpeg(pixels, quality=JPEG_QUALITY, colorsubsampling="444")).decode()


def _describe(answer: ActionMessage) -> dict[str, Any]:
    return {
        "seq": answer.seq,
        "age_us": answer.age_us,
        "num_dropped": answer.num_dropped,
        "is_late": answer.is_late,
        "action": answer.states[0].to_dict(),
        "confidence": [_number(each) for each in answer.confidence[0]],
    }


def _number(probability: float) -> float | None:
    """JSON has no NaN."""
    return round(float(probability), 4) if math.isfinite(probability) else None


def _visible(service: Service, caller: Caller) -> Iterator[tuple[Engine, Session]]:
    for engine in service.engines.values():
        for session in engine.sessions.values():
            if session.owner == caller.id or "watch" in caller.scopes:
                yield engine, session


def _find(service: Service, tag: str, caller: Caller) -> tuple[Engine, Session]:
    for engine, session in _visible(service, caller):
        if tag in (tag_of(session.id), session.id):
            return engine, session
    raise Problem(SESSION_UNKNOWN, "It ended, or it is another key's: GET /v1/sessions names those you may watch.")


def _list(engine: Engine, session: Session, caller: Caller) -> SessionListing:
    counts = {name: getattr(session, name) for name in _COUNTERS}
    is_yours = session.owner == caller.id
    return SessionListing(tag=tag_of(session.id), model=engine.stepper.name, is_yours=is_yours, **counts)
