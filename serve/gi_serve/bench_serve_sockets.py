"""The load generator's connections: thin ones, so that the generator is not what is measured; sans-I/O underneath.

Both give whole messages to a `Listener` as they arrive, and never wait.
"""

import asyncio
import base64
import json
from typing import Final, Protocol, cast

import h11
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

_PATH: Final = "/predict"


class Listener(Protocol):
    """Who hears of a connection."""

    def opened(self) -> None:
        """Messages may be sent."""
        ...

    def heard(self, message: bytes, /) -> None:
        """A binary message came."""
        ...

    def told(self, text: str, /) -> None:
        """A text message came."""
        ...

    def ended(self, close: Close | None, /) -> None:
        """The connection is gone. close: the server's close frame, if there was one."""
        ...


class WebSocket(asyncio.Protocol):
    """A client's WebSocket."""

    def __init__(self, url: str, listener: Listener, *, subprotocol: str | None = None) -> None:
        subprotocols = None if subprotocol is None else [Subprotocol(subprotocol)]
        self._socket = ClientProtocol(parse_uri(url), subprotocols=subprotocols, max_size=None)
        self._listener = listener
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Shake hands."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._socket.send_request(self._socket.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Hand on what is whole."""
        self._socket.receive_data(data)
        self._flush()
        for event in self._socket.events_received():
            if isinstance(event, Response):
                if self._socket.handshake_exc is not None:
                    raise InvalidHandshake(f"the server refused: {event.status_code}")
                self._listener.opened()
            elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                self._listener.heard(bytes(event.data))
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._listener.told(bytes(event.data).decode())

    def eof_received(self) -> bool:
        """The server has said all."""
        self._socket.receive_eof()
        self._flush()
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell."""
        self._listener.ended(self._socket.close_rcvd)

    @property
    def is_open(self) -> bool:
        """Whether messages may be sent."""
        return self._socket.state is State.OPEN

    def send(self, message: bytes) -> None:
        """Send a binary message."""
        self._socket.send_binary(message)
        self._flush()

    def tell(self, text: str) -> None:
        """Send a text message."""
        self._socket.send_text(text.encode())
        self._flush()

    def close(self) -> None:
        """Say goodbye."""
        if self.is_open:
            self._socket.send_close(1000)
            self._flush()

    def _flush(self) -> None:
        assert self.transport is not None
        for data in self._socket.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()


class Posts(asyncio.Protocol):
    """A connection on which every message is a POST of JSON, and the answer its body: one at a time."""

    def __init__(self, host: str, listener: Listener) -> None:
        self._http, self._host, self._listener = h11.Connection(h11.CLIENT), host, listener
        self._body = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing to say first."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._listener.opened()

    def data_received(self, data: bytes) -> None:
        """Hand on an answer that is whole."""
        self._http.receive_data(data)
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                body, self._body = self._body, b""
                self._http.start_next_cycle()
                self._listener.heard(base64.b64decode(json.loads(body)["data"]))
            elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell."""
        self._listener.ended(None)

    def send(self, message: bytes) -> None:
        """Post a message."""
        assert self.transport is not None
        body = json.dumps({"data": base64.b64encode(message).decode()}).encode()
        headers = {"Host": self._host, "Content-Type": "application/json", "Content-Length": str(len(body))}
        for event in (
            h11.Request(method="POST", target=_PATH, headers=list(headers.items())),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self._http.send(event) or b"")
