"""Laws of resume: a stream whose connection was lost goes on as if nothing had happened, and only its owner's."""

import random
import threading
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed

from gi_model.actions import NEUTRAL, InputState
from gi_serve.client import Client, ConnectionLostError, Session, SessionConfig
from gi_serve.outbox import CLOSE_RESUMED
from gi_serve.protocol import encode_frame
from gi_serve.service import ServiceConfig
from tests.serve.cable import Cable
from tests.serve.fake_steppers import EchoStepper, HistoryStepper
from tests.serve.pictures import paint, read_identity
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, next_action, next_event, open_stream, raw

NUM_TICKS = 40


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(HistoryStepper(num_slots=8)) as started:
        yield started


def play(
    session: Session, ticks: range, choice: random.Random | None = None, cable: Cable | None = None
) -> list[InputState]:
    """Play in lock-step, with corrections; `choice` says where the cable is cut."""
    states = []
    for tick in ticks:
        if choice is not None and cable is not None and choice.random() < 0.4:
            threading.Timer(choice.random() * 0.004, cable.cut).start()
        states.append(session.act(paint(tick)).state)
        if tick % 3 == 0:
            session.execute(InputState(keys=frozenset({"KeyQ"}), motion=(tick, 0)))
    return states


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_whose_connection_is_cut_again_and_again_plays_as_one_that_never_was(
    running: Running, seed: int
) -> None:
    with running.session(seed=seed) as whole:
        expected = [*play(whole, range(NUM_TICKS)), whole.act(paint(0)).state]
        whole.reset(seed=seed + 1)
        expected += play(whole, range(5))
    with Cable(running.port) as cable, Client(cable.url).session(seed=seed) as session:
        choice = random.Random(seed)
        states = [*play(session, range(NUM_TICKS), choice, cable), session.act(paint(0)).state]
        cable.cut()
        session.reset(seed=seed + 1)
        states += play(session, range(5), choice, cable)
        assert cable.num_connections > 5
        assert session.num_late_feedback == 0
    assert states == expected
    wait_until(lambda: not running.engine.sessions)


def test_every_frame_is_accounted_for_over_cuts_in_real_time(running: Running) -> None:
    with Cable(running.port) as cable, Client(cable.url).session(seed=1) as session:
        num_reported = 0
        for tick in range(150):
            if tick % 30 == 7:
                cable.cut()
            last = session.send(paint(tick))
            if (action := session.latest(0.004)) is not None:
                num_reported += 1 + action.num_dropped
        while action is None or action.seq < last:
            if (action := session.latest(1.0)) is not None:
                num_reported += 1 + action.num_dropped
        assert num_reported <= 150  # answers that were read together count once
        counters = running.engine.sessions[session.id]
        assert counters.num_frames == counters.num_answers + counters.num_dropped


def test_keys_are_up_while_the_connection_is_down(running: Running) -> None:
    config = SessionConfig(on_late="hold", patience_s=60.0)
    with Cable(running.port) as cable, Client(cable.url).session(config) as session:
        held = session.act(paint(3)).state
        assert session.state == held != NEUTRAL
        cable.unplug()
        assert session.latest(5.0) is None
        assert (session.state, session.due(), session.is_fresh, session.is_down) == (NEUTRAL, NEUTRAL, False, True)
        session.send(paint(4))  # does not block, and does not raise
        assert session.state == NEUTRAL
        cable.plug()
        answer = session.latest(5.0)
        while answer is None:
            answer = session.latest(5.0)
        assert answer.seq == 1  # the newest frame was sent again
        assert session.state == answer.state != NEUTRAL


def test_a_half_open_connection_gives_way_to_the_new_one(running: Running) -> None:
    with open_stream(running) as old, open_stream(running) as new:
        created = ask(old, type="session.update", resume=True)
        old.send(encode_frame(raw(4, identity=1)))
        assert next_action(old).seq == 4
        wanted = {"session_id": created["session"]["id"], "token": created["resume"]["token"], "stream_id": 9}
        resumed = ask(new, type="session.resume", **wanted)
        assert (resumed["type"], resumed["stream_id"], resumed["last_seq"]) == ("session.resumed", 9, 4)
        assert next_event(old) == {"type": "session.closed", "stream_id": 0, "reason": "resumed"}
        with pytest.raises(ConnectionClosed) as caught:
            old.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == CLOSE_RESUMED
        new.send(encode_frame(raw(5, stream_id=9)))
        assert next_action(new).seq == 5
        assert len(running.engine.sessions) == 1
    wait_until(lambda: not running.engine.sessions)


