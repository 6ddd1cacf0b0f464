"""The WebSocket that `openpi-client` speaks, at / and at /openpi: an unmodified robot gets its actions from us.

    server: metadata        client: observation -> server: {"actions": float32 (horizon, dim), "server_timing"}, ...

A connection is a session, in lock-step: one answer an observation, in order. Its wishes stand in the URL:
ws://HOST:PORT/openpi?model=NAME&adapter=NAME&seed=1. What goes wrong with an observation is a text message, which the
client raises as its error; the session lives on. Sessions are admitted, limited, and ended like all others.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import WebSocket, WebSocketDisconnect

from gi_model.errors import GiError
from gi_serve.engine import Engine
from gi_serve.http_errors import problem_response
from gi_serve.openpi_messages import ACTION_NAMES, action_values, find_frame, pack_map, read_observation
from gi_serve.outbox import CLOSE_GOING_AWAY, CLOSE_IDLE, CLOSE_KEY_REVOKED
from gi_serve.posted_frames import PostedFrames
from gi_serve.problems import DRAINING, Problem, as_problem
from gi_serve.protocol import ActionMessage, Codec, FrameMessage, ProtocolError
from gi_serve.schemas import NewSession, read_event
from gi_serve.service import Service
from gi_serve.sessions import Session

PATHS: Final = ("/", "/openpi")
_CLOSE_CODES: Final = {"idle": CLOSE_IDLE, "key_revoked": CLOSE_KEY_REVOKED}


@dataclass(slots=True, eq=False)
class _Sink(PostedFrames):
    """Knows why its session ended, too."""

    ended: "asyncio.Future[str]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def closed(self, session: Session, reason: str) -> None:
        super(_Sink, self).closed(session, reason)
        if not self.ended.done():
            self.ended.set_result(reason)


class _Leaving:
    """Lets a server that ends wait for the connection; the end of its session is all that the client is told."""

    def go_away(self, grace_s: float, engine: Engine | None = None, adapter: str | None = None) -> None:
        """The protocol has no word for it."""

    def end(self) -> None:
        """Its session has ended, and so it closes itself."""


async def serve_openpi(websocket: WebSocket, service: Service) -> None:
    """Serve one connection until it ends."""
    try:
        robot = _open(websocket, service)
    except GiError as error:
        problem = as_problem(error)
        service.server_metrics.count(problem)
        await websocket.send_denial_response(problem_response(problem))
        return
    leaving = _Leaving()
    service.connections.add(leaving)
    try:
        await websocket.accept()
        await websocket.send_bytes(pack_map(robot.describe()))
        await robot.play()
    except WebSocketDisconnect:
        pass  # it left while we answered
    finally:
        service.connections.discard(leaving)
        robot.engine.close_session(robot.session, reason="client")


def _open(websocket: WebSocket, service: Service) -> "_Robot":
    """The session of a handshake. Raises GiError."""
    caller = service.access.identify(websocket.headers.get("authorization")).check("play")
    service.access.admit(caller, websocket.client.host if websocket.client else "")
    if not service.is_ready:
        raise Problem(DRAINING, "Connect to another server.", retry_after_s=5)
    wishes: dict[str, Any] = dict(websocket.query_params)
    if wishes.get("seed", "").isdecimal():
        wishes["seed"] = int(wishes["seed"][:12])
    wanted = read_event(NewSession, {**wishes, "lockstep": True})
    engine, sink = service.find_engine(wanted.model), _Sink()
    session = service.open_session(engine, wanted.options(engine.stepper), sink, caller=caller)
    return _Robot(websocket, service, engine, session, sink)


@dataclass(frozen=True, slots=True)
class _Robot:
    """Whoever sends observations."""

    websocket: WebSocket
    service: Service
    engine: Engine
    session: Session
    sink: _Sink

    def describe(self) -> dict[str, Any]:
        """The metadata that opens a connection."""
        stepper, adapter, options = self.engine.stepper, self.session.adapter, self.session.options
        body = options.embodiment or (adapter.embodiment if adapter else None)
        return {
            "model": stepper.name,
            "adapter": options.adapter,
            "fps": adapter.fps if adapter else stepper.fps,
            "image_size": [stepper.height, stepper.width],  # others are brought to it
            "action_horizon": stepper.action_horizon,
            "action_names": [each.name for each in body.actuators] if body else list(ACTION_NAMES),
            "seed": options.sampling.seed,
        }

    async def play(self) -> None:
        """Answer observation after observation, until the client or the session ends."""
        for seq in range(2**63):
            receiving = asyncio.ensure_future(self.websocket.receive())
            waiting: list[asyncio.Future[Any]] = [receiving, self.sink.ended]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self.sink.ended.done():
                receiving.cancel()
                await self.websocket.close(_CLOSE_CODES.get(self.sink.ended.result(), CLOSE_GOING_AWAY))
                return
            message = receiving.result()
            if message["type"] == "websocket.disconnect":
                return
            try:
                await self.websocket.send_bytes(_pack(await self._answer(seq, message.get("bytes"))))
            except GiError as error:
                problem = as_problem(error)
                self.service.server_metrics.count(problem)
                await self.websocket.send_text(f"{problem.kind.title}: {problem.detail}")

    async def _answer(self, seq: int, data: bytes | None) -> ActionMessage:
        """The answer to an observation. Raises GiError."""
        if data is None:
            raise ProtocolError("an observation is a binary message", got="text")
        frame = find_frame(read_observation(data))
        height, width, _ = frame.shape
        waiting = self.sink.expect(self.session, seq)
        message = FrameMessage(seq, 0, Codec.RAW, frame.tobytes(), width, height)
        try:
            self.service.intakes[self.engine.stepper.name].offer(self.session, message)
        except GiError:
            waiting.cancel()
            raise
        return await waiting


def _pack(answer: ActionMessage) -> bytes:
    return pack_map({"actions": action_values(answer), "server_timing": {"infer_ms": answer.age_us / 1e3}})
