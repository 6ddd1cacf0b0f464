"""The WebSocket /v1/realtime: frames stream in, actions stream out, for one player or many on one connection.

    client: session.update (opens a stream), frames, action.executed, session.reset, .fork, .resume, .close, clock.sync
    server: session.created, .updated, .resumed, .closed, .going_away, actions, frame.dropped, deadline.missed, error

One task reads, one writes; neither ever waits for the model. A bad message is answered by an `error` event and
changes nothing else. When the client closes the connection, its sessions end; when it is lost, those that asked for it
are kept a while (`session.resume`). Rejected: a task a frame, and answers sent from the
reader (a slow client would hold up its own frames).
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fastapi import WebSocket, WebSocketDisconnect

from gi_model.errors import GiError
from gi_serve.access import SUBPROTOCOL, Caller
from gi_serve.http_errors import problem_response
from gi_serve.outbox import CLOSE_IDLE
from gi_serve.problems import DRAINING, MESSAGE_INVALID, Problem, as_problem
from gi_serve.protocol import BINARY, JSON, ActionMessage, FrameMessage, ProtocolError, decode_frame, encode_action
from gi_serve.protocol_json import action_to_text, frame_from_event, parse_event
from gi_serve.schemas import (
    ActionExecuted,
    ClockSync,
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
    *("frame", "action.executed", "clock.sync"),
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
    """One WebSocket: reads messages into its streams, writes what they put into the outbox."""

    def __init__(self, websocket: WebSocket, service: Service, caller: Caller, *, is_json: bool) -> None:
        self._websocket, self._service, self._is_json = websocket, service, is_json
        self._streams = Streams(service, notify=is_json, caller=caller)
        self._outbox = self._streams.outbox
        self._was_closed = False  # by the client, in so many words

    async def run(self) -> None:
        """Read and write until either ends; then free every slot."""
        self._service.connections.add(self._streams)
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        watch = asyncio.get_running_loop().call_later(_SECONDS_TO_START, self._close_unstarted)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            self._streams.leave(is_lost=not self._was_closed)
            self._service.connections.discard(self._streams)
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect):
                raise outcome

    def _close_unstarted(self) -> None:
        if not self._streams.num_open:
            self._outbox.close(CLOSE_IDLE)

    async def _read(self) -> None:
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            received_ns = time.monotonic_ns()
            about: dict[str, int] = {}
            try:
                if (data := message.get("bytes")) is not None:
                    self._offer(decode_frame(data), about, received_ns)
                else:
                    self._handle(parse_event(message["text"]), about, received_ns)
            except GiError as error:
                self._streams.send_error(as_problem(error), about)
        self._was_closed = message.get("code") in _CLEAN_CLOSE

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
            case "clock.sync":
                self._streams.sync_clock(read_event(ClockSync, event), received_ns)
            case unknown:
                raise ProtocolError("unknown event", got=unknown[:80], expected=" | ".join(_EVENTS))

    async def _write(self) -> None:
        while (message := await self._outbox.take()) is not None:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._write_answer(message)
        await self._websocket.close(self._outbox.close_code or 1000)

    async def _write_answer(self, message: ActionMessage) -> None:
        started = time.perf_counter()
        data = action_to_text(message) if self._is_json else encode_action(message)
        encoded = time.perf_counter()
        await self._websocket.send({"type": "websocket.send", "text" if self._is_json else "bytes": data})
        self._streams.count_sent(message.stream_id, encoded - started, time.perf_counter() - encoded)
