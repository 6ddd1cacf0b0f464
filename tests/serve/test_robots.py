"""Laws of sessions that drive a body: inside the envelope, stopped at once, and the history holds what was done."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection

from gi_model.actions import NEUTRAL, InputState
from gi_model.errors import ServeError
from gi_model.frames import Frame
from gi_model.shield import Verdict
from gi_serve.client import SessionConfig
from gi_serve.command_plan import CommandPlan, plan_from_dict
from gi_serve.protocol import ActionMessage, Codec, FrameMessage, encode_frame
from gi_serve.protocol_json import action_from_event, frame_to_event
from gi_serve.replay import StepperReplayer, replay
from gi_serve.schemas import RobotStop, StreamUpdate
from gi_serve.service import ServiceConfig
from gi_serve.session_record import SessionRecord
from gi_serve.streams import Streams
from tests.model.adapter_factory import make_adapter
from tests.model.factories import make_policy
from tests.serve.fake_steppers import EchoStepper, FailingStepper, HistoryStepper
from tests.serve.pictures import paint, png_of, see_identity
from tests.serve.robot_bodies import PlanObserver, held, identity_of, motion_of, rover
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, next_action, next_event, open_stream, raw, resume

FULL = identity_of(10, 10)  # both actuators to the end of their range
BEYOND = identity_of(16, -16)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(EchoStepper(num_slots=16)) as started:
        yield started


@pytest.fixture
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, trust_env=False) as client:
        yield client


def robot(**changes: Any) -> SessionConfig:
    return SessionConfig(seed=1, embodiment=rover(**changes))


# ---------------------------------------------------------------------- plans


def test_every_answer_carries_the_commands_of_its_tick_inside_the_envelope(running: Running) -> None:
    choice, observer = np.random.default_rng(0), PlanObserver(rover())
    with running.session(robot()) as session:
        assert session.embodiment == rover()
        for _ in range(60):
            identity = int(choice.integers(0, 1000))
            action = session.act(paint(identity))
            last = observer.watch(action.plan)
            assert session.take_plan() is action.plan
            assert session.take_plan() is None
            x, y = motion_of(identity)
            assert action.plan is not None
            is_clamped = action.plan.clamps.any(axis=1)
            np.testing.assert_array_equal(~is_clamped, np.isclose(last, [y / 10, x / 10], atol=1e-6))


def test_both_subprotocols_carry_the_same_plan(running: Running) -> None:
    plans: list[CommandPlan] = []
    for subprotocol in ("gi.v1.bin", "gi.v1.json"):
        with open_stream(running, subprotocol) as connection:
            ask(connection, type="session.update", embodiment=rover().to_dict())
            message = raw(0, identity=BEYOND)
            is_json = subprotocol == "gi.v1.json"
            connection.send(json.dumps(frame_to_event(message)) if is_json else encode_frame(message))
            answer = action_from_event(next_event(connection)) if is_json else next_action(connection)
            assert answer.plan is not None
            plans.append(answer.plan)
    np.testing.assert_array_equal(plans[0].commands, plans[1].commands)
    np.testing.assert_array_equal(plans[0].clamps, plans[1].clamps)
    assert plans[0].clamps[:, 0].all()


def test_a_player_without_a_body_gets_none_of_it(running: Running) -> None:
    with running.session(seed=1) as session:
        action = session.act(paint(5))
        assert (action.plan, session.embodiment, session.take_plan()) == (None, None, None)


def test_clamps_are_counted_in_the_answer_the_session_and_the_metrics(running: Running, http: httpx.Client) -> None:
    def counted() -> float:
        line = 'gi_serve_clamps_total{actuator="drive",kind="range",model="echo"}'
        found = [each.split()[-1] for each in http.get("/metrics").text.splitlines() if each.startswith(line)]
        return float(found[0]) if found else 0.0

    before = counted()
    with running.session(robot()) as session:
        for _ in range(3):
            plan = session.act(paint(BEYOND)).plan
            assert plan is not None
            assert plan.clamps[:, 0].all()
        view = http.get(f"/v1/sessions/{session.id}").json()["robot"]
        assert view["clamps"]["drive"]["range"] == view["clamps"]["turn"]["range"] == 3
        assert view["command"] == [-1.0, 1.0]
        assert view["shielded"] == {"allowed": 3}
        assert counted() == before + 3


def test_names_that_clients_bring_do_not_flood_the_metrics(running: Running) -> None:
    for number in range(40):
        actuators = tuple(replace(each, name=f"{each.name}{number}") for each in rover().actuators)
        with running.session(robot(actuators=actuators)) as session:
            session.act(paint(BEYOND))
    assert len({name for name, _ in running.engine.metrics.clamps}) == 65
    assert running.engine.metrics.clamps["other", "range"] > 0


def test_posted_frames_and_windows_have_plans_too(running: Running, http: httpx.Client) -> None:
    opened = http.post("/v1/sessions", json={"embodiment": rover().to_dict()}).json()
    observer, headers = PlanObserver(rover()), {"Content-Type": "image/png"}
    for _ in range(3):
        answer = http.post(f"/v1/sessions/{opened['id']}/frames", content=png_of(paint(FULL)), headers=headers).json()
        observer.watch(plan_from_dict(answer["plan"]))
    http.delete(f"/v1/sessions/{opened['id']}")
    np.testing.assert_allclose(observer.command, [1.0, 1.0])


# ---------------------------------------------------------------------- history


def test_what_was_executed_enters_the_history() -> None:
    """A robot that is overruled goes on exactly as a player who was told that action."""
    with serving(HistoryStepper()) as running:
        session, told = running.session(robot()), running.session(SessionConfig(seed=1))
        overruled = 0
        for tick in range(40):
            action, other = session.act(paint(tick)), told.act(paint(tick))
            x, y = other.state.motion
            expected = held(max(-10, min(10, x)), max(-10, min(10, y)))
            overruled += action.state != other.state
            assert action.state in (other.state, expected)
            assert action.state.motion == expected.motion
            told.execute(action.state)
        session.close()
        told.close()
    assert 0 < overruled < 40


def test_an_echo_of_what_was_executed_changes_nothing_and_a_person_overrules_it() -> None:
    with serving(HistoryStepper()) as running:
        sessions = [running.session(robot()) for _ in range(3)]
        for tick in range(20):
            actions = [session.act(paint(tick)) for session in sessions]
            if tick < 10:
                assert actions[0].state == actions[1].state == actions[2].state
            sessions[1].execute(actions[1].state)
            if tick == 9:
                sessions[2].execute(InputState(keys=frozenset({"KeyQ"})))
        assert actions[0].state == actions[1].state != actions[2].state
        for session in sessions:
            session.close()


def test_a_recording_replays_with_what_was_executed(tmp_path: Path) -> None:
    config = ServiceConfig(record_dir=tmp_path)
    with serving(HistoryStepper(), config=config) as running, running.session(robot()) as session:
        overruled = [max(map(abs, session.act(paint(tick)).state.motion)) == 10 for tick in range(20)]
        session.stop()
        session.act(paint(20))
    (folder,) = tmp_path.iterdir()
    report = replay(SessionRecord.open(folder), StepperReplayer(HistoryStepper()))
    assert any(overruled)
    assert report.num_compared == 21
    assert report.difference is None


# ---------------------------------------------------------------------- stop


def plans_until_neutral(connection: ClientConnection, observer: PlanObserver) -> int:
    """How many plans come before the body is at rest."""
    for number in range(1, 100):
        event = next_event(connection)
        assert event["type"] == "robot.plan"
        observer.watch(plan_from_dict(event["plan"]))
        if not observer.command.any() and not observer.rate.any():
            return number
    raise AssertionError("never at neutral")


def test_a_stop_wins_within_a_tick_holds_and_is_released(running: Running) -> None:
    slow = tuple(replace(each, max_rate=5.0) for each in rover().actuators)
    body = rover(actuators=slow)
    observer = PlanObserver(body)
    with open_stream(running) as connection:
        ask(connection, type="session.update", embodiment=body.to_dict())
        for seq in range(8):
            connection.send(encode_frame(raw(seq, identity=FULL)))
            observer.watch(next_action(connection).plan)
        assert observer.command.tolist() == [1.0, 1.0]
        connection.send(json.dumps({"type": "robot.stop"}))
        assert plans_until_neutral(connection, observer) >= 4  # 1 unit at 5 a second
        for seq, identity in zip(range(8, 12), (FULL, BEYOND, identity_of(0, 1), identity_of(0, 0)), strict=True):
            connection.send(encode_frame(raw(seq, identity=identity)))
            answer = next_action(connection)
            assert answer.plan is not None
            assert answer.plan.is_stopped
            assert not observer.watch(answer.plan).any()
            assert answer.states == (NEUTRAL,)
        assert ask(connection, type="robot.release")["type"] == "robot.released"
        connection.send(encode_frame(raw(12, identity=FULL)))
        assert observer.watch(next_action(connection).plan).all()


def test_a_stop_by_rest_reaches_the_stream_and_the_history() -> None:
    with serving(HistoryStepper()) as running, httpx.Client(base_url=running.url, trust_env=False) as http:
        session, told = running.session(robot()), running.session(SessionConfig(seed=1))
        for tick in range(6):
            action = session.act(paint(tick))
            told.act(paint(tick))
            told.execute(action.state)
        view = http.post(f"/v1/sessions/{session.id}/stop").json()
        assert view["robot"]["is_stopped"] is True
        assert session.latest(0.2) is None
        plan = session.take_plan()
        assert plan is not None
        assert plan.is_stopped
        told.execute(NEUTRAL)  # what was done of the newest tick, in the end
        for tick in range(6, 12):
            if tick == 9:
                assert http.post(f"/v1/sessions/{session.id}/release").json()["robot"]["is_stopped"] is False
            action, other = session.act(paint(tick)), told.act(paint(tick))
            assert action.state == NEUTRAL if tick < 9 else action.state.motion != (0, 0)
            told.execute(action.state)
            if tick >= 9:
                assert abs(other.state.motion[0]) >= abs(action.state.motion[0])
        assert http.post(f"/v1/sessions/{told.id}/stop").status_code == 409
        session.close()
        told.close()


def test_a_stop_outlives_reset_and_fork_and_a_lost_connection(running: Running, http: httpx.Client) -> None:
    with running.session(robot()) as session:
        session.act(paint(FULL))
        session.stop()
        session.reset(seed=2)
        assert not session.act(paint(FULL)).state.motion[0]
        fork = http.post(f"/v1/sessions/{session.id}/fork").json()
        assert fork["robot"]["is_stopped"] is True
        http.delete(f"/v1/sessions/{fork['id']}")
        session._connection.socket.close()
        wait_until(lambda: not session.is_down and _is_stopped_answer(session.act(paint(FULL)).plan))
        session.release()
        assert session.act(paint(FULL)).state.motion == (10, 10)


def _is_stopped_answer(plan: CommandPlan | None) -> bool:
    return plan is not None and plan.is_stopped


def test_answers_that_wait_for_a_slow_reader_are_replaced_by_the_stop() -> None:
    class Blocked:
        is_writable = False

        def __init__(self) -> None:
            self.sent: list[str | ActionMessage] = []

        def write(self, message: str | ActionMessage) -> None:
            self.sent.append(message)

        def end(self, code: int) -> None:
            raise AssertionError(code)

    writer = Blocked()
    with serving(EchoStepper()) as running:

        async def play() -> None:
            streams = Streams(running.service, writer, notify=False)
            streams.update(StreamUpdate(type="session.update", embodiment=rover().to_dict()))
            for seq in range(3):
                streams.offer(raw(seq, identity=FULL), time.monotonic_ns())
                while running.engine.metrics.answers <= seq:
                    await asyncio.sleep(0.001)
            streams.stop_robot(RobotStop(type="robot.stop"))
            writer.is_writable = True
            streams.outbox.flush()
            streams.leave(is_lost=False)

        asyncio.run_coroutine_threadsafe(play(), running.engine._loop).result(10)
    answers = [message for message in writer.sent if isinstance(message, ActionMessage)]
    assert [answer.seq for answer in answers] == [2]
    assert answers[0].num_dropped == 2
    assert answers[0].states == (NEUTRAL,)
    assert answers[0].plan is not None
    assert answers[0].plan.is_stopped
    events = [json.loads(message)["type"] for message in writer.sent if isinstance(message, str)]
    assert events == ["session.created", "session.closed"]


# ---------------------------------------------------------------------- watchdog


def test_silence_brings_it_to_neutral_once(running: Running) -> None:
    body = rover(watchdog_ms=80.0)
    observer = PlanObserver(body)
    with open_stream(running) as connection:
        ask(connection, type="session.update", embodiment=body.to_dict())
        for seq in range(4):
            connection.send(encode_frame(raw(seq, identity=FULL)))
            observer.watch(next_action(connection).plan)
        plans_until_neutral(connection, observer)
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.3)  # at rest there is nothing more to say
        connection.send(encode_frame(raw(4, identity=FULL)))
        assert observer.watch(next_action(connection).plan).all()  # and a frame ends it
        robots = [session.robot for session in running.engine.sessions.values()]
        assert [each.num_watchdogs for each in robots if each is not None] == [1]


def undecodable(seq: int) -> FrameMessage:
    return FrameMessage(seq, 0, Codec.PNG, b"\x89PNG, and no more")


def failing(seq: int) -> FrameMessage:
    return raw(seq, identity=13)


@pytest.mark.parametrize("useless", [undecodable, failing])
def test_frames_without_an_action_are_silence(useless: Callable[[int], FrameMessage]) -> None:
    body = rover(watchdog_ms=150.0)
    observer = PlanObserver(body)
    with serving(FailingStepper()) as running, open_stream(running) as connection:
        ask(connection, type="session.update", embodiment=body.to_dict())
        (session,) = running.engine.sessions.values()
        for seq in range(20):  # before the first action it is at rest, and there is nothing to end
            connection.send(encode_frame(useless(seq)))
            assert next_event(connection)["type"] == "error"
            time.sleep(0.01)  # the camera's rate
        for seq in range(20, 24):
            connection.send(encode_frame(raw(seq, identity=FULL)))
            observer.watch(next_action(connection).plan)
        for seq in range(24, 500):
            connection.send(encode_frame(useless(seq)))
            while (event := next_event(connection))["type"] == "robot.plan":
                observer.watch(plan_from_dict(event["plan"]))
            assert event["type"] == "error"
            if not observer.command.any() and not observer.rate.any():
                break
            time.sleep(0.01)
        assert not observer.command.any()
        assert session.robot is not None
        assert session.robot.num_watchdogs == 1


def test_a_body_that_waits_for_its_answers_may_be_silent(running: Running) -> None:
    with open_stream(running) as connection:
        ask(connection, type="session.update", embodiment=rover(watchdog_ms=60.0).to_dict(), lockstep=True)
        connection.send(encode_frame(raw(0, identity=FULL)))
        next_action(connection)
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.3)


def test_the_watchdog_bites_where_nobody_listens_and_the_lost_answer_is_not_played_again(running: Running) -> None:
    body = rover(watchdog_ms=60.0)
    with open_stream(running) as connection:
        created = ask(connection, type="session.update", embodiment=body.to_dict(), resume=True)
        connection.send(encode_frame(raw(0, identity=FULL)))
        next_action(connection)
        connection.socket.close()
    session = running.engine.sessions[created["session"]["id"]]
    assert session.robot is not None
    wait_until(lambda: session.robot is not None and session.robot.envelope.is_neutral)
    with open_stream(running) as connection:
        assert resume(connection, created)["session"]["robot"]["num_watchdogs"] == 1
        again = next_action(connection)
        assert again.states == (NEUTRAL,)
        assert again.plan is not None
        assert again.plan.cause == "watchdog"
        assert not again.plan.commands[-1].any()


# ---------------------------------------------------------------------- shield


class PaintedShield:
    """Does what the frame says: vetoes 1, replaces 2, fails at 3, and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, InputState, list[float], float | None]] = []

    def __call__(
        self, frame: Frame, state: InputState, command: NDArray[np.float32], clearance_m: float | None = None
    ) -> Verdict:
        identity = see_identity(frame)
        self.seen.append((identity, state, command.tolist(), clearance_m))
        if identity == 3:
            raise RuntimeError("no depth")
        return {1: "veto", 2: held(4, 0)}.get(identity)  # type: ignore[return-value]


