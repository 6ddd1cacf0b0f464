"""The robot's side: whatever the network does, what leaves stays inside the envelope, and ends at neutral."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gi_model.embodiment import Embodiment
from gi_model.envelope import Envelope
from gi_model.errors import ConfigError
from gi_model.frames import Frame
from gi_serve.client import Client, ConnectionLostError, SessionConfig
from gi_serve.command_plan import CommandPlan
from gi_serve.robot_driver import RobotDriver, drive
from tests.model.limited_body import Observer
from tests.serve.fake_steppers import EchoStepper
from tests.serve.pictures import paint
from tests.serve.robot_bodies import TICK, identity_of, rover
from tests.serve.serving import serving, serving_elsewhere, wait_until

FULL = identity_of(10, 10)


class Wheels:
    """Takes commands; fails on some if told to."""

    def __init__(self, body: Embodiment, fails_after: int | None = None) -> None:
        self.body, self.fails_after = body, fails_after
        self.commands: list[NDArray[np.float32]] = []

    def set(self, command: NDArray[np.float32]) -> None:
        if self.fails_after is not None and len(self.commands) >= self.fails_after:
            self.fails_after = None
            raise OSError("the bus is busy")
        self.commands.append(command)

    def check(self) -> None:
        """Within the range, and no step beyond what the longest step may do, whatever the clock of this machine did."""
        moved = np.abs(np.diff(np.stack([self.body.neutral, *self.commands]), axis=0))
        assert np.all(moved <= self.body.max_rate / self.body.fps + 1e-5)
        assert np.all((self.commands >= self.body.minimum) & (self.commands <= self.body.maximum))


class Clock:
    """Seconds that tests let pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plan(*rows: Any, hz: float = 200.0) -> CommandPlan:
    commands = np.array(rows, np.float32)
    return CommandPlan(commands, hz, np.zeros((commands.shape[1], 4), bool))


steps = st.tuples(st.just("step"), st.floats(1e-6, 0.3) | st.sampled_from([0.0, 0.005]))
plays = st.tuples(st.just("play"), st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=TICK))
others = st.tuples(st.sampled_from(["lose", "stop", "release"]), st.none())


@settings(max_examples=60)
@given(script=st.lists(st.one_of(steps, steps, steps, plays, others), max_size=60))
def test_what_leaves_stays_inside_whatever_comes(script: Any) -> None:
    body, clock = rover(watchdog_ms=100.0), Clock()
    driver, observer = RobotDriver(body, lambda _: None, clock=clock), Observer(body)
    for name, argument in script:
        if name == "step":
            clock.now += argument
            observer.see(driver.step(argument), argument)
        elif name == "play":
            driver.play(plan(*argument))
        else:
            getattr(driver, name)()
    driver.lose()
    for _ in range(200):
        observer.see(driver.step(0.01), 0.01)
    assert driver.is_neutral


@pytest.mark.parametrize("max_jerk", [None, 100.0, 30.0])
def test_on_time_it_sends_what_the_server_planned(max_jerk: float | None) -> None:
    """Also where a ramp takes many plans: it does not brake between them."""
    actuators = tuple(replace(each, max_rate=4.0, max_jerk=max_jerk) for each in rover().actuators)
    body, clock = rover(actuators=actuators), Clock()
    server, driver = Envelope(body), RobotDriver(body, lambda _: None, clock=clock)
    for target in [[1.0, 1.0]] * 12 + [[-1.0, 0.2]] * 14 + [[0.3, 0.21]] * 8:
        commands = server.plan(np.array(target, np.float32), TICK, 1 / body.command_hz).commands
        driver.play(plan(*commands))
        for command in commands:
            np.testing.assert_allclose(driver.step(1 / body.command_hz), command, atol=1e-3)
            clock.now += 1 / body.command_hz


def test_without_plans_it_goes_to_neutral_and_counts_each_silence_once() -> None:
    body, clock = rover(watchdog_ms=100.0), Clock()
    driver = RobotDriver(body, lambda _: None, clock=clock)
    for number in (1, 2):
        driver.play(plan([1.0, 1.0]))
        for _ in range(19):
            clock.now += 0.005
            driver.step(0.005)
        assert driver.step(0.0).tolist() == [1.0, 1.0]
        assert driver.num_watchdogs == number - 1
        for _ in range(40):
            clock.now += 0.005
            driver.step(0.005)
        assert driver.is_neutral
        assert driver.num_watchdogs == number


