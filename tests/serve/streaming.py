"""A raw WebSocket to a server, without the client: what any engine would send and read."""

import json
from contextlib import suppress
from typing import Any

from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gi_serve.protocol import ActionMessage, Codec, FrameMessage, decode_action
from tests.serve.pictures import HEIGHT, WIDTH, paint
from tests.serve.serving import Running


def open_stream(running: Running, subprotocol: str = "gi.v1.bin") -> ClientConnection:
    return connect(running.stream_url, subprotocols=[Subprotocol(subprotocol)], compression=None, proxy=None)


def raw(seq: int, identity: int = 1, stream_id: int = 0) -> FrameMessage:
    return FrameMessage(seq, 0, Codec.RAW, paint(identity).tobytes(), WIDTH, HEIGHT, stream_id)


def ask(connection: ClientConnection, **event: Any) -> dict[str, Any]:
    """Send an event; the next event that comes back."""
    connection.send(json.dumps(event))
    return next_event(connection)


def next_event(connection: ClientConnection) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(connection.recv(timeout=5))
    return event


def next_action(connection: ClientConnection) -> ActionMessage:
    data = connection.recv(timeout=5)
    assert isinstance(data, bytes)
    return decode_action(data)


def resume(connection: ClientConnection, created: dict[str, Any]) -> dict[str, Any]:
    """Go on with the session that `created` told of, as somebody who saw none of its answers."""
    session_id, token = created["session"]["id"], created["resume"]["token"]
    return ask(connection, type="session.resume", session_id=session_id, token=token, answered_seq=-1)


def drain(connection: ClientConnection) -> None:
    """Read what has come."""
    with suppress(TimeoutError):
        while True:
            connection.recv(timeout=0)
