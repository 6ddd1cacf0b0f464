"""Laws of bodies with direct actuators: an answer holds their commands, inside the envelope, and never another's."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from gi_data.envs.protocol import Environment
from gi_model.actions import NEUTRAL, InputState
from gi_model.embodiment import Embodiment
from gi_model.errors import ConfigError, ServeError
from gi_model.frames import Frame
from gi_model.policy_stepper import PolicyStepper
from gi_model.shield import Verdict
from gi_model.stepper import Sampling, Steps
from gi_serve.client import SessionConfig
from gi_serve.command_plan import plan_from_dict
from gi_serve.filmed import FilmedEnvironment
from gi_serve.play import play_episode
from gi_serve.protocol import ActionMessage, encode_frame
from gi_serve.protocol_json import action_from_event, frame_to_event
from gi_serve.remote_agent import make_remote_agent
from gi_serve.replay import StepperReplayer, replay
from gi_serve.service import ServiceConfig
from gi_serve.session_record import EVENTS, SessionRecord
from tests.model.adapter_factory import make_adapter
from tests.model.factories import make_policy, random_frames
from tests.serve.fake_game import CountingGame
from tests.serve.fake_steppers import CommandingStepper, EchoStepper, HistoryStepper, commands_for
from tests.serve.pictures import paint, png_of, see_identity
from tests.serve.robot_bodies import PlanObserver, direct_rover, identity_of, rover
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, next_action, next_event, open_stream, raw, resume

Stand = TypeVar("Stand", bound=EchoStepper)  # in for a model
FULL, BEYOND = identity_of(10, 10), identity_of(16, -16)
DIRECT, MIXED = direct_rover(), direct_rover("drive")
BODIES: dict[str, Embodiment | None] = {"direct": DIRECT, "mixed": MIXED, "sticks": rover(), "player": None}


def with_adapters(stepper: Stand) -> Stand:
    for name, body in BODIES.items():
        stepper.add_adapter(make_adapter(make_policy(), name=name, embodiment=body, fps=stepper.fps))
    return stepper


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(with_adapters(CommandingStepper(num_slots=16))) as started:
        yield started


@pytest.fixture
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, trust_env=False) as client:
        yield client


def playing(adapter: str, **settings: Any) -> SessionConfig:
    return SessionConfig(seed=1, adapter=adapter, **settings)


def in_range(identity: int) -> list[float]:
    clipped: list[float] = commands_for(identity).clip(-1, 1).tolist()
    return clipped


# ---------------------------------------------------------------------- what is commanded


def test_plans_lead_to_what_the_model_commands_inside_the_envelope(running: Running) -> None:
    choice, observer = np.random.default_rng(0), PlanObserver(DIRECT)
    with running.session(playing("direct")) as session:
        for _ in range(60):
            identity = int(choice.integers(0, 1000))
            action = session.act(paint(identity))
            assert list(action.state.commands) == in_range(identity)
            last = observer.watch(action.plan)
            assert action.plan is not None
            is_late = action.plan.clamps[:, 1:].any(axis=1)
            np.testing.assert_allclose(last[~is_late], np.array(in_range(identity))[~is_late], atol=1e-6)
            np.testing.assert_array_equal(action.plan.clamps[:, 0], np.abs(commands_for(identity)) > 1)


def test_direct_actuators_beside_those_that_controls_drive(running: Running) -> None:
    with running.session(playing("mixed")) as session:
        for identity in (FULL, BEYOND, identity_of(1, -2)) * 4:
            action = session.act(paint(identity))
        assert list(action.state.commands) == in_range(identity_of(1, -2))[:1]
        assert action.plan is not None
        assert action.plan.commands[-1][0] == pytest.approx(-0.2)
        assert abs(action.state.motion[0]) <= 10


def test_both_subprotocols_and_posted_frames_say_the_same(running: Running, http: httpx.Client) -> None:
    answers: list[ActionMessage] = []
    for subprotocol in ("gi.v1.bin", "gi.v1.json"):
        with open_stream(running, subprotocol) as connection:
            ask(connection, type="session.update", adapter="direct", seed=1)
            is_json, message = subprotocol == "gi.v1.json", raw(0, identity=BEYOND)
            connection.send(json.dumps(frame_to_event(message)) if is_json else encode_frame(message))
            answers.append(action_from_event(next_event(connection)) if is_json else next_action(connection))
    opened = http.post("/v1/sessions", json={"adapter": "direct", "seed": 1}).json()
    headers = {"Content-Type": "image/png"}
    posted = http.post(f"/v1/sessions/{opened['id']}/frames", content=png_of(paint(BEYOND)), headers=headers).json()
    answers.append(action_from_event(posted))
    http.delete(f"/v1/sessions/{opened['id']}")
    assert answers[0].states == answers[1].states == answers[2].states
    assert list(answers[0].states[0].commands) == in_range(BEYOND)


def test_each_row_of_a_batch_has_its_own() -> None:
    """A direct body, another, a body with sticks, a game with an adapter, and one without: as if each were alone."""
    names = ("direct", "mixed", "sticks", "player", None)
    configs = [SessionConfig(seed=seed, adapter=name) for seed, name in enumerate(names)]
    identities = np.random.default_rng(1).integers(0, 1000, (12, len(names))).tolist()
    stepper = with_adapters(CommandingStepper(seconds=0.01))
    with serving(stepper) as running:
        sessions = [running.session(config) for config in configs]
        beside: list[list[InputState]] = [[] for _ in names]
        for tick in identities:
            for session, identity in zip(sessions, tick, strict=True):
                session.send(paint(identity))
            for session, states in zip(sessions, beside, strict=True):
                action = session.latest(5.0)
                assert action is not None
                states.append(action.state)
        for session in sessions:
            session.close()
        assert max(stepper.batches) > 1
        for column, config in enumerate(configs):
            with running.session(config) as session:
                assert beside[column] == [session.act(paint(tick[column])).state for tick in identities]
    assert [len(states[0].commands) for states in beside] == [2, 1, 0, 0, 0]


def test_a_real_head_answers_through_the_server_as_it_does_alone() -> None:
    policy, frames = make_policy(), random_frames(4).permute(0, 2, 3, 1).numpy()
    body = replace(DIRECT, fps=10.0)
    adapter = make_adapter(policy, name="direct", embodiment=body, fps=10.0)

    def make() -> PolicyStepper:
        stepper = PolicyStepper(policy, num_slots=2)
        stepper.add_adapter(adapter)
        return stepper

    alone = make()
    alone.open(0, Sampling(seed=1), "direct")
    expected = [alone.step(frame[None], [0]).commands_of(0) for frame in frames]
    config = ServiceConfig(admits_late=True)
    with serving(make(), config=config) as running, running.session(playing("direct")) as session:
        assert [session.act(frame).state.commands for frame in frames] == expected
    assert len(set(expected)) > 1


# ---------------------------------------------------------------------- history


@pytest.mark.parametrize("adapter", ["direct", "mixed"])
def test_only_controls_enter_the_history(adapter: str) -> None:
    """A body whose commands are cut, and whose motion is, goes on as a player who was told its controls."""
    stepper = with_adapters(CommandingStepper())
    with serving(stepper) as running:
        session, told = running.session(playing(adapter)), running.session(playing("player"))
        num_cut = 0
        for identity in np.random.default_rng(2).integers(0, 1000, 40).tolist():
            action, other = session.act(paint(identity)), told.act(paint(identity))
            num_cut += list(action.state.commands) != commands_for(identity)[: len(action.state.commands)].tolist()
            controls = replace(action.state, commands=())
            assert controls.keys == other.state.keys or controls.motion != other.state.motion
            assert controls == other.state or adapter == "mixed"
            told.execute(controls)
            if adapter == "mixed":
                assert controls.motion[0] == max(-10, min(10, other.state.motion[0]))
        session.close()
        told.close()
    assert 0 < num_cut < 40
    assert (stepper.num_corrections == 0) == (adapter == "direct")


def test_other_commands_are_recorded_and_no_correction(tmp_path: Path) -> None:
    stepper = with_adapters(CommandingStepper())
    with serving(stepper, config=ServiceConfig(record_dir=tmp_path)) as running:
        with running.session(playing("direct")) as session:
            for identity in (FULL, BEYOND, 0, 500):
                state = session.act(paint(identity)).state
            session.execute(state)  # an echo
            session.act(paint(1))
            session.execute(replace(session.state, commands=(0.25, -0.5)))
            session.act(paint(2))
        wait_until(lambda: not running.engine.sessions)
    assert stepper.num_corrections == 0
    (folder,) = tmp_path.iterdir()
    events = list(SessionRecord.open(folder).events())
    answered = [event["commands"] for event in events if event["event"] == "answer"]
    assert answered == [commands_for(identity).tolist() for identity in (FULL, BEYOND, 0, 500, 1, 2)]
    executed = {event["seq"]: event["commands"] for event in events if event["event"] == "executed"}
    assert executed[1] == in_range(BEYOND)
    assert executed[4] == [0.25, -0.5]
    assert 0 not in executed  # what was asked was done
    report = replay(SessionRecord.open(folder), StepperReplayer(with_adapters(CommandingStepper()), "direct"))
    assert (report.num_compared, report.difference) == (6, None)


def test_a_replay_names_the_first_command_that_differs(tmp_path: Path) -> None:
    with serving(with_adapters(CommandingStepper()), config=ServiceConfig(record_dir=tmp_path)) as running:
        with running.session(playing("direct")) as session:
            session.act(paint(FULL))
            session.act(paint(FULL))
        wait_until(lambda: not running.engine.sessions)
    (folder,) = tmp_path.iterdir()
    text = (folder / EVENTS).read_text()
    assert text.count('"commands":[1.0,1.0]') == 2
    first, _, second = text.rpartition('"commands":[1.0,1.0]')
    (folder / EVENTS).write_text(f'{first}"commands":[0.5,1.0]{second}')
    report = replay(SessionRecord.open(folder), StepperReplayer(with_adapters(CommandingStepper()), "direct"))
    assert report.difference is not None
    assert (report.difference.seq, report.num_compared) == (1, 1)
    assert (report.difference.expected["commands"], report.difference.got["commands"]) == ([0.5, 1.0], [1.0, 1.0])


def test_a_message_with_other_numbers_of_commands_is_refused_and_the_session_lives_on(running: Running) -> None:
    for adapter, wrong, said in (
        ("direct", [1.0], "direct has 2"),
        ("sticks", [1.0], "rover has 0"),
        (None, [1.0], "without a body has 0"),
        ("mixed", [1.0] * 33, "at most 32"),
        ("mixed", ["fast"], "wrong type"),
    ):
        with open_stream(running) as connection:
            ask(connection, type="session.update", adapter=adapter)
            connection.send(encode_frame(raw(0)))
            state = next_action(connection).states[0]
            refused = ask(connection, type="action.executed", seq=0, action={"commands": wrong})
            assert (refused["type"], refused["error"]["status"]) == ("error", 422)
            assert said in refused["error"]["detail"], refused
            connection.send(json.dumps({"type": "action.executed", "seq": 0, "action": state.to_dict()}))
            connection.send(encode_frame(raw(1)))
            assert next_action(connection).seq == 1


# ---------------------------------------------------------------------- stop, watchdog, shield, lost connections


def test_a_stop_holds_direct_actuators_at_neutral(running: Running) -> None:
    observer = PlanObserver(DIRECT)
    with open_stream(running) as connection:
        ask(connection, type="session.update", adapter="direct")
        for seq in range(4):
            connection.send(encode_frame(raw(seq, identity=FULL)))
            observer.watch(next_action(connection).plan)
        assert observer.command.all()
        connection.send(json.dumps({"type": "robot.stop"}))
        while observer.command.any() or observer.rate.any():
            observer.watch(plan_from_dict(next_event(connection)["plan"]))
        connection.send(encode_frame(raw(4, identity=FULL)))
        stopped = next_action(connection)
        assert stopped.states == (InputState(commands=(0.0, 0.0)),)
        assert not observer.watch(stopped.plan).any()
        assert ask(connection, type="robot.release")["type"] == "robot.released"
        connection.send(encode_frame(raw(5, identity=FULL)))
        assert next_action(connection).states[0].commands == (1.0, 1.0)


def test_silence_brings_direct_actuators_to_neutral_and_a_lost_answer_comes_again_so() -> None:
    body = replace(DIRECT, watchdog_ms=60.0)
    stepper = CommandingStepper()
    stepper.add_adapter(make_adapter(make_policy(), name="direct", embodiment=body, fps=stepper.fps))
    with serving(stepper) as running:
        with open_stream(running) as connection:
            created = ask(connection, type="session.update", adapter="direct", resume=True)
            connection.send(encode_frame(raw(0, identity=FULL)))
            assert next_action(connection).states[0].commands == (1.0, 1.0)
            connection.socket.close()
        session = running.engine.sessions[created["session"]["id"]]
        assert session.robot is not None
        wait_until(lambda: session.robot is not None and session.robot.envelope.is_neutral)
        with open_stream(running) as connection:
            resume(connection, created)
            again = next_action(connection)
            assert again.states == (InputState(commands=(0.0, 0.0)),)
            assert again.plan is not None
            assert again.plan.cause == "watchdog"
            connection.send(encode_frame(raw(1, identity=FULL)))
            while isinstance(data := connection.recv(timeout=5), str):
                pass  # plans on the way to neutral
        assert data


def test_a_resumed_session_has_its_commands_again(running: Running) -> None:
    with open_stream(running) as connection:
        created = ask(connection, type="session.update", adapter="direct", resume=True)
        connection.send(encode_frame(raw(0, identity=BEYOND)))
        next_action(connection)
        connection.socket.close()
    with open_stream(running) as connection:
        resume(connection, created)
        assert list(next_action(connection).states[0].commands) == in_range(BEYOND)


class PaintedShield:
    """Vetoes 1, halves 2, answers 3 with commands of another body; keeps the commands it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[float, ...], list[float]]] = []

    def __call__(
        self, frame: Frame, state: InputState, command: NDArray[np.float32], clearance_m: float | None = None
    ) -> Verdict:
        self.seen.append((state.commands, command.tolist()))
        halved, odd = DIRECT.inputs(command * np.float32(0.5)), InputState(commands=(1.0, 1.0, 1.0))
        return {1: "veto", 2: halved, 3: odd}.get(see_identity(frame))  # type: ignore[return-value]


