"""Whatever a client sends on its WebSocket, the server answers or hangs up by the rules, and its neighbour plays on.

GI_FUZZ_MESSAGES sets how many messages are sent (100000 before a release; takes minutes).
"""

import json
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from gi_serve.client import Session
from tests.serve.fake_steppers import HistoryStepper, digest
from tests.serve.malformed import MESSAGES, RAW
from tests.serve.pictures import paint
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, open_stream

NUM_MESSAGES: Final = int(os.environ.get("GI_FUZZ_MESSAGES", "10000"))
BY_THE_RULES: Final = {None, 1000, 1001, 1002, 1003, 1007, 1009, 4408, 4429}  # None: the client's own fault was worse


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(HistoryStepper(num_slots=80)) as started:
        yield started
        problems = started.service.server_metrics.problems
        assert all(status < 500 or status == 503 for status, _name in problems), problems


class Neighbour:
    """Plays along, and knows each answer in advance: it depends on all that the session ever saw."""

    def __init__(self, session: Session, seed: int) -> None:
        self.session, self.past, self.number = session, digest(b"", seed.to_bytes(8)), 0

    def act(self) -> None:
        frame = paint(self.number % 1000)
        self.number += 1
        self.past = digest(self.past, frame.tobytes())
        assert self.session.act(frame).state.motion == (self.past[0] % 33 - 16, self.past[1] % 33 - 16)


def read_all(connection: ClientConnection, seconds: float = 0.0) -> None:
    """Read what has come; no event may be a failure of the server."""
    with suppress(TimeoutError):
        while True:
            data = connection.recv(timeout=seconds)
            if isinstance(data, str) and (event := json.loads(data))["type"] == "error":
                assert 400 <= event["error"]["status"] < 500 or event["error"]["status"] == 503, event


def check_end(lost: ConnectionClosed) -> None:
    code = None if lost.rcvd is None else lost.rcvd.code
    assert code in BY_THE_RULES, lost


@pytest.mark.slow  # thousands of messages
@pytest.mark.parametrize("subprotocol", ["gi.v1.bin", "gi.v1.json"])
def test_malformed_messages_hurt_nobody(running: Running, subprotocol: str) -> None:
    chance = random.Random(subprotocol)
    with running.session(seed=5) as session:
        neighbour, sent = Neighbour(session, 5), 0
        while sent < NUM_MESSAGES // 2:
            try:
                with open_stream(running, subprotocol) as connection:
                    if chance.random() < 0.8:  # or frames before anything is open
                        ask(connection, type="session.update")
                    for _ in range(chance.randrange(200)):
                        connection.send(chance.choice(MESSAGES)(chance))
                        sent += 1
                        read_all(connection)
                    neighbour.act()
                    read_all(connection, 0.02)
            except ConnectionClosed as lost:
                check_end(lost)
    wait_until(lambda: not running.engine.sessions)


@pytest.mark.slow  # hundreds of connections
def test_frames_that_break_the_rules_of_websockets_end_only_their_connection(running: Running) -> None:
    chance = random.Random(0)
    with running.session(seed=6) as session:
        neighbour = Neighbour(session, 6)
        for _ in range(max(30, NUM_MESSAGES // 40)):
            with open_stream(running) as connection:
                ask(connection, type="session.update")
                connection.socket.sendall(chance.choice(RAW)(chance))
                try:
                    read_all(connection, 0.05)
                except ConnectionClosed as lost:
                    check_end(lost)
            neighbour.act()
    wait_until(lambda: not running.engine.sessions)
