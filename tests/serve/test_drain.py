"""SIGTERM to a real process: not ready first, a word to every stream, time to play on, then the end, with code 0."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gi_serve.protocol import encode_frame
from tests.serve.pictures import paint, read_identity
from tests.serve.serving import serving_elsewhere, wait_until
from tests.serve.streaming import ask, next_action, next_event, raw
from tests.serve.test_rest import RAW, check_problem


@contextmanager
def playing(url: str) -> Iterator[ClientConnection]:
    """A stream that has played a frame."""
    address = url.replace("http", "ws") + "/v1/realtime"
    with connect(address, subprotocols=[Subprotocol("gi.v1.bin")], compression=None, proxy=None) as connection:
        assert ask(connection, type="session.update")["type"] == "session.created"
        assert play(connection, 0) == 1
        yield connection


def play(connection: ClientConnection, seq: int) -> int:
    connection.send(encode_frame(raw(seq)))
    return read_identity(next_action(connection).states[0])


def ended(process: subprocess.Popen[str]) -> int:
    return process.wait(timeout=20)


def test_sessions_play_on_until_the_grace_is_over() -> None:
    with serving_elsewhere(drain_s=2.0) as (process, url), httpx.Client(base_url=url, trust_env=False) as http:
        posted = http.post("/v1/sessions").headers["Location"]
        with playing(url) as connection:
            process.send_signal(signal.SIGTERM)
            assert next_event(connection) == {"type": "session.going_away", "stream_id": 0, "grace_s": 2.0}
            check_problem(http.get("/v1/health/ready"), 503, "draining")
            assert http.get("/v1/health/live").status_code == 200
            refused = http.post("/v1/sessions")
            check_problem(refused, 503, "draining")
            assert int(refused.headers["Retry-After"]) >= 1
            assert play(connection, 1) == 1
            assert http.post(f"{posted}/frames", content=paint(1).tobytes(), headers=RAW).status_code == 200
            assert json.loads(connection.recv(timeout=10))["type"] == "session.closed"
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv(timeout=10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        assert ended(process) == 0


def test_nobody_is_waited_for_who_does_not_play() -> None:
    with serving_elsewhere(drain_s=600.0) as (process, url):
        with playing(url) as connection:
            process.send_signal(signal.SIGTERM)
            assert next_event(connection)["type"] == "session.going_away"
            connection.send('{"type": "session.close"}')
            assert next_event(connection)["reason"] == "client"
        assert ended(process) == 0


def test_nobody_is_waited_for_who_lost_the_connection() -> None:
    with serving_elsewhere(drain_s=600.0) as (process, url):
        address = url.replace("http", "ws") + "/v1/realtime"
        with connect(address, subprotocols=[Subprotocol("gi.v1.bin")], compression=None, proxy=None) as connection:
            assert ask(connection, type="session.update", resume=True)["resume"]["token"]
            connection.socket.shutdown(socket.SHUT_RDWR)  # no goodbye
        with httpx.Client(base_url=url, trust_env=False) as http:
            assert 'gi_serve_sessions{model="echo"} 1.0' in http.get("/metrics").text
            wait_until(lambda: "gi_serve_connections 0.0" in http.get("/metrics").text)
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(number: signal.Signals) -> None:
    with serving_elsewhere(drain_s=600.0) as (process, url), playing(url) as connection:
        process.send_signal(number)
        assert next_event(connection)["type"] == "session.going_away"
        process.send_signal(number)
        ended(process)
        if number == signal.SIGTERM:
            assert process.returncode == 0


def test_while_one_model_drains_the_process_answers() -> None:
    with serving_elsewhere(drain_s=600.0) as (process, url), httpx.Client(base_url=url, trust_env=False) as http:
        with playing(url) as connection:
            assert http.delete("/v1/models/echo").json()["state"] == "draining"
            assert next_event(connection)["type"] == "session.going_away"
            check_problem(http.get("/v1/health/ready"), 503, "draining")
            assert play(connection, 1) == 1
        wait_until(lambda: http.get("/v1/models").json() == [])
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert ended(process) == 0
        assert time.monotonic() - started < 600
