"""Laws of a stream over a real socket: nobody gets another's action, no slot leaks, the newest frame wins."""

import asyncio
import json
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.typing import Subprotocol

from gi_model.actions import NEUTRAL
from gi_model.errors import ServeError
from gi_model.frames import resize
from gi_serve.client import ConnectionLostError
from gi_serve.protocol import ActionMessage, Codec, FrameMessage, decode_action, encode_frame
from gi_serve.protocol_json import action_from_event, frame_to_event
from tests.serve.fake_steppers import EchoStepper, KeepingStepper
from tests.serve.pictures import HEIGHT, WIDTH, jpeg_of, paint, png_of, read_age, read_identity
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, next_action, next_event, open_stream, raw


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(EchoStepper(num_slots=16)) as started:
        yield started


# ---------------------------------------------------------------------- identity


def test_each_of_many_players_gets_its_own_actions_while_others_come_and_die(running: Running) -> None:
    def play(player: int) -> int:
        """Some lives of one player, some of them ended without a goodbye; how many answers were right."""
        choice, right = random.Random(player), 0
        for life in range(6):
            session = running.session(seed=player)
            for tick in range(choice.randint(1, 25)):
                identity = (player * 100 + life * 10 + tick) % 1000
                action = session.act(paint(identity))
                assert read_identity(action.state) == identity
                assert read_age(action.state) == min(tick, 9)  # its slot knew nobody before it
                right += 1
            if choice.random() < 0.5:
                session._connection.socket.shutdown(socket.SHUT_RDWR)
            session.close()
        return right

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(play, range(8))) > 8 * 6
    wait_until(lambda: not running.engine.sessions)


def test_one_connection_carries_many_streams(running: Running) -> None:
    with open_stream(running) as connection:
        for stream_id in (3, 9, 2**32 - 1):
            assert ask(connection, type="session.update", stream_id=stream_id)["stream_id"] == stream_id
        for seq in range(20):
            for stream_id in (3, 9, 2**32 - 1):
                identity = (stream_id + seq) % 1000
                connection.send(encode_frame(raw(seq, identity, stream_id)))
                answer = next_action(connection)
                assert (answer.stream_id, answer.seq) == (stream_id, seq)
                assert read_identity(answer.states[0]) == identity
        closed = ask(connection, type="session.close", stream_id=9)
        assert (closed["type"], closed["stream_id"]) == ("session.closed", 9)
        connection.send(encode_frame(raw(99, 1, 9)))
        assert next_event(connection)["error"]["type"] == "urn:gi:problem:session-unknown"
        connection.send(encode_frame(raw(99, 1, 3)))
        assert next_action(connection).seq == 99


def test_no_slot_leaks_however_clients_end(running: Running) -> None:
    async def come_and_go(number: int) -> None:
        async with connect_async(running.stream_url, subprotocols=[Subprotocol("gi.v1.bin")], proxy=None) as connection:
            await connection.send('{"type": "session.update"}')
            if number % 3:
                await connection.recv()
                await connection.send(encode_frame(raw(0)))
            if number % 2:
                connection.transport.abort()

    async def come_and_go_often() -> None:
        for first in range(0, 120, 12):
            await asyncio.gather(*(come_and_go(number) for number in range(first, first + 12)))

    asyncio.run(come_and_go_often())
    wait_until(lambda: not running.engine.sessions)
    sessions = [running.session() for _ in range(16)]  # every slot is there again
    for number, session in enumerate(sessions):
        assert read_identity(session.act(paint(number)).state) == number
        session.close()
    wait_until(lambda: not running.engine.sessions)


# ---------------------------------------------------------------------- newest wins


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    with serving(EchoStepper(seconds=0.05)) as running, open_stream(running) as connection:
        ask(connection, type="session.update", notify=True, deadline_ms=1.0)
        for seq in range(10):
            connection.send(encode_frame(raw(seq, identity=seq)))
        answers: list[ActionMessage] = []
        dropped: list[int] = []
        late: list[int] = []
        while not answers or answers[-1].seq < 9:
            data = connection.recv(timeout=5)
            if isinstance(data, bytes):
                answers.append(decode_action(data))
            else:
                event = json.loads(data)
                {"frame.dropped": dropped, "deadline.missed": late}[event["type"]].append(event["seq"])
        answered = [answer.seq for answer in answers]
        assert answered == sorted(answered)
        assert sorted(answered + dropped) == list(range(10))
        assert sum(answer.num_dropped for answer in answers) == len(dropped) > 0
        assert all(read_identity(answer.states[0]) == answer.seq for answer in answers)
        assert all(answer.is_late and answer.age_us >= 50_000 for answer in answers)
        assert len(late) >= len(answers) - 1  # the last event may still be on its way


def test_frames_of_many_players_share_a_step() -> None:
    stepper = EchoStepper(num_slots=8, seconds=0.05)
    with serving(stepper) as running:
        sessions = [running.session() for _ in range(8)]
        for _ in range(6):
            for number, session in enumerate(sessions):
                session.send(paint(number))
            for number, session in enumerate(sessions):
                action = session.latest(5.0)
                assert action is not None
                assert read_identity(action.state) == number
        for session in sessions:
            session.close()
    assert max(stepper.batches) >= 4
    assert len(stepper.batches) <= 6 * 3


