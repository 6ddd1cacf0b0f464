"""Between the handshake and the end messages go past ASGI: none is lost, none overtakes, none floods the log."""

import json
import logging
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Frame, Opcode

from gi_serve.direct_socket import DirectSocket
from gi_serve.protocol import decode_action, encode_frame
from tests.serve.fake_steppers import EchoStepper
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, open_stream, raw

HANDSHAKE = (
    b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: gi.v1.bin\r\n\r\n"
)
NOT_UTF8 = Frame(Opcode.TEXT, b"\xff\xfe{").serialize(mask=True)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(EchoStepper()) as started:
        yield started


def text(**event: object) -> bytes:
    return Frame(Opcode.TEXT, json.dumps(event).encode()).serialize(mask=True)


def receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    assert data, "the server closed"
    return data


def read_messages(connection: socket.socket, num: int) -> list[bytes]:
    """The payloads of the first `num` messages after the handshake's answer."""
    data, messages = b"", list[bytes]()
    while b"\r\n\r\n" not in data:
        data += receive(connection)
    data = data.partition(b"\r\n\r\n")[2]
    while len(messages) < num:
        size, at = (data[1], 2) if len(data) > 1 else (1 << 30, 0)
        if size == 126 and len(data) >= 4:
            size, at = struct.unpack_from("!H", data, 2)[0], 4
        if len(data) < at + size:
            data += receive(connection)
            continue
        messages.append(data[at : at + size])
        data = data[at + size :]
    return messages


def test_messages_that_come_with_the_handshake_are_heard_in_order(running: Running) -> None:
    frames = b"".join(Frame(Opcode.BINARY, encode_frame(raw(seq))).serialize(mask=True) for seq in (0, 1))
    with closing(socket.create_connection(("127.0.0.1", running.port), timeout=10)) as connection:
        connection.sendall(HANDSHAKE + text(type="session.update") + text(type="clock.sync", client_ns=7) + frames)
        created, synced, action = read_messages(connection, 3)
        assert json.loads(created)["type"] == "session.created"
        assert json.loads(synced)["client_ns"] == 7
        assert decode_action(action).seq in (0, 1)
    wait_until(lambda: not running.engine.sessions)


def test_a_message_may_come_in_any_pieces_and_many_in_one(running: Running) -> None:
    with open_stream(running) as connection:
        ask(connection, type="session.update")
        half = encode_frame(raw(0))
        connection.send([half[:10], half[10:11], half[11:]])
        assert decode_action(_bytes(connection.recv(timeout=5))).seq == 0
        burst = b"".join(Frame(Opcode.BINARY, encode_frame(raw(seq))).serialize(mask=True) for seq in range(1, 500))
        assert len(burst) > 2 * 128 * 1024  # more than is read before others have their turn
        connection.socket.sendall(burst)
        answered, dropped = 0, 0
        while answered < 499:
            answer = decode_action(_bytes(connection.recv(timeout=5)))
            answered, dropped = answer.seq, dropped + answer.num_dropped + 1
        assert (answered, dropped) == (499, 499)


def test_text_that_is_not_utf8_ends_its_connection_without_a_traceback(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        with open_stream(running) as connection:
            ask(connection, type="session.update")
            connection.socket.sendall(NOT_UTF8)
            with pytest.raises(ConnectionClosedError) as lost:
                connection.recv(timeout=5)
            assert lost.value.rcvd is not None
            assert lost.value.rcvd.code == 1007
        with closing(socket.create_connection(("127.0.0.1", running.port), timeout=10)) as early:
            early.sendall(HANDSHAKE + NOT_UTF8)  # before anybody could answer the handshake
            while early.recv(65536):
                pass
        wait_until(lambda: not running.engine.sessions)
    assert not caplog.records


def _bytes(message: str | bytes) -> bytes:
    assert isinstance(message, bytes)
    return message


def test_what_is_written_to_a_lost_connection_is_dropped(running: Running) -> None:
    """Others' answers are written in the same breath: an exception would cost them theirs."""
    outcome: Future[None] = Future()

    def write(lost: DirectSocket, turns: int) -> None:
        try:
            lost.write(b"an answer")
            lost.write("an event")
        except Exception as error:
            outcome.set_exception(error)
            return
        if turns:
            lost.loop.call_soon(write, lost, turns - 1)
        else:
            outcome.set_result(None)

    def lose(lost: DirectSocket) -> None:
        lost.transport.abort()
        write(lost, 20)  # now, and until long after the socket is closed

    with open_stream(running) as connection:
        ask(connection, type="session.update")
        (served,) = (each for each in running.server.server_state.connections if isinstance(each, DirectSocket))
        served.loop.call_soon_threadsafe(lose, served)
        outcome.result(5)
    wait_until(lambda: not running.engine.sessions)
