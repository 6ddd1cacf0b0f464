"""`Ros2Bridge`: a served policy at the wheel of a ROS 2 robot: compressed images in, `cmd_vel` out, through rosbridge.

    CompressedImage --> server --> plan --RobotDriver: envelope at command_hz--> Twist
    Joy: takeover button held --> the person's sticks --> Twist, and --> `action.executed`

The images go on as the camera compressed them. Whichever side is lost, the driver goes to neutral, and says so as long
as anybody hears; a robot must go to neutral by itself too when `cmd_vel` falls silent, because nobody can tell it. A
joystick that falls silent while a person has it stops the robot until it is back: the policy does not take over. What
the stop button stopped only the release button releases, whatever fell silent, or was opened again, in between. A
person's sticks command no direct actuator: while a person has the robot, those are at neutral.
"""

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import InputState
from gi_model.embodiment import Embodiment
from gi_model.errors import ConfigError, ServeError
from gi_serve.client import Client, SessionConfig
from gi_serve.command_plan import CommandPlan
from gi_serve.protocol import Codec
from gi_serve.robot_driver import RobotDriver
from gi_serve.ros2_link import RosLink, Topic
from gi_serve.ros2_messages import (
    IMAGE_TYPE,
    JOY_TYPE,
    TWIST_TYPE,
    JoyButtons,
    JoyReading,
    TwistMap,
    read_image,
    read_joy,
)

logger = logging.getLogger("gi_serve")
SECONDS_TO_RETRY: Final = 1.0


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """Where things are. joy_topic: empty for no joystick."""

    rosbridge: str = "ws://127.0.0.1:9090"
    image_topic: str = "/camera/image_raw/compressed"
    command_topic: str = "/cmd_vel"
    joy_topic: str = ""
    buttons: JoyButtons = JoyButtons()


class Ros2Bridge:
    """Drives until `stop`. Raises ServeError at its start without a server, ConfigError without a body."""

    def __init__(self, client: Client, session: SessionConfig, config: BridgeConfig) -> None:
        self.config = config
        self.num_bad_messages = 0
        self._client, self._wanted = client, session
        self._session = client.session(session)
        try:
            self.body = self._check(self._session.embodiment)
            self._twist = TwistMap(self.body)
        except BaseException:
            self._session.close()
            raise
        self.driver = RobotDriver(self.body, self._publish)
        topics = [Topic(config.image_topic, IMAGE_TYPE, self._see, period_ms=int(1e3 / self.body.fps) - 1)]
        topics += [Topic(config.joy_topic, JOY_TYPE, self._feel)] if config.joy_topic else []
        self.link = RosLink(config.rosbridge, topics, {config.command_topic: TWIST_TYPE}, lost=self.driver.lose)
        self._image: tuple[bytes, Codec, int] | None = None
        self._changed, self._is_over = threading.Condition(), threading.Event()
        self._joy: tuple[JoyReading, float] | None = None
        self._is_orphaned = False  # the person's joystick fell silent
        self._is_stopped = False  # by the stop button, until the release button

    def _check(self, body: Embodiment | None) -> Embodiment:
        if body is None:
            raise ConfigError("no body to drive", do="Give --embodiment FILE, or an --adapter that was made for one.")
        if self.config.joy_topic and not body.is_gamepad:
            raise ConfigError("a joystick needs a body with sticks", got=body.name, do="Leave --joy-topic out.")
        return body

    @property
    def model(self) -> str:
        """Who drives."""
        return self._session.model.name

    def run(self) -> None:
        """Drive; returns after `stop`, with the robot at neutral."""
        with self.link, self.driver:
            while not self._is_over.is_set():
                try:
                    self._drive()
                except ServeError as error:
                    logger.warning("%s; the robot is at neutral", error)
                    self.driver.lose()
                    self._reopen()
        self._session.close()

    def stop(self) -> None:
        """Let `run` return."""
        self._is_over.set()
        with self._changed:
            self._changed.notify_all()

    # ------------------------------------------------------------------ the loop

    def _drive(self) -> None:
        session, tick_s = self._session, 1.0 / self.body.fps
        while not self._is_over.is_set():
            self._watch_joy()
            if (image := self._next_image(tick_s)) is None:
                continue
            data, codec, captured_ns = image
            session.send_image(data, codec, capture_ns=captured_ns)
            action = session.latest(tick_s)
            if session.is_down or not self.link.is_up:
                self.driver.lose()
                continue
            plan, person = session.take_plan(), self._person()
            if person is not None and action is not None:
                session.execute(person)
            elif person is None and plan is not None:
                self.driver.play(plan)

    def _next_image(self, timeout_s: float) -> tuple[bytes, Codec, int] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._image is not None or self._is_over.is_set(), timeout_s)
            image, self._image = self._image, None
            return image

    def _reopen(self) -> None:
        with suppress(ServeError):
            self._session.close()
        while not self._is_over.wait(SECONDS_TO_RETRY):
            try:
                self._session = self._client.session(self._wanted)
            except ServeError as error:
                logger.warning("no server: %s", error)
                continue
            if self._is_stopped:
                self._stop_session()
            return

    # ------------------------------------------------------------------ what ROS says (the link's thread)

    def _see(self, message: Mapping[str, Any]) -> None:
        try:
            image, codec = read_image(message)
        except ServeError as error:
            self._count_bad(error)
            return
        with self._changed:
            self._image = image, codec, time.monotonic_ns()
            self._changed.notify_all()

    def _feel(self, message: Mapping[str, Any]) -> None:
        try:
            reading = read_joy(message, self.config.buttons)
        except ServeError as error:
            self._count_bad(error)
            return
        self._joy = reading, time.monotonic()
        if reading.stops:
            self._stop_robot()
        elif reading.releases:
            self._release_robot()
        elif self._is_orphaned and not self._is_stopped:
            self._is_orphaned = False
            self.driver.release()
        if reading.takes_over:
            command = self.body.command(reading.state)
            clamps = np.zeros((self.body.num_actuators, 4), bool)
            self.driver.play(CommandPlan(command[None], self.body.command_hz, clamps))

    def _count_bad(self, error: ServeError) -> None:
        self.num_bad_messages += 1
        if self.num_bad_messages == 1:
            logger.warning("%s", error)

    # ------------------------------------------------------------------ the person

    def _person(self) -> InputState | None:
        """What the person holds, while they have the robot; nothing, if they lost or stopped it."""
        if self._is_orphaned or self._is_stopped:
            return self.body.inputs(self.body.neutral)
        if self._joy is None or not self._joy[0].takes_over:
            return None
        return self.body.bindings.restrict(self._joy[0].state)

    def _watch_joy(self) -> None:
        """Stop the robot if the joystick fell silent in the person's hands."""
        if self._joy is None or not self._joy[0].takes_over or self._is_orphaned or self._is_stopped:
            return
        if time.monotonic() - self._joy[1] > self.body.watchdog_ms / 1e3:
            logger.warning("the joystick fell silent: the robot is stopped until it is back")
            self._is_orphaned = True
            self.driver.stop()

    def _stop_robot(self) -> None:
        self._is_stopped, self._is_orphaned = True, False
        self.driver.stop()
        self._stop_session()

    def _stop_session(self) -> None:
        with suppress(ServeError):
            self._session.stop()

    def _release_robot(self) -> None:
        self._is_stopped = self._is_orphaned = False
        self.driver.release()
        with suppress(ServeError):
            self._session.release()

    def _publish(self, command: NDArray[np.float32]) -> None:
        self.link.publish(self.config.command_topic, self._twist.message(command))