def test_a_shield_vetoes_and_replaces_and_its_word_enters_the_history() -> None:
    shield = PaintedShield()
    config = ServiceConfig(shield=shield)
    with serving(HistoryStepper(), config=config) as running:
        session, told = running.session(robot()), running.session(SessionConfig(seed=1))
        for identity, cause in (
            (0, "policy"),
            (1, "shield"),
            (0, "policy"),
            (2, "shield"),
            (3, "shield"),
            (0, "policy"),
        ):
            action, other = session.act(paint(identity)), told.act(paint(identity))
            assert action.plan is not None
            assert action.plan.cause == cause
            if cause == "shield":
                assert action.state == {1: NEUTRAL, 2: held(4, 0), 3: NEUTRAL}[identity]
            else:
                assert action.state.motion == tuple(max(-10, min(10, moved)) for moved in other.state.motion)
            told.execute(action.state)
        session.close()
        told.close()
        assert dict(running.engine.metrics.shielded) == {"allowed": 3, "vetoed": 1, "replaced": 1, "failed": 1}
    assert [identity for identity, *_ in shield.seen] == [0, 1, 0, 2, 3, 0]  # players without a body are not judged
    assert all(clearance is None for *_, clearance in shield.seen)


# ---------------------------------------------------------------------- bad input