def test_a_shield_sees_and_replaces_commands() -> None:
    shield = PaintedShield()
    stepper = with_adapters(CommandingStepper())
    with (
        serving(stepper, config=ServiceConfig(shield=shield)) as running,
        running.session(playing("direct")) as session,
    ):
        done = [session.act(paint(identity)) for identity in (FULL, 1, 2, 3, FULL)]
    asked = [commands_for(identity).tolist() for identity in (FULL, 1, 2, 3, FULL)]
    assert [[*commands] for commands, _ in shield.seen] == [command for _, command in shield.seen] == asked
    halved = (commands_for(2) / 2).tolist()
    assert [list(action.state.commands) for action in done] == [[1, 1], [0, 0], halved, [0, 0], [1, 1]]
    assert [action.plan and action.plan.cause for action in done] == ["policy", *["shield"] * 3, "policy"]


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("adapter", [None, "player"])
def test_a_direct_body_needs_an_adapter_that_was_made_for_it(
    running: Running, http: httpx.Client, adapter: str | None
) -> None:
    refused = http.post("/v1/sessions", json={"embodiment": MIXED.to_dict(), "adapter": adapter})
    assert refused.status_code == 422
    detail = refused.json()["detail"]
    assert "drive of direct" in detail
    assert "gi posttrain" in detail
    assert "turn" not in detail
    with open_stream(running) as connection:
        error = ask(connection, type="session.update", embodiment=DIRECT.to_dict(), adapter=adapter)
        assert "drive, turn of direct" in error["error"]["detail"]
        opened = ask(connection, type="session.update", embodiment=DIRECT.to_dict(), adapter="direct")
        assert opened["type"] == "session.created"  # naming the adapter's own body is fine
        assert opened["session"]["robot"]["embodiment"] == DIRECT.to_dict()
    wait_until(lambda: not running.engine.sessions)
    assert running.engine.robots.num_open == 0


