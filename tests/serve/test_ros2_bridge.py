"""A ROS 2 robot at the end of a real server, through a fake rosbridge: whichever side is lost, it goes to neutral."""

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from gi_model.embodiment import Source
from gi_model.errors import ConfigError, ServeError
from gi_serve.client import Client, SessionConfig
from gi_serve.ros2_bridge import BridgeConfig, Ros2Bridge
from tests.model.adapter_factory import make_adapter
from tests.model.factories import make_policy
from tests.serve.fake_rosbridge import FakeRosbridge, fake_rosbridge
from tests.serve.fake_steppers import CommandingStepper, EchoStepper, commands_for
from tests.serve.pictures import jpeg_of, paint
from tests.serve.robot_bodies import identity_of, rover
from tests.serve.serving import Running, serving, serving_elsewhere, wait_until

IMAGES, COMMANDS, JOY = "/camera/image_raw/compressed", "/cmd_vel", "/joy"
AHEAD, LEFT = 0.8, 0.4
IDENTITY = identity_of(4, 8)
TAKEOVER, STOP, RELEASE = 4, 1, 7
BODY = rover(
    watchdog_ms=300.0,
    actuators=tuple(
        replace(actuator, name=name)
        for actuator, name in zip(rover().actuators, ("linear.x", "angular.z"), strict=True)
    ),
)
PAD = replace(
    BODY,
    actuators=tuple(
        replace(actuator, sources=(Source(stick, -1.0),))
        for actuator, stick in zip(BODY.actuators, ("left_stick.y", "right_stick.x"), strict=True)
    ),
)


class Robot:
    """Publishes images as a camera node would, until it is switched off, and knows the velocity it was told last."""

    def __init__(self, rosbridge: FakeRosbridge) -> None:
        self.rosbridge, self.off = rosbridge, threading.Event()
        self.has_camera = True
        self._image = {"format": "jpeg", "data": base64.b64encode(jpeg_of(paint(IDENTITY))).decode()}
        self._thread = threading.Thread(target=self._film, daemon=True)
        self._thread.start()

    @property
    def told(self) -> list[dict[str, Any]]:
        return self.rosbridge.heard.get(COMMANDS, [])

    @property
    def velocity(self) -> tuple[float, float]:
        last = self.told[-1] if self.told else {"linear": {"x": 0.0}, "angular": {"z": 0.0}}
        return round(last["linear"]["x"], 3), round(last["angular"]["z"], 3)

    def feel(self, *buttons: int, left_y: float = 0.0, right_x: float = 0.0) -> None:
        down = [int(number in buttons) for number in range(8)]
        self.rosbridge.publish(JOY, {"axes": [0.0, left_y, 1.0, right_x, 0.0, 1.0], "buttons": down})

    def _film(self) -> None:
        while not self.off.wait(0.02):  # faster than the policy: the throttle counts
            if self.has_camera:
                self.rosbridge.publish(IMAGES, self._image)


@contextmanager
def driving(
    url: str, body: Any = BODY, *, adapter: str | None = None, **config: Any
) -> Iterator[tuple[Robot, Ros2Bridge]]:
    with fake_rosbridge() as rosbridge:
        settings = BridgeConfig(rosbridge=rosbridge.url, **config)
        bridge = Ros2Bridge(Client(url), SessionConfig(embodiment=body, adapter=adapter, resume_s=0.3), settings)
        robot, thread = Robot(rosbridge), threading.Thread(target=bridge.run)
        thread.start()
        try:
            yield robot, bridge
        finally:
            bridge.stop()
            thread.join(10)
            robot.off.set()
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(EchoStepper()) as started:
        yield started


def test_images_go_in_and_velocities_come_out(running: Running) -> None:
    with driving(running.url) as (robot, _):
        wait_until(lambda: robot.velocity == (AHEAD, LEFT))
        subscription = robot.rosbridge.subscribed[IMAGES]
        assert subscription["type"] == "sensor_msgs/msg/CompressedImage"
        assert 0 < subscription["throttle_rate"] <= 50
        assert subscription["queue_length"] == 1
        assert robot.rosbridge.advertised == {COMMANDS: "geometry_msgs/msg/Twist"}
    assert robot.velocity == (0.0, 0.0)  # the last word
    assert robot.rosbridge.complaints == []
    assert not running.engine.sessions