def broken(**changes: Any) -> dict[str, Any]:
    return rover().to_dict() | changes


def stretched(**limits: float) -> dict[str, Any]:
    first, *others = rover().to_dict()["actuators"]
    return broken(actuators=[first | limits, *others])


@pytest.mark.parametrize(
    ("embodiment", "said"),
    [
        (broken(fps="fast"), "fps"),
        (broken(actuators=[]), "actuators"),
        (broken(wings=2), "wings"),
        (broken(fps=10**400), "fps"),
        (stretched(neutral=1e39, maximum=2e39), "neutral"),
        ({}, "missing"),
        (rover(fps=10.0, watchdog_ms=300.0).to_dict(), "the model 20"),
    ],
)
def test_a_body_that_cannot_be_driven_is_refused(
    running: Running, http: httpx.Client, embodiment: dict[str, Any], said: str
) -> None:
    num_sessions = len(running.engine.sessions)
    refused = http.post("/v1/sessions", json={"embodiment": embodiment})
    assert refused.status_code == 422
    assert len(running.engine.sessions) == num_sessions
    assert said in refused.json()["detail"]
    assert "internal" not in refused.json()["type"]
    with open_stream(running) as connection:
        error = ask(connection, type="session.update", embodiment=embodiment)
        assert error["error"]["status"] == 422
        assert ask(connection, type="session.update")["type"] == "session.created"  # the connection lives on


