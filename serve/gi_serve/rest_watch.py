"""Who may watch which session, and how: the routes before `watch`.

    GET /v1/sessions                 the sessions the caller may see, by tag
    WebSocket /v1/sessions/TAG/watch watch.started, then watch.update (a JPEG of the newest frame, the answers since),
                                     then watch.ended

A tag names a session and opens nothing. A caller sees its own sessions; with the scope `watch`, everybody's. Places to
watch are few: a key without that scope has its share of them, so that none takes them all.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Final

from fastapi import APIRouter, Depends, WebSocket, WebSocketDisconnect
from pydantic import BaseModel

from gi_serve.access import SUBPROTOCOL, Caller
from gi_serve.engine import Engine
from gi_serve.http_errors import problem_response
from gi_serve.logs import tag_of
from gi_serve.problems import CAPACITY_FULL, MESSAGE_INVALID, SESSION_UNKNOWN, Problem
from gi_serve.protocol import JSON
from gi_serve.rest_access import require
from gi_serve.rest_problems import ANY, problems
from gi_serve.service import Service
from gi_serve.sessions import Session
from gi_serve.watch import COUNTERS, Watcher, watching

MAX_WATCHERS: Final = 8  # of a server: all of them cost some 40 ms of CPU time a second
MAX_WATCHERS_OF_KEY: Final = 2  # without the scope `watch`
UPDATES_A_SECOND: Final = 10.0


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
    watchers: list[str] = []  # the key of each, "" where there are none

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
            _check_places(watchers, caller)
            if any(name != JSON and not name.startswith(SUBPROTOCOL) for name in offered):
                raise Problem(MESSAGE_INVALID, f"Offer the subprotocol {JSON}.")
            engine, session = _find(service, tag, caller)
        except Problem as refusal:
            service.server_metrics.count(refusal)
            await websocket.send_denial_response(problem_response(refusal))
            return
        watchers.append(caller.id)
        try:
            await websocket.accept(JSON if JSON in offered else None)
            await show(websocket, Watcher(service, engine, session, caller))
        finally:
            watchers.remove(caller.id)

    return router


async def show(websocket: WebSocket, watcher: "Watcher") -> None:
    """Send until the session, the caller's right, or the connection ends."""
    leaves = asyncio.create_task(_wait_for_end(websocket))
    try:
        with suppress(WebSocketDisconnect), watching(watcher.session) as watch:
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


def _check_places(taken: Sequence[str], caller: Caller) -> None:
    """Raise Problem if `caller` may not watch as well. taken: the key of each that watches."""
    if len(taken) >= MAX_WATCHERS:
        raise Problem(CAPACITY_FULL, f"At most {MAX_WATCHERS} watch at a time.", retry_after_s=10)
    if caller.id and "watch" not in caller.scopes and taken.count(caller.id) >= MAX_WATCHERS_OF_KEY:
        raise Problem(CAPACITY_FULL, f"At most {MAX_WATCHERS_OF_KEY} watch with one key.", retry_after_s=10)


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
    counts = {name: getattr(session, name) for name in COUNTERS}
    is_yours = session.owner == caller.id
    return SessionListing(tag=tag_of(session.id), model=engine.stepper.name, is_yours=is_yours, **counts)