class OddStepper(HistoryStepper):
    """Commands of another body, or none that is a number."""

    def __init__(self, commands: NDArray[np.float32]) -> None:
        super().__init__()
        self.commands = commands

    def step(self, frames: NDArray[np.uint8], slots: Any) -> Steps:
        """Odd commands."""
        return replace(super().step(frames, slots), commands=(self.commands,) * len(slots))


@pytest.mark.parametrize("commands", [[1.0], [1.0] * 3, [float("nan"), 0.0]])
def test_a_model_that_commands_another_body_is_an_error_of_the_server_and_moves_nothing(commands: list[float]) -> None:
    with serving(with_adapters(OddStepper(np.array(commands, np.float32)))) as running:
        with open_stream(running) as connection:
            ask(connection, type="session.update", adapter="direct")
            for seq in range(2):
                connection.send(encode_frame(raw(seq)))
                assert next_event(connection)["error"]["type"] == "urn:gi:problem:internal"
            (session,) = running.engine.sessions.values()
            assert session.robot is not None
            assert session.robot.envelope.is_neutral
        with running.session(seed=1) as player:  # a game has no use for commands
            assert player.act(paint(1)).state.commands == ()


# ---------------------------------------------------------------------- playing


class Track(CountingGame):
    """A body that keeps the commands it was given."""

    name, substeps = "track", 1

    def __init__(self, body: Embodiment, num_ticks: int = 12) -> None:
        super().__init__(num_ticks)
        self.embodiment, self.bindings = body, body.bindings


