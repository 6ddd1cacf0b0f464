"""Sockets that never finish, heads too large, bodies too long or too slow: bounded, and nobody else notices."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import httpx
import pytest

from gi_serve import guard
from gi_serve.connections import MAX_HEAD_BYTES, BoundedConnection
from gi_serve.guard import MAX_BODY_BYTES
from tests.serve.fake_steppers import EchoStepper
from tests.serve.pictures import paint
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, open_stream
from tests.serve.test_rest import check_problem

HEAD = b"GET /v1/health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(BoundedConnection, "head_seconds", 0.4)
    monkeypatch.setattr(guard, "SECONDS_FOR_A_BODY", 0.4)
    with serving(EchoStepper()) as started:
        yield started


def dial(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    data = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            data += part
    return data


def problem_in(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    problem: dict[str, Any] = json.loads(body)
    assert int(head.split()[1]) == problem["status"]
    return problem


def num_sockets(running: Running) -> int:
    return len(running.server.server_state.connections)


def test_silent_and_dribbling_sockets_are_closed_while_a_player_plays(running: Running) -> None:
    with running.session() as player:
        crowd = [dial(running) for _ in range(50)]
        for connection in crowd[:25]:
            connection.sendall(HEAD)  # and never the empty line
        wait_until(lambda: num_sockets(running) > 40)
        give_up = time.monotonic() + 20
        while num_sockets(running) > 1 and time.monotonic() < give_up:
            for connection in crowd[25:]:
                with suppress(OSError):
                    connection.sendall(b"G")  # a byte at a time
            player.act(paint(1))
        assert num_sockets(running) == 1
        for connection in crowd:
            assert read_all(connection) in (b"",) or connection in crowd[25:]
            connection.close()
        player.act(paint(2))


def test_an_idle_connection_is_closed_after_its_answer(running: Running) -> None:
    with closing(dial(running)) as connection:
        connection.sendall(HEAD + b"\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_two_requests_in_one_packet_are_both_answered(running: Running) -> None:
    with closing(dial(running)) as connection:
        connection.sendall((HEAD + b"\r\n") * 2)
        assert read_all(connection).count(b"HTTP/1.1 200") == 2


def test_a_stream_outlives_the_patience_for_heads(running: Running) -> None:
    with open_stream(running) as connection:
        ask(connection, type="session.update")
        time.sleep(0.8)
        assert ask(connection, type="session.update")["type"] == "session.updated"


def test_a_server_keeps_so_many_sockets(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedConnection, "max_connections", 5)
    crowd = [dial(running) for _ in range(20)]
    for connection in crowd:
        assert read_all(connection) == b""
        connection.close()
    wait_until(lambda: num_sockets(running) == 0)
    with httpx.Client(base_url=running.url, trust_env=False) as http:
        assert http.get("/v1/health/live").status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"".join(b"X%d: 1\r\n" % index for index in range(5000)) + b"\r\n",
        b"hello\r\n\r\n",
        b"GET /v1/health/live HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_request_is_a_problem(running: Running, head: bytes) -> None:
    with closing(dial(running)) as connection:
        connection.sendall(head)
        answer = read_all(connection)  # none where the socket is reset with bytes unread
        assert (not answer and len(head) > 10_000) or problem_in(answer)["status"] in (400, 431)


# ---------------------------------------------------------------------- bodies


def post(path: bytes, *headers: bytes) -> bytes:
    head = [b"POST " + path + b" HTTP/1.1", b"Host: x", b"Content-Type: application/json", *headers]
    return b"\r\n".join(head) + b"\r\n\r\n"


def test_a_slow_body_is_given_up(running: Running) -> None:
    with closing(dial(running)) as connection:
        connection.sendall(post(b"/v1/sessions", b"Content-Length: 20") + b"{")
        assert problem_in(read_all(connection))["type"] == "urn:gi:problem:request-timeout"
    assert not running.engine.sessions


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/tokens", "/v1/models", "/v1/actions"])
def test_a_long_body_is_refused_before_it_is_sent(running: Running, path: str) -> None:
    with closing(dial(running)) as connection:
        connection.sendall(post(path.encode(), b"Content-Length: 99999999999"))
        assert problem_in(read_all(connection))["type"] == "urn:gi:problem:body-too-large"


def test_a_long_body_of_unknown_length_is_counted(running: Running) -> None:
    parts = iter([b"[" + b"0," * 5000] * 20)
    with httpx.Client(base_url=running.url, trust_env=False) as http:
        answer = http.post("/v1/sessions", content=parts, headers={"Content-Type": "application/json"})
    problem = check_problem(answer, 413, "body-too-large")
    assert str(MAX_BODY_BYTES) in problem["detail"]
