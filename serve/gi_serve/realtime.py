"""The WebSocket /v1/realtime: frames stream in, actions stream out, for one player or many on one connection.

    client: session.update (opens a stream), frames, action.executed, session.reset, .fork, .resume, .close, clock.sync
    server: session.created, .updated, .resumed, .closed, .going_away, actions, frame.dropped, deadline.missed, error

A message is handled as it is read, an answer written as it is made; nothing ever waits for the model, or for a client
that does not read. A bad message is answered by an `error` event and changes nothing else. When the client closes the
connection, its sessions end; when it is lost, those that asked for it are kept a while (`session.resume`). Rejected: a
task that reads and a task that writes (their wake-ups cost more than the frames' own work), a task a frame.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from fastapi import WebSocket, WebSocketDisconnect

from gi_model.errors import GiError
from gi_serve.access import SUBPROTOCOL, Caller
from gi_serve.direct_socket import EXTENSION, DirectSocket
from gi_serve.http_errors import problem_response
from gi_serve.outbox import CLOSE_IDLE
from gi_serve.problems import DRAINING, MESSAGE_INVALID, Problem, as_problem
from gi_serve.protocol import BINARY, JSON, ActionMessage, FrameMessage, ProtocolError, decode_frame, encode_action
from gi_serve.protocol_json import action_to_text, frame_from_event, parse_event
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
    read_event,
)
from gi_serve.service import Service
from gi_serve.streams import Streams

_SECONDS_TO_START: Final = 10.0  # a connection that opens no stream is not kept
_CLEAN_CLOSE: Final = (1000, 1001)  # anything else, a socket without a last word above all: the connection was lost
_EVENTS: Final = (
    *("session.update", "session.reset", "session.close", "session.resume", "session.fork"),
    *("frame", "action.executed", "clock.sync", "robot.stop", "robot.release"),
)


async def serve_stream(websocket: WebSocket, service: Service) -> None:
    """Serve one connection until it ends."""
    offered = websocket.scope["subprotocols"]
    chosen = next((name for name in (BINARY, JSON) if name in offered), None)
    try:
        caller = _admit(websocket, service)
        if chosen is None and any(not name.startswith(SUBPROTOCOL) for name in offered):
            raise Problem(MESSAGE_INVALID, f"Offer the subprotocol {BINARY} or {JSON}.")
    except Problem as refusal:
        service.server_metrics.count(refusal)
        await websocket.send_denial_response(problem_response(refusal))
        return
    await websocket.accept(chosen)
    await Connection(websocket, service, caller, is_json=chosen != BINARY).run()


def _admit(websocket: WebSocket, service: Service) -> Caller:
    """Whoever connects, if it may play now. Raises Problem."""
    caller = service.access.identify_stream(websocket.headers, websocket.scope["subprotocols"]).check("play")
    service.access.admit(caller, websocket.client.host if websocket.client else "")
    if not service.is_ready:
        raise Problem(DRAINING, "Connect to another server.", retry_after_s=5)
    return replace(caller, trace_parent=websocket.headers.get("traceparent", ""))


class Connection:
    """One WebSocket: gives messages to its streams as they come, writes what they put into the outbox."""

    def __init__(self, websocket: WebSocket, service: Service, caller: Caller, *, is_json: bool) -> None:
        self._websocket, self._service, self._is_json = websocket, service, is_json
        self._socket: DirectSocket = websocket.scope["extensions"][EXTENSION]
        self._streams = Streams(service, self, notify=is_json, caller=caller)
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Play until either side ends; then free every slot."""
        self._service.connections.add(self._streams)
        watch = asyncio.get_running_loop().call_later(_SECONDS_TO_START, self._close_unstarted)
        left = asyncio.create_task(self._leaves())
        try:
            self._socket.attach(self)
            await asyncio.wait((left, self._ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            self._socket.detach()
            self._streams.leave(is_lost=not (left.done() and left.result()))
            self._service.connections.discard(self._streams)
            left.cancel()
        if self._ended.done():
            with suppress(WebSocketDisconnect):
                await self._websocket.close(self._ended.result())

    async def _leaves(self) -> bool:
        """Wait for the end of the connection; whether the client closed it, in so many words."""
        return (await self._websocket.receive()).get("code") in _CLEAN_CLOSE

    def _close_unstarted(self) -> None:
        if not self._streams.num_open:
            self._streams.outbox.close(CLOSE_IDLE)

    # ------------------------------------------------------------------ what comes (the socket's Listener)

    def received(self, message: bytes | str) -> None:
        """Take a message; a bad one is answered and changes nothing else."""
        received_ns = time.monotonic_ns()
        about: dict[str, int] = {}
        try:
            if isinstance(message, str):
                self._handle(parse_event(message), about, received_ns)
            else:
                self._offer(decode_frame(message), about, received_ns)
        except GiError as error:
            self._streams.send_error(as_problem(error), about)

    def writable(self) -> None:
        """Send what waits."""
        self._streams.outbox.flush()

    def _offer(self, message: FrameMessage, about: dict[str, int], received_ns: int) -> None:
        about |= {"stream_id": message.stream_id, "seq": message.seq}
        self._streams.offer(message, received_ns)

    def _handle(self, event: Mapping[str, Any], about: dict[str, int], received_ns: int) -> None:
        """Handle a control event, or a frame in JSON. `about`: what an error should name."""
        about |= {name: event[name] for name in ("stream_id", "seq") if type(event.get(name)) is int}
        match event["type"]:
            case "frame":
                self._offer(frame_from_event(event), about, received_ns)
            case "session.update":
                self._streams.update(read_event(StreamUpdate, event))
            case "session.reset":
                self._streams.reset(read_event(StreamReset, event))
            case "session.close":
                self._streams.close(read_event(StreamClose, event))
            case "session.resume":
                self._streams.resume(read_event(StreamResume, event))
            case "session.fork":
                self._streams.fork(read_event(StreamFork, event))
            case "action.executed":
                self._streams.execute(read_event(ActionExecuted, event))
            case "robot.stop":
                self._streams.stop_robot(read_event(RobotStop, event))
            case "robot.release":
                self._streams.release_robot(read_event(RobotRelease, event))
            case "clock.sync":
                self._streams.sync_clock(read_event(ClockSync, event), received_ns)
            case unknown:
                raise ProtocolError("unknown event", got=unknown[:80], expected=" | ".join(_EVENTS))

    # ------------------------------------------------------------------ what goes (the outbox's Writer)

    @property
    def is_writable(self) -> bool:
        """Whether the client reads what it is sent."""
        return self._socket.is_writable

    def write(self, message: str | ActionMessage) -> None:
        """Send an event or an answer."""
        if isinstance(message, str):
            self._socket.write(message)
            return
        started = time.perf_counter()
        data = action_to_text(message) if self._is_json else encode_action(message)
        encoded = time.perf_counter()
        self._socket.write(data)
        self._streams.count_sent(message.stream_id, encoded - started, time.perf_counter() - encoded)

    def end(self, code: int) -> None:
        """Close with `code`."""
        if not self._ended.done():
            self._ended.set_result(code)