def test_a_killed_server_leaves_it_at_neutral() -> None:
    with serving_elsewhere() as (process, url), driving(url) as (robot, bridge):
        wait_until(lambda: robot.velocity == (AHEAD, LEFT))
        process.kill()
        wait_until(lambda: robot.velocity == (0.0, 0.0))
        num_told = len(robot.told)
        wait_until(lambda: len(robot.told) > num_told + 20)  # it goes on to say so
        assert all(not told["linear"]["x"] for told in robot.told[num_told:])
        assert bridge.driver.is_neutral


def test_a_new_server_is_found(running: Running) -> None:
    with driving(running.url) as (robot, _):
        wait_until(lambda: robot.velocity == (AHEAD, LEFT))
        (session,) = running.engine.sessions.values()
        running.engine._loop.call_soon_threadsafe(partial(running.engine.close_session, session, reason="idle"))
        wait_until(lambda: robot.velocity == (0.0, 0.0))
        wait_until(lambda: robot.velocity == (AHEAD, LEFT))


def test_a_lost_rosbridge_stops_the_drive_and_is_found_again(running: Running) -> None:
    with driving(running.url) as (robot, bridge):
        wait_until(lambda: robot.velocity == (AHEAD, LEFT))
        robot.has_camera = False
        robot.rosbridge.drop()
        wait_until(lambda: bridge.link.num_lost == 1 and bridge.driver.is_neutral)
        wait_until(lambda: bridge.link.is_up)
        wait_until(lambda: robot.velocity == (0.0, 0.0))
        robot.has_camera = True
        wait_until(lambda: robot.velocity == (AHEAD, LEFT))


def test_a_camera_that_hangs_stops_the_drive(running: Running) -> None:
    with driving(running.url) as (robot, bridge):
        wait_until(lambda: robot.velocity == (AHEAD, LEFT))
        robot.has_camera = False
        wait_until(lambda: robot.velocity == (0.0, 0.0))
        assert bridge.driver.num_watchdogs >= 1


def test_a_person_takes_over_stops_and_gives_back(running: Running) -> None:
    """The echo plays no stick, so what moves is the person's."""
    with driving(running.url, PAD, joy_topic=JOY) as (robot, _):
        wait_until(lambda: JOY in robot.rosbridge.subscribed and len(robot.told) > 3)
        (session,) = running.engine.sessions.values()

        def hold(*buttons: int, **sticks: float) -> tuple[float, float]:
            robot.feel(*buttons, **sticks)
            return robot.velocity

        wait_until(lambda: hold(TAKEOVER, left_y=0.5, right_x=0.25) == (0.5, 0.25))
        wait_until(lambda: hold(TAKEOVER, left_y=0.5) == (0.5, 0.0) and session.executed_seq > 0)
        wait_until(lambda: hold(STOP, TAKEOVER, left_y=0.5) == (0.0, 0.0))
        wait_until(lambda: session.robot is not None and session.robot.envelope.is_stopped)
        for _ in range(20):
            assert hold(TAKEOVER, left_y=0.5) == (0.0, 0.0)
        wait_until(lambda: hold(RELEASE, TAKEOVER, left_y=0.5) == (0.5, 0.0))
        wait_until(lambda: session.robot is not None and not session.robot.envelope.is_stopped)


def test_a_person_has_no_direct_actuator() -> None:
    """The policy turns, as no stick does; while a person has the robot that is neutral, then the policy's again."""
    drive, turn = PAD.actuators
    body = replace(PAD, actuators=(drive, replace(turn, sources=(), levels=65)))
    stepper = CommandingStepper()
    stepper.add_adapter(make_adapter(make_policy(), name="mixed", embodiment=body, fps=stepper.fps))
    with serving(stepper) as served, driving(served.url, None, adapter="mixed", joy_topic=JOY) as (robot, _):
        turning = round(float(commands_for(IDENTITY)[0]), 3)
        wait_until(lambda: robot.velocity == (0.0, turning))
        (session,) = served.engine.sessions.values()

        def hold(*buttons: int) -> tuple[float, float]:
            robot.feel(*buttons, left_y=0.5)
            return robot.velocity

        wait_until(lambda: hold(TAKEOVER) == (0.5, 0.0) and session.executed_seq > 0)
        wait_until(lambda: hold() == (0.0, turning))


