"""`DirectSocket`: uvicorn's WebSocket that hands messages to a listener as they are read, and writes without waiting.

ASGI passes every message through a queue, the wake-up of a task, and a pause of the socket, and every answer through
another task: as much CPU time as all that we do with a frame. So only the handshake and the end go through ASGI, where
the routes, the middleware, and the problems are; in between the application attaches a `Listener`. Pings, limits, and
the closing handshake stay uvicorn's. Rejected: a WebSocket of our own; wsproto (slower).
"""

from typing import Any, Final, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

EXTENSION: Final = "gi.direct"  # the key of the socket in `scope["extensions"]`
_FULL_READ: Final = 128 * 1024  # bytes at once: more may wait, so others go first
_INVALID_TEXT: Final = 1007


class Listener(Protocol):
    """Who hears of a connection."""

    def received(self, message: bytes | str, /) -> None:
        """A message came."""
        ...

    def writable(self) -> None:
        """The client reads again."""
        ...


class DirectSocket(WebSocketsSansIOProtocol):
    """One WebSocket. Belongs to the event loop's thread."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._listener: Listener | None = None

    # ------------------------------------------------------------------ the application

    def attach(self, listener: Listener) -> None:
        """Let `listener` have every message from now on, after those that came since the handshake.

        What is left for ASGI's `receive` is the end of the connection.
        """
        self._listener = listener
        for event in [self.queue.get_nowait() for _ in range(self.queue.qsize())]:
            if event["type"] == "websocket.receive":
                listener.received(event["text"] if event.get("bytes") is None else event["bytes"])  # type: ignore[arg-type]
            else:
                self.queue.put_nowait(event)
        self._read_on()

    def detach(self) -> None:
        """Drop what still comes."""
        self._listener = None

    @property
    def is_writable(self) -> bool:
        """Whether the client reads what it is sent."""
        return self.writable.is_set()

    def write(self, message: bytes | str) -> None:
        """Send a message now; nothing once the connection ends."""
        if self.conn.state is not State.OPEN or self.transport.is_closing():  # lost, and not everybody knows yet
            return
        if isinstance(message, str):
            self.conn.send_text(message.encode())
        else:
            self.conn.send_binary(message)
        self.transport.write(b"".join(self.conn.data_to_send()))

    # ------------------------------------------------------------------ uvicorn

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:  # else it was refused already, and there is no scope
            self.scope["extensions"][EXTENSION] = cast("dict[object, object]", self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if len(data) >= _FULL_READ and self._listener is not None and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()
            self.loop.call_soon(self._read_on)

    def send_receive_event_to_app(self) -> None:
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        message = data if self.curr_msg_data_type == "bytes" else _decode(data)
        if message is None:
            self._refuse_text()
        elif self._listener is None or self.close_sent:
            super().send_receive_event_to_app()
        else:
            self.frames = []
            self._listener.received(message)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._listener is not None:
            self._listener.writable()

    def _read_on(self) -> None:
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    def _refuse_text(self) -> None:
        """End a connection whose text is not UTF-8; uvicorn would log a traceback for whoever likes to send such."""
        self.frames = []
        if self.conn.state is State.OPEN:
            self.conn.send_close(_INVALID_TEXT)
            self.handle_parser_exception()
        elif not self.handshake_complete:
            self.transport.abort()


def _decode(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