def test_too_many_numbers_a_tick_are_refused(http: httpx.Client) -> None:
    controls = [f"{stick}.{axis}" for stick in ("left_stick", "right_stick", "triggers") for axis in "xy"]
    controls += ["GamepadSouth", "GamepadEast", "GamepadWest"]
    one = rover().actuators[0]
    source = one.sources[0]
    many = tuple(replace(one, name=each, sources=(replace(source, control=each),)) for each in controls)
    status = {
        num: http.post(
            "/v1/sessions", json={"embodiment": rover(command_hz=10_000.0, actuators=many[:num]).to_dict()}
        ).status_code
        for num in (8, 9)
    }
    assert status == {8: 201, 9: 422}  # of 500 commands a tick each


def test_what_is_no_robot_cannot_be_stopped(running: Running, http: httpx.Client) -> None:
    opened = http.post("/v1/sessions").json()
    for verb in ("stop", "release"):
        refused = http.post(f"/v1/sessions/{opened['id']}/{verb}")
        assert refused.status_code == 409
        assert refused.json()["type"] == "urn:gi:problem:not-a-robot"
    assert http.post("/v1/sessions/nobody/stop").status_code == 404
    http.delete(f"/v1/sessions/{opened['id']}")
    with open_stream(running) as connection:
        assert ask(connection, type="robot.stop")["error"]["type"] == "urn:gi:problem:session-unknown"
        ask(connection, type="session.update")
        assert ask(connection, type="robot.stop")["error"]["type"] == "urn:gi:problem:not-a-robot"
    with running.session() as session:
        session.stop()
        with pytest.raises(ServeError, match="drives no robot"):
            session.act(paint(1))