def test_a_joystick_that_falls_silent_in_a_persons_hands_stops_the_robot(running: Running) -> None:
    with driving(running.url, PAD, joy_topic=JOY) as (robot, bridge):

        def hold() -> tuple[float, float]:
            robot.feel(TAKEOVER, left_y=0.5)
            return robot.velocity

        wait_until(lambda: hold() == (0.5, 0.0))
        wait_until(lambda: bridge._is_orphaned and robot.velocity == (0.0, 0.0))
        wait_until(lambda: hold() == (0.5, 0.0))  # it is back
        assert not bridge._is_orphaned


def stop_by_button(robot: Robot) -> None:
    """A person takes over, drives, and presses stop, as often as it takes to be heard."""

    def hold(*buttons: int) -> tuple[float, float]:
        robot.feel(TAKEOVER, *buttons, left_y=0.5)
        return robot.velocity

    wait_until(lambda: hold() == (0.5, 0.0))
    wait_until(lambda: hold(STOP) == (0.0, 0.0))


def test_a_joystick_that_comes_back_does_not_release_what_its_stop_button_stopped(running: Running) -> None:
    with driving(running.url, PAD, joy_topic=JOY) as (robot, _):
        stop_by_button(robot)
        (session,) = running.engine.sessions.values()
        before = session.last_seq
        wait_until(lambda: session.last_seq > before + 12)  # at 20 a second: two silences that the watchdog would see
        for _ in range(40):
            robot.feel(TAKEOVER, left_y=0.5)
            assert robot.velocity == (0.0, 0.0)
            time.sleep(0.01)  # the joystick's rate
        wait_until(lambda: session.robot is not None and session.robot.envelope.is_stopped)

        def release() -> bool:
            robot.feel(RELEASE, TAKEOVER, left_y=0.5)
            return robot.velocity == (0.5, 0.0)

        wait_until(release)
        wait_until(lambda: session.robot is not None and not session.robot.envelope.is_stopped)


def test_a_new_session_is_stopped_as_the_one_before_was(running: Running) -> None:
    with driving(running.url, PAD, joy_topic=JOY) as (robot, _):
        stop_by_button(robot)
        (session,) = running.engine.sessions.values()
        running.engine._loop.call_soon_threadsafe(partial(running.engine.close_session, session, reason="idle"))
        wait_until(lambda: bool(running.engine.sessions) and session.id not in running.engine.sessions)
        (new,) = running.engine.sessions.values()
        wait_until(lambda: new.robot is not None and new.robot.envelope.is_stopped)
        assert robot.velocity == (0.0, 0.0)


def test_nonsense_from_ros_is_counted_and_changes_nothing(running: Running) -> None:
    with driving(running.url, PAD, joy_topic=JOY) as (robot, bridge):
        wait_until(lambda: JOY in robot.rosbridge.subscribed and len(robot.told) > 3)
        robot.rosbridge.publish(JOY, {"axes": []})
        robot.has_camera = False

        def publish_nonsense() -> bool:
            robot.rosbridge.publish(IMAGES, {"data": "%"})
            return bridge.num_bad_messages >= 2

        wait_until(publish_nonsense)
        for event in ("nonsense", "[]", "{}", {"op": "publish", "topic": IMAGES}, {"op": "status", "msg": "hm"}):
            robot.rosbridge.say(event)
        truncated = base64.b64encode(jpeg_of(paint(1))[:40]).decode()
        robot.rosbridge.publish(IMAGES, {"data": truncated})
        num_told = len(robot.told)
        robot.has_camera = True
        wait_until(lambda: len(robot.told) > num_told + 10)
        assert bridge.link.is_up


def test_what_cannot_be_driven_is_refused_at_the_start(running: Running) -> None:
    client, settings = Client(running.url), BridgeConfig(joy_topic=JOY)
    with pytest.raises(ConfigError, match="no body to drive"):
        Ros2Bridge(client, SessionConfig(), BridgeConfig())
    with pytest.raises(ConfigError, match="needs a body with sticks"):
        Ros2Bridge(client, SessionConfig(embodiment=BODY), settings)
    with pytest.raises(ConfigError, match="no Twist has"):
        Ros2Bridge(client, SessionConfig(embodiment=rover()), BridgeConfig())
    with pytest.raises(ServeError, match=r"cannot reach|no server|connect"):
        Ros2Bridge(Client("http://127.0.0.1:9"), SessionConfig(embodiment=BODY), BridgeConfig())
    wait_until(lambda: not running.engine.sessions)