def test_a_slow_reader_gets_the_newest_answer_and_the_count_of_the_rest(running: Running) -> None:
    with open_stream(running) as connection:
        ask(connection, type="session.update")
        for seq in range(300):
            connection.send(encode_frame(raw(seq, identity=seq)))
        answers = [next_action(connection)]
        while answers[-1].seq < 299:
            answers.append(next_action(connection))
    assert sum(answer.num_dropped + 1 for answer in answers) == 300
    assert all(read_identity(answer.states[0]) == answer.seq for answer in answers)


# ---------------------------------------------------------------------- sessions


def test_a_reset_starts_anew_and_old_frames_stay_unanswered() -> None:
    stepper = EchoStepper(seconds=0.03)
    with serving(stepper) as running, running.session(seed=5) as session:
        for tick in range(4):
            assert read_age(session.act(paint(tick)).state) == tick
        for identity in range(500, 503):
            session.send(paint(identity))
        session.reset(seed=6)
        assert session.seed == 6
        assert session.state == NEUTRAL
        for tick in range(3):
            action = session.act(paint(tick))
            assert (read_identity(action.state), read_age(action.state)) == (tick, tick)
    assert [sampling.seed for sampling in stepper.opened.values()] == [6]


def test_idle_sessions_lose_their_slot() -> None:
    with serving(EchoStepper(num_slots=1), idle_timeout_s=0.2) as running:
        session = running.session()
        session.act(paint(1))
        wait_until(lambda: not running.engine.sessions)
        with pytest.raises(ConnectionLostError, match="idle"):
            session.act(paint(1))
        with running.session() as following:
            assert read_age(following.act(paint(2)).state) == 0


def test_a_client_that_went_silent_is_noticed() -> None:
    address = serving(EchoStepper(), heartbeat_s=0.2)
    with address as running, socket.create_connection(("127.0.0.1", running.port)) as silent:
        silent.sendall(
            b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert silent.recv(1000).startswith(b"HTTP/1.1 101")
        text = b'{"type":"session.update"}'
        silent.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
        wait_until(lambda: len(running.engine.sessions) == 1)
        wait_until(lambda: not running.engine.sessions, seconds=3)  # it never answers a ping


def test_a_full_server_says_when_to_come_back() -> None:
    with serving(EchoStepper(num_slots=1)) as running, running.session() as first:
        with pytest.raises(ServeError, match="Every slot"):
            running.session()
        with open_stream(running) as connection:
            error = ask(connection, type="session.update")["error"]
            assert (error["status"], error["type"]) == (503, "urn:gi:problem:capacity-full")
            assert 1 <= error["retry_after_s"] <= 60
            first.close()
            wait_until(lambda: not running.engine.sessions)
            assert ask(connection, type="session.update")["type"] == "session.created"


# ---------------------------------------------------------------------- codecs


@pytest.mark.parametrize("subprotocol", ["gi.v1.bin", "gi.v1.json"])
@pytest.mark.parametrize("codec", [Codec.RAW, Codec.JPEG, Codec.PNG])
def test_every_codec_in_both_subprotocols(running: Running, subprotocol: str, codec: Codec) -> None:
    big = np.kron(paint(321), np.ones((5, 5, 1), np.uint8))
    data = {Codec.RAW: big.tobytes(), Codec.PNG: png_of(big)}.get(codec) or jpeg_of(big)
    size = (big.shape[1], big.shape[0]) if codec == Codec.RAW else (0, 0)
    with open_stream(running, subprotocol) as connection:
        assert connection.subprotocol == subprotocol
        ask(connection, type="session.update")
        message = FrameMessage(4, 77, codec, data, *size)
        if subprotocol == "gi.v1.bin":
            connection.send(encode_frame(message))
            answer = next_action(connection)
        else:
            connection.send(json.dumps(frame_to_event(message)))
            event = next_event(connection)
            assert event["type"] == "action.chunk"
            answer = action_from_event(event)
        assert (answer.seq, answer.capture_ns) == (4, 77)
        assert read_identity(answer.states[0]) == 321


def test_what_training_feeds_the_model_serving_feeds_the_model() -> None:
    """Client resize, server resize of raw and of PNG, and the one resize: the same bytes reach the model."""
    noise = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    stepper = KeepingStepper()
    with serving(stepper) as running, running.session() as session, open_stream(running) as connection:
        session.act(noise)
        ask(connection, type="session.update")
        for message in (
            FrameMessage(0, 0, Codec.RAW, noise.tobytes(), 53, 37),
            FrameMessage(1, 0, Codec.PNG, png_of(noise)),
        ):
            connection.send(encode_frame(message))
            assert next_action(connection).seq == message.seq
    assert len(stepper.frames) == 3
    for frame in stepper.frames:
        np.testing.assert_array_equal(frame, resize(noise, HEIGHT, WIDTH))