def test_a_stop_needs_no_server_and_holds() -> None:
    driver = RobotDriver(rover(), lambda _: None, clock=Clock())
    driver.stop()
    driver.play(plan([1.0, 1.0]))
    assert not driver.step(0.01).any()
    driver.release()
    assert driver.step(0.01).all()


def test_a_plan_for_another_body_is_refused() -> None:
    with pytest.raises(ConfigError, match="another body than rover"):
        RobotDriver(rover(), lambda _: None).play(plan([1.0, 1.0, 1.0]))


def test_a_command_that_cannot_be_sent_does_not_end_it() -> None:
    wheels = Wheels(rover(), fails_after=3)
    with RobotDriver(rover(), wheels.set) as driver:
        driver.play(plan([1.0, 1.0]))
        wait_until(lambda: len(wheels.commands) > 10)
    assert driver.num_send_failures == 1
    assert not wheels.commands[-1].any()


class Camera:
    """Frames of one picture at a body's rate, until it is closed or hangs."""

    def __init__(self, fps: float) -> None:
        self.period_s, self.closed = 1 / fps, threading.Event()
        self.num_frames = 0

    def see(self) -> Frame | None:
        self.num_frames += 1
        return None if self.closed.wait(self.period_s) else paint(FULL)


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera(20.0)
    yield camera
    camera.closed.set()


def test_it_drives_and_ends_at_neutral(camera: Camera) -> None:
    wheels = Wheels(rover())
    with serving(EchoStepper()) as running, running.session(SessionConfig(embodiment=rover())) as session:
        with RobotDriver(rover(), wheels.set) as driver:
            thread = threading.Thread(target=drive, args=(session, driver, camera.see))
            thread.start()
            wait_until(lambda: bool(wheels.commands) and wheels.commands[-1].tolist() == [1.0, 1.0])
            camera.closed.set()
            thread.join(5)
        assert not thread.is_alive()
    assert driver.is_neutral
    assert not wheels.commands[-1].any()
    wheels.check()


def test_a_killed_server_leaves_it_at_neutral(camera: Camera) -> None:
    wheels, lost = Wheels(rover()), threading.Event()
    with serving_elsewhere() as (process, url), RobotDriver(rover(), wheels.set) as driver:
        session = Client(url).session(SessionConfig(embodiment=rover(), resume_s=0.3))

        def run() -> None:
            with pytest.raises(ConnectionLostError):
                drive(session, driver, camera.see)
            lost.set()

        thread = threading.Thread(target=run)
        thread.start()
        wait_until(lambda: bool(wheels.commands) and wheels.commands[-1].tolist() == [1.0, 1.0])
        process.kill()  # SIGKILL: no goodbye
        wait_until(lambda: driver.is_neutral)
        wait_until(lost.is_set)
        thread.join(5)
        session.close()
        sent = len(wheels.commands)
        wait_until(lambda: len(wheels.commands) > sent + 5)  # it goes on to say neutral
    assert not np.any(wheels.commands[sent:])
    wheels.check()


def test_a_client_that_stops_sending_is_brought_to_neutral_from_both_sides() -> None:
    """The camera hangs, and with it the loop that would read: each side's watchdog bites by itself."""
    body = rover(watchdog_ms=120.0)
    wheels, hang = Wheels(body), threading.Event()
    seen = iter([paint(FULL)] * 10)

    def see() -> Frame | None:
        frame = next(seen, None)
        if frame is None:
            hang.wait(10)
        return frame

    with (
        serving(EchoStepper()) as running,
        running.session(SessionConfig(embodiment=body)) as session,
        RobotDriver(body, wheels.set) as driver,
    ):
        thread = threading.Thread(target=drive, args=(session, driver, see))
        thread.start()
        wait_until(lambda: driver.num_watchdogs == 1 and driver.is_neutral)
        (there,) = running.engine.sessions.values()
        wait_until(lambda: there.robot is not None and there.robot.num_watchdogs == 1)
        wait_until(lambda: there.robot is not None and there.robot.envelope.is_neutral)
        hang.set()
        thread.join(5)
    assert np.max(wheels.commands) > 0.5
    wheels.check()