# ---------------------------------------------------------------------- adapters


@pytest.fixture(scope="module")
def adapted() -> Iterator[Running]:
    stepper = EchoStepper()
    for name, body in (("rover", rover()), ("player", None)):
        made = make_adapter(make_policy())
        config = replace(made.config, name=name, embodiment=body, fps=stepper.fps)
        stepper.add_adapter(replace(made, config=config))
    with serving(stepper) as started:
        yield started


def test_an_adapter_brings_its_body(adapted: Running) -> None:
    with adapted.session(SessionConfig(adapter="rover")) as session:
        assert session.embodiment == rover()
        assert PlanObserver(rover()).watch(session.act(paint(FULL)).plan).all()
    with adapted.session(SessionConfig(adapter="player")) as session:
        assert session.act(paint(FULL)).plan is None
    with adapted.session(SessionConfig(adapter="player", embodiment=rover())) as session:
        assert session.act(paint(FULL)).plan is not None


def test_another_body_than_the_adapters_is_refused(adapted: Running) -> None:
    with adapted.session(SessionConfig(adapter="rover", embodiment=rover())) as session:  # the same one is fine
        session.act(paint(FULL))
    faster = tuple(replace(each, maximum=2.0) for each in rover().actuators)
    with httpx.Client(base_url=adapted.url, trust_env=False) as http:
        body = {"adapter": "rover", "embodiment": rover(actuators=faster).to_dict()}
        refused = http.post("/v1/sessions", json=body)
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:gi:problem:embodiment-mismatch"
    assert "made for rover" in refused.json()["detail"]
    wait_until(lambda: not adapted.engine.sessions)
    assert adapted.engine.robots.num_open == 0
