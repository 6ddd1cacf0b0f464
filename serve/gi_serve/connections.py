"""`BoundedConnection`: uvicorn's HTTP/1.1 with an end to patience: sockets that never finish a request are closed.

uvicorn waits for ever for the first request of a connection and for the rest of a half-sent one, so that a few
thousand idle sockets (slowloris) take every file descriptor. Here a request's head must be complete within
`HEAD_SECONDS`, and no more than `MAX_CONNECTIONS` are kept. What is not HTTP is answered by a problem, too.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any, Final, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gi_serve.problems import MEDIA_TYPE

HEAD_SECONDS: Final = 10.0
MAX_HEAD_BYTES: Final = 32 * 1024
MAX_CONNECTIONS: Final = 4096


class BoundedConnection(H11Protocol):
    """One socket that speaks HTTP, until it upgrades or ends."""

    head_seconds: float = HEAD_SECONDS
    max_connections: int = MAX_CONNECTIONS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._await_head()

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:  # the head is here
            self._stop_waiting()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_waiting()
        super().handle_websocket_upgrade(event)
        behind, _is_closed = self.conn.trailing_data
        if behind:  # an eager client's first messages; uvicorn would lose them
            cast("asyncio.Protocol", self.transport.get_protocol()).data_received(behind)

    def on_response_complete(self) -> None:
        self._await_head()  # before: the next request may lie in the buffer already
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or a head above the limit, as a problem; uvicorn would answer in plain text."""
        body = {"type": "about:blank", "title": HTTPStatus.BAD_REQUEST.phrase, "status": 400, "detail": msg}
        data = json.dumps(body).encode()
        headers = [("content-type", MEDIA_TYPE), ("content-length", str(len(data))), ("connection", "close")]
        events = (h11.Response(status_code=400, headers=headers), h11.Data(data=data), h11.EndOfMessage())
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()

    def _await_head(self) -> None:
        self._stop_waiting()
        self._head_timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