def test_lockstep_play_and_film_hand_commands_to_the_environment(running: Running, tmp_path: Path) -> None:
    track = Track(DIRECT)
    expected = [in_range(tick) for tick in range(12)]
    with running.session(playing("direct", lockstep=True)) as session:
        play_episode(track, session, seed=3)
    assert [list(state.commands) for state in track.held] == expected
    film = FilmedEnvironment(track, tmp_path, player="x")
    with running.session(playing("direct", lockstep=True)) as session:
        play_episode(film, session, seed=3)
    film.close()
    lines = (tmp_path / "track-3-0000.inputs.jsonl").read_text().splitlines()
    assert [json.loads(line)["commands"] for line in lines] == expected


def test_an_agent_of_the_harness_commands_too_and_one_that_cannot_is_refused(running: Running) -> None:
    track: Environment = Track(DIRECT)
    agent = make_remote_agent(f"{running.url}?adapter=direct", track)
    agent.reset(seed=5)
    assert list(agent.act(paint(FULL)).commands) == [1.0, 1.0]
    agent.close()
    for adapter in ("player", "mixed", "sticks"):
        with pytest.raises(ConfigError, match="nothing commands track"):
            make_remote_agent(f"{running.url}?adapter={adapter}", track)
    wait_until(lambda: not running.engine.sessions)
    make_remote_agent(f"{running.url}?adapter=sticks", Track(rover())).close()


def test_what_is_held_when_no_answer_comes(running: Running) -> None:
    for on_late, expected in (("hold", (1.0, 1.0)), ("neutral", NEUTRAL.commands)):
        with running.session(playing("direct", on_late=on_late, patience_s=0.05)) as session:
            session.act(paint(FULL))
            wait_until(lambda session=session: not session.is_fresh)  # type: ignore[misc]
            assert session.state.commands == expected
    with running.session(playing("direct")) as session:
        session.act(paint(FULL))
        session.execute(InputState(commands=(1.0,)))
        with pytest.raises(ServeError, match="1 commands, but direct has 2"):
            session.act(paint(FULL))
