"""What a session's past is made of: what was really held enters it, and a fork has all of it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from gi_model.actions import InputState
from gi_model.config import preset
from gi_model.policy import Policy
from gi_model.policy_stepper import PolicyStepper
from gi_model.stepper import Sampling
from gi_serve.command_plan import CommandPlan
from gi_serve.engine import Engine
from gi_serve.metrics import ModelMetrics
from gi_serve.problems import Problem
from gi_serve.protocol import ActionMessage, Codec, FrameMessage, encode_frame
from gi_serve.sessions import Session, SessionOptions
from tests.serve.fake_steppers import EchoStepper, HistoryStepper
from tests.serve.pictures import paint, png_of
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, next_action, next_event, open_stream, raw

HELD = InputState(keys=frozenset({"KeyQ", "Space"}), motion=(5, -3))


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(HistoryStepper(num_slots=8)) as started:
        yield started


# ---------------------------------------------------------------------- what was really held


def test_feeding_back_what_was_answered_changes_nothing(running: Running) -> None:
    with running.session(seed=1) as plain, running.session(seed=1) as fed:
        for tick in range(12):
            answered = fed.act(paint(tick)).state
            assert answered == plain.act(paint(tick)).state
            fed.execute(answered)


def test_what_was_really_held_enters_the_history(running: Running) -> None:
    with running.session(seed=1) as plain, running.session(seed=1) as fed, running.session(seed=1) as same:
        for session in (plain, fed, same):
            session.act(paint(0))
        fed.execute(HELD)
        same.execute(InputState())
        same.execute(HELD)  # the last word counts, but both are history to a stepper that remembers all
        states = [session.act(paint(1)).state for session in (plain, fed, same)]
        assert len(set(states)) == 3


def test_feedback_that_comes_too_late_is_refused_and_changes_nothing(running: Running) -> None:
    with open_stream(running) as connection, running.session(seed=7) as plain:
        ask(connection, type="session.update", seed=7)
        for seq in (0, 1):
            connection.send(encode_frame(raw(seq, identity=seq)))
            answer = next_action(connection)
            assert plain.act(paint(seq)).state == answer.states[0]
        for seq in (0, 2):
            event = ask(connection, type="action.executed", seq=seq, action=HELD.to_dict())
            assert event["error"]["type"] == "urn:gi:problem:feedback-late"
            assert event["seq"] == seq
        connection.send(encode_frame(raw(2, identity=2)))
        assert plain.act(paint(2)).state == next_action(connection).states[0]
        ask(connection, type="session.reset", seed=7)
        event = ask(connection, type="action.executed", seq=2, action=HELD.to_dict())
        assert event["error"]["type"] == "urn:gi:problem:feedback-late"  # that life is over


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ('{"keys": ["NoSuchKey"]}', "message-invalid"),
        ('{"keys": 7}', "message-invalid"),
        ('{"colour": 1}', "message-invalid"),
        ('{"gamepad": []}', "message-invalid"),
        ('{"motion": [1e999, 0]}', "message-invalid"),
        ('{"motion": [1000000000000000000000000000000, 0]}', "message-invalid"),
        ('{"wheel": [0, 32768]}', "message-invalid"),
        ('"KeyW"', "request-invalid"),
        ("null", "request-invalid"),
    ],
)
def test_feedback_that_is_no_input_state_is_refused(running: Running, action: str, kind: str) -> None:
    with open_stream(running) as connection:
        ask(connection, type="session.update")
        connection.send(encode_frame(raw(0)))
        next_action(connection)
        connection.send(f'{{"type": "action.executed", "seq": 0, "action": {action}}}')
        assert next_event(connection)["error"]["type"] == f"urn:gi:problem:{kind}"
        connection.send(encode_frame(raw(1)))
        assert next_action(connection).seq == 1


def test_the_client_counts_feedback_that_came_too_late(running: Running) -> None:
    with running.session() as session:
        session.act(paint(0))
        session.act(paint(1))
        session.execute(HELD, seq=0)
        session.act(paint(2))
        assert session.num_late_feedback == 1


# ---------------------------------------------------------------------- forks


def test_a_fork_answers_as_the_original_would_have(running: Running) -> None:
    with open_stream(running) as connection, running.session(seed=3) as expected:
        ask(connection, type="session.update", seed=3)
        for seq in range(5):
            connection.send(encode_frame(raw(seq, identity=seq)))
            assert next_action(connection).states[0] == expected.act(paint(seq)).state
        created = ask(connection, type="session.fork", to_stream_id=1)
        assert (created["type"], created["stream_id"], created["session"]["seed"]) == ("session.created", 1, 3)
        for seq in range(5, 9):
            state = expected.act(paint(seq)).state
            for stream_id in (1, 0):
                connection.send(encode_frame(raw(seq, seq, stream_id)))
                answer = next_action(connection)
                assert (answer.stream_id, answer.states[0]) == (stream_id, state)
        connection.send(encode_frame(raw(9, 500, 1)))  # each goes its own way from there
        assert next_action(connection).stream_id == 1
        connection.send(encode_frame(raw(9, 9, 0)))
        assert next_action(connection).states[0] == expected.act(paint(9)).state


def test_a_fork_over_rest_goes_on_where_the_stream_is(running: Running) -> None:
    with running.session(seed=3) as session, httpx.Client(base_url=running.url, trust_env=False) as http:
        for tick in range(4):
            session.act(paint(tick))
        forked = http.post(f"/v1/sessions/{session.id}/fork")
        assert forked.status_code == 201
        headers = {"Content-Type": "image/png"}
        for tick in range(4, 7):
            answer = http.post(f"{forked.headers['Location']}/frames", content=png_of(paint(tick)), headers=headers)
            assert InputState.from_dict(answer.json()["actions"][0]) == session.act(paint(tick)).state
        assert http.delete(forked.headers["Location"]).status_code == 204


def test_a_fork_may_be_told_that_something_else_was_held(running: Running) -> None:
    with open_stream(running) as connection:
        ask(connection, type="session.update", seed=3)
        connection.send(encode_frame(raw(0)))
        next_action(connection)
        ask(connection, type="session.fork", to_stream_id=1)
        connection.send('{"type": "action.executed", "stream_id": 1, "seq": 0, "action": {"keys": ["KeyQ"]}}')
        answers = []
        for stream_id in (0, 1):
            connection.send(encode_frame(raw(1, 1, stream_id)))
            answers.append(next_action(connection).states[0])
        assert answers[0] != answers[1]


def test_a_fork_before_the_first_frame_is_a_new_session_with_the_same_seed(running: Running) -> None:
    with open_stream(running) as connection:
        ask(connection, type="session.update", seed=3)
        ask(connection, type="session.fork", to_stream_id=4)
        answers = []
        for stream_id in (0, 4):
            connection.send(encode_frame(raw(0, 1, stream_id)))
            answers.append(next_action(connection).states[0])
        assert answers[0] == answers[1]


def test_a_fork_needs_a_stream_that_is_open_an_id_that_is_free_and_a_slot(running: Running) -> None:
    with open_stream(running) as connection:
        ask(connection, type="session.update")
        assert ask(connection, type="session.fork", stream_id=5, to_stream_id=6)["error"]["status"] == 404
        assert ask(connection, type="session.fork", to_stream_id=0)["error"]["status"] == 422
        assert ask(connection, type="session.fork")["error"]["status"] == 422
    wait_until(lambda: not running.engine.sessions)
    with serving(EchoStepper(num_slots=1)) as small, open_stream(small) as connection:
        ask(connection, type="session.update")
        assert ask(connection, type="session.fork", to_stream_id=1)["error"]["status"] == 503


class UncopyableStepper(HistoryStepper):
    """Cannot copy."""

    def copy(self, source: int, target: int) -> None:
        """Fail."""
        raise RuntimeError("secret")


def test_a_fork_that_the_model_cannot_make_ends_and_the_original_plays_on() -> None:
    with serving(UncopyableStepper()) as running, open_stream(running) as connection:
        ask(connection, type="session.update")
        connection.send(encode_frame(raw(0)))
        next_action(connection)
        assert ask(connection, type="session.fork", to_stream_id=1)["type"] == "session.created"
        assert next_event(connection) == {"type": "session.closed", "stream_id": 1, "reason": "failed"}
        connection.send(encode_frame(raw(1)))
        assert next_action(connection).seq == 1


class BrokenOnceStepper(HistoryStepper):
    """Fails on its third batch."""

    def step(self, frames: Any, slots: Any) -> Any:
        """Fail, or answer."""
        steps = super().step(frames, slots)
        if len(self.batches) == 3:
            raise RuntimeError("half written")
        return steps


def test_after_a_failed_batch_neither_the_session_nor_its_fork_remembers_half_a_past() -> None:
    with serving(BrokenOnceStepper()) as running, open_stream(running) as connection:
        ask(connection, type="session.update", seed=2)
        for seq in range(2):
            connection.send(encode_frame(raw(seq)))
            next_action(connection)
        connection.send(encode_frame(raw(2)))
        assert next_event(connection)["error"]["type"] == "urn:gi:problem:step-failed"
        ask(connection, type="session.fork", to_stream_id=1)
        with running.session(seed=2) as anew:
            expected = anew.act(paint(1)).state
        for stream_id in (0, 1):
            connection.send(encode_frame(raw(3, 1, stream_id)))
            assert next_action(connection).states[0] == expected


# ---------------------------------------------------------------------- the real policy, through the engine


class Listener:
    """A sink that keeps the answers."""

    def __init__(self) -> None:
        self.answers: list[ActionMessage] = []
        self.heard = asyncio.Event()

    def answered(self, session: Session, message: ActionMessage) -> None:
        self.answers.append(message)
        self.heard.set()

    def dropped(self, session: Session, seq: int) -> None:
        raise AssertionError(f"frame {seq} was dropped")

    def failed(self, session: Session, seq: int, problem: Problem) -> None:
        raise problem

    def needs_keyframe(self, session: Session) -> None:
        raise AssertionError("there is no video")

    def planned(self, session: Session, plan: CommandPlan, answer: ActionMessage | None) -> None:
        raise AssertionError("there is no robot")

    def is_unsent(self, session: Session) -> bool:
        return False

    def closed(self, session: Session, reason: str) -> None:
        self.heard.set()


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.manual_seed(0)
    policy = Policy(preset("tiny"))
    with torch.no_grad():
        policy.decoder.head.weight.mul_(20)  # louder than at initialisation, so that differences show
    return policy


def test_batched_equals_alone_with_the_real_policy(policy: Policy) -> None:
    """Same tokens; probabilities within 1e-5, not to the bit: matrix products of other shapes add in another order."""
    num_players, num_ticks = 5, 10
    height, width = policy.config.height, policy.config.width
    frames = np.random.default_rng(0).integers(0, 256, (num_ticks, num_players, height, width, 3), np.uint8)

    async def play(players: list[int], batches: list[int]) -> dict[int, list[ActionMessage]]:
        metrics = ModelMetrics()
        engine = Engine(PolicyStepper(policy, num_slots=num_players), metrics)
        engine.start()
        listeners = {player: Listener() for player in players}
        sessions = {
            player: engine.open_session(SessionOptions(Sampling(seed=player, motion="sample"), 1.0), listeners[player])
            for player in players
        }
        for tick in range(num_ticks):
            for player, session in sessions.items():  # all in one turn of the loop: one batch
                message = FrameMessage(tick, 0, Codec.RAW, b"", width, height)
                engine.receive(session, message)
                engine.submit(session, frames[tick, player], message, 0)
            for listener in listeners.values():
                while len(listener.answers) <= tick:
                    listener.heard.clear()
                    await listener.heard.wait()
        batches.append(round(metrics.answers / sum(metrics.batch_size.counts)))
        await engine.stop()
        return {player: listener.answers for player, listener in listeners.items()}

    batches: list[int] = []
    together = asyncio.run(play(list(range(num_players)), batches))
    for player in range(num_players):
        (alone,) = asyncio.run(play([player], batches)).values()
        for one, other in zip(together[player], alone, strict=True):
            np.testing.assert_array_equal(one.tokens, other.tokens)
            np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-5, rtol=0)
    assert batches == [num_players] + [1] * num_players


def test_the_same_batches_are_the_same_to_the_bit(policy: Policy) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (6, 3, policy.config.height, policy.config.width, 3), np.uint8)

    def play() -> list[bytes]:
        stepper = PolicyStepper(policy, num_slots=3)
        for slot in range(3):
            stepper.open(slot, Sampling(seed=slot))
        return [stepper.step(frame, [2, 0, 1]).confidence.tobytes() for frame in frames]

    assert play() == play()
