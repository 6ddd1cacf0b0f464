"""Bad input, failing models, servers that go: nobody else is hurt, and no key stays down."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gi_model.actions import NEUTRAL
from gi_model.errors import ServeError
from gi_serve.client import ConnectionLostError, LateActionError, SessionConfig
from gi_serve.protocol import Codec, FrameMessage, decode_action, encode_frame
from tests.serve.fake_steppers import EchoStepper, FailingStepper
from tests.serve.pictures import jpeg_of, paint, png_of, read_age, read_identity
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, drain, next_action, next_event, open_stream, raw


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(EchoStepper(num_slots=16)) as started:
        yield started


# ---------------------------------------------------------------------- bad input


BAD_MESSAGES: list[str | bytes] = [
    b"",
    b"\x01",
    b"\x01\x01\x01\x00" + b"\x00" * 23,
    encode_frame(raw(1))[:-1],
    encode_frame(FrameMessage(1, 0, Codec.JPEG, b"not a jpeg")),
    encode_frame(FrameMessage(2, 0, Codec.PNG, b"\x89PNG\r\n\x1a\n")),
    encode_frame(FrameMessage(3, 0, Codec.JPEG, jpeg_of(paint(1))[:-40][:30])),
    encode_frame(FrameMessage(4, 0, Codec.PNG, png_of(np.zeros((1, 1, 3), np.uint8)))),
    encode_frame(FrameMessage(5, 0, Codec.PNG, png_of(paint(1))[:60])),
    encode_frame(raw(6, stream_id=77)),
    "",
    "{",
    "[1]",
    '{"type": 7}',
    '{"type": "session.destroy"}',
    '{"type": "session.update", "seed": -1}',
    '{"type": "session.update", "seed": "many"}',
    '{"type": "session.update", "colour": 1}',
    '{"type": "session.update", "sampling": {"temperature": 0}}',
    '{"type": "session.update", "stream_id": 1, "model": "nobody"}',
    '{"type": "session.reset", "stream_id": 5}',
    '{"type": "session.close", "stream_id": null}',
    '{"type": "frame", "seq": 3, "codec": "raw", "data": "AAAA", "width": 1, "height": 1, "stream_id": 9}',
    '{"type": "frame", "seq": true, "codec": "raw", "data": ""}',
]


def test_a_bad_message_is_answered_and_kills_nothing(running: Running) -> None:
    with running.session() as neighbour, open_stream(running) as connection:
        ask(connection, type="session.update")
        for message in BAD_MESSAGES:
            connection.send(message)
            event = next_event(connection)
            assert event["type"] == "error", message
            assert 400 <= event["error"]["status"] < 500, message
        connection.send(encode_frame(raw(100, identity=42)))
        assert read_identity(next_action(connection).states[0]) == 42
        assert read_identity(neighbour.act(paint(43)).state) == 43


def test_thousands_of_random_messages_leave_the_server_as_it_was(running: Running) -> None:
    choice = random.Random(0)
    good = encode_frame(raw(0))

    def damage() -> str | bytes:
        if choice.random() < 0.3:
            text = choice.choice(BAD_MESSAGES[10:])
            at = choice.randrange(len(text) + 1)
            assert isinstance(text, str)
            return text[:at] + choice.choice('{}[]":,0-eE\\\x00\u2028') + text[at:]
        data = bytearray(good[: choice.randrange(len(good) + 1)])
        for _ in range(choice.randrange(6)):
            if data:
                data[choice.randrange(min(len(data), 40))] = choice.randrange(256)
        return bytes(data)

    with running.session() as neighbour, open_stream(running) as connection:
        ask(connection, type="session.update")
        for number in range(3000):
            connection.send(damage())
            if number % 100 == 0:
                drain(connection)
                assert read_identity(neighbour.act(paint(number % 1000)).state) == number % 1000
        drain(connection)
        connection.send(encode_frame(raw(2**63 - 1, identity=42)))
        while not isinstance(data := connection.recv(timeout=5), bytes) or decode_action(data).seq < 2**63 - 1:
            pass
        assert read_identity(decode_action(data).states[0]) == 42
    wait_until(lambda: not running.engine.sessions)


def test_a_failing_model_hurts_only_its_batch() -> None:
    with serving(FailingStepper()) as running, running.session() as session, running.session() as neighbour:
        assert read_age(session.act(paint(1)).state) == 0
        assert read_age(session.act(paint(1)).state) == 1
        with pytest.raises(ServeError, match="starts anew") as caught:
            session.act(paint(13))
        assert "secret" not in str(caught.value)
        assert read_age(session.act(paint(2)).state) == 0
        assert read_identity(neighbour.act(paint(3)).state) == 3


def test_an_unknown_subprotocol_is_refused(running: Running) -> None:
    with pytest.raises(InvalidStatus) as caught:
        open_stream(running, "gi.v9.xml")
    assert caught.value.response.headers["Content-Type"] == "application/problem+json"


def test_a_message_without_end_is_cut_off(running: Running) -> None:
    with open_stream(running) as connection:
        ask(connection, type="session.update")
        with suppress(ConnectionClosed):  # it may be cut off before all is sent
            connection.send(b"\x01" * (24 * 1024 * 1024))
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=5)
    wait_until(lambda: not running.engine.sessions)


# ---------------------------------------------------------------------- the end


def test_a_server_that_goes_says_goodbye() -> None:
    with serving(EchoStepper()) as running, open_stream(running) as connection, open_stream(running) as unstarted:
        ask(connection, type="session.update")
        running.stop()
        assert next_event(connection)["type"] == "session.going_away"
        assert next_event(connection)["reason"] == "going_away"
        for each in (connection, unstarted):
            with pytest.raises(ConnectionClosed) as caught:
                each.recv(timeout=5)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001


def test_a_lost_server_releases_every_key() -> None:
    with serving(EchoStepper()) as running:
        session = running.session(SessionConfig(on_late="hold", resume_s=0))
        assert session.act(paint(5)).state == session.state != NEUTRAL
        running.stop()
        with pytest.raises(ConnectionLostError, match="new session"):
            session.act(paint(6))
        assert session.state == NEUTRAL
        with pytest.raises(ServeError, match="gi serve"):
            running.session()


@pytest.mark.parametrize("on_late", ["hold", "neutral", "stop"])
def test_the_on_late_contract_holds_when_answers_stop(running: Running, on_late: Any) -> None:
    with running.session(SessionConfig(on_late=on_late, patience_s=0.05)) as session:
        held = session.act(paint(40)).state
        assert session.state == held
        time.sleep(0.1)
        if on_late == "stop":
            with pytest.raises(ServeError, match="too long"):
                _ = session.state
        else:
            assert session.state.keys == (held.keys if on_late == "hold" else frozenset())
            assert session.state.motion == (0, 0)
        assert session.act(paint(41)).state.keys == {"KeyW"}
        if on_late == "stop":  # for good: it is not for a late answer to start it again
            with pytest.raises(LateActionError):
                _ = session.state
        else:
            assert session.state.keys == {"KeyW"}


def test_one_thread_sends_while_another_reads(running: Running) -> None:
    with running.session() as session:
        sender = threading.Thread(target=lambda: [session.send(paint(n % 1000)) for n in range(400)])
        sender.start()
        last = -1
        while last < 399:
            action = session.latest(5.0)
            assert action is not None
            assert action.seq > last
            assert read_identity(action.state) == action.seq % 1000
            last = action.seq
        sender.join()