def test_a_frozen_connection_is_noticed_and_resumed() -> None:
    address = serving(HistoryStepper(), heartbeat_s=0.2)
    with address as running, Cable(running.port) as cable, Client(cable.url).session(seed=1) as session:
        with running.session(seed=1) as whole:
            expected = [whole.act(paint(tick)).state for tick in range(4)]
        assert [session.act(paint(tick)).state for tick in range(2)] == expected[:2]
        cable.freeze()
        wait_until(lambda: any(each.lost_ns is not None for each in running.engine.sessions.values()))
        session._connection.socket.shutdown(2)  # its own heartbeat would notice in seconds
        assert [session.act(paint(tick)).state for tick in (2, 3)] == expected[2:]


def test_what_the_server_answered_into_a_dead_connection_is_told_again() -> None:
    with serving(EchoStepper(seconds=0.1)) as running:
        with open_stream(running) as connection:
            created = ask(connection, type="session.update", resume=True)
            for seq in range(3):
                connection.send(encode_frame(raw(seq, identity=seq)))
            wait_until(lambda: running.engine.metrics.frames == 3)
            connection.socket.shutdown(2)
        (session,) = running.engine.sessions.values()
        wait_until(lambda: session.newest_answer is not None and session.newest_answer.seq == 2)
        with open_stream(running) as connection:
            wanted = {"session_id": session.id, "token": created["resume"]["token"]}
            assert ask(connection, type="session.resume", answered_seq=-1, **wanted)["last_seq"] == 2
            answer = next_action(connection)
            assert (answer.seq, answer.num_dropped, read_identity(answer.states[0])) == (2, 2, 2)


@pytest.mark.parametrize("wrong", ["token", "session_id", "empty"])
def test_nobody_else_resumes_a_session(running: Running, wrong: str) -> None:
    with running.session() as session, open_stream(running) as thief:
        session.act(paint(1))
        token = running.engine.sessions[session.id].resume_token
        wanted = {"session_id": session.id, "token": token}
        wanted |= {"token": token[:-1] + "~"} if wrong == "token" else {}
        wanted |= {"session_id": "nobody"} if wrong == "session_id" else {"token": ""} if wrong == "empty" else {}
        error = ask(thief, type="session.resume", **wanted)["error"]
        assert (error["type"], error["status"]) == ("urn:gi:problem:resume-refused", 404)
        assert token not in str(error)
        assert session.act(paint(2)).seq == 1


def test_a_session_that_did_not_ask_for_it_ends_with_its_connection(running: Running) -> None:
    with open_stream(running) as connection:
        created = ask(connection, type="session.update")
        assert created["resume"] is None
        token = running.engine.sessions[created["session"]["id"]].resume_token
        connection.socket.shutdown(2)
    wait_until(lambda: not running.engine.sessions)
    with open_stream(running) as connection:
        error = ask(connection, type="session.resume", session_id=created["session"]["id"], token=token)["error"]
        assert error["type"] == "urn:gi:problem:resume-refused"


def test_a_lost_session_is_not_idle_and_is_freed_in_time() -> None:
    config = ServiceConfig(idle_timeout_s=0.3, resume_timeout_s=2.5)
    with serving(EchoStepper(num_slots=1), config=config) as running, Cable(running.port) as cable:
        session = Client(cable.url).session()
        session.act(paint(1))
        cable.unplug()
        wait_until(lambda: any(each.lost_ns is not None for each in running.engine.sessions.values()))
        with open_stream(running) as connection:
            error = ask(connection, type="session.update")["error"]
            assert error["type"] == "urn:gi:problem:capacity-full"
            assert error["retry_after_s"] <= 3
        (kept,) = running.engine.sessions.values()
        assert kept.lost_ns is not None
        threading.Event().wait(1.2)
        assert not kept.is_closed  # idle for four times its timeout
        wait_until(lambda: kept.is_closed, seconds=4)
        cable.plug()
        with pytest.raises(ConnectionLostError, match="released"):
            session.act(paint(2))
        session.close()


def test_a_client_that_closes_while_its_connection_is_down_frees_its_slot(running: Running) -> None:
    with Cable(running.port) as cable:
        session = Client(cable.url).session()
        session.act(paint(1))
        cable.cut()
        session.close()
        session.close()
    wait_until(lambda: not running.engine.sessions)


def test_a_server_that_is_gone_for_good_ends_the_session() -> None:
    with serving(EchoStepper()) as running, Cable(running.port) as cable:
        session = Client(cable.url).session(SessionConfig(resume_s=0.4))
        session.act(paint(1))
        cable.unplug()
        with pytest.raises(ConnectionLostError, match="new session"):
            session.act(paint(2))
        with pytest.raises(ConnectionLostError):
            session.send(paint(3))
        assert session.state == NEUTRAL
        session.close()
