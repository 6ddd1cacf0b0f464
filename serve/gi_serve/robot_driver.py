"""`RobotDriver`: the robot's side of the wire: an envelope of its own, run at `command_hz`. numpy only.

    plans from the server --play--> RobotDriver --envelope--> send(command), every 1 / command_hz s

    with Client(url).session(SessionConfig(embodiment=body)) as session, RobotDriver(body, send=wheels.set) as driver:
        drive(session, driver, camera.read)

The server limits what it plans; only here is it known what really came before, and when. So the limits hold again
here, for the commands that leave, whatever the network did. Without a new plan for `watchdog_ms`, without a
connection, stopped, or closed, it goes to neutral, inside the limits. It is software on a general computer and no
certified safety function: keep the hardware stop.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from gi_model.embodiment import Embodiment
from gi_model.envelope import Envelope
from gi_model.errors import ConfigError
from gi_model.frames import Frame
from gi_serve.client import Session
from gi_serve.command_plan import CommandPlan

logger = logging.getLogger("gi_serve")
LONGEST_RETURN_S: Final = 10.0  # to neutral, at the end
_ROUNDING: Final = 0.01  # of a step: clocks count in floats
Send = Callable[[NDArray[np.float32]], None]


class RobotDriver:
    """Plays plans on one body. A context manager that starts its thread and ends at neutral.

    send: takes a command, float32 (A,); it should not block. clock: seconds, monotonic. Any thread may call.
    """

    def __init__(self, embodiment: Embodiment, send: Send, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.embodiment = embodiment
        self.num_watchdogs = 0  # times that plans stopped coming
        self.num_send_failures = 0
        self._send, self._clock = send, clock
        self._envelope, self._lock = Envelope(embodiment), threading.Lock()
        self._plan: tuple[CommandPlan, float] | None = None
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"drive-{embodiment.name}", daemon=True)

    # ------------------------------------------------------------------ what to do

    def play(self, plan: CommandPlan) -> None:
        """Play `plan` from its first command, in the place of the one before. Raises ConfigError for another body."""
        if plan.commands.shape[1] != self.embodiment.num_actuators:
            got, expected = f"{plan.commands.shape[1]} actuators", self.embodiment.num_actuators
            raise ConfigError(f"a plan for another body than {self.embodiment.name}", got=got, expected=expected)
        with self._lock:
            self._plan = plan, self._clock()

    def lose(self) -> None:
        """The connection is lost: go to neutral, without waiting for the watchdog."""
        with self._lock:
            self._plan = None

    def stop(self) -> None:
        """Go to neutral and stay there, whatever is played, until `release`. Needs no server."""
        with self._lock:
            self._envelope.stop()

    def release(self) -> None:
        """Obey plans again."""
        with self._lock:
            self._envelope.release()

    @property
    def is_neutral(self) -> bool:
        """Whether the body is at neutral and at rest, as far as commands tell."""
        with self._lock:
            return self._envelope.is_neutral

    # ------------------------------------------------------------------ the control loop

    def step(self, dt_s: float) -> NDArray[np.float32]:
        """The command that is due, `dt_s` after the one before: for a control loop of one's own, without the thread."""
        with self._lock:
            target, pace = self._target()
            return self._envelope.advance(target, dt_s, pace=pace).command

    def _target(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The plan's command that is due, and how fast it moves on; neutral where there is no plan."""
        if self._plan is None:
            return self.embodiment.neutral, None
        plan, since = self._plan
        elapsed_s = self._clock() - since
        if elapsed_s * 1e3 >= self.embodiment.watchdog_ms:
            self._plan = None
            self.num_watchdogs += 1
            logger.warning("no plan for %g ms: to neutral", self.embodiment.watchdog_ms)
            return self.embodiment.neutral, None
        due = int(elapsed_s * plan.command_hz + _ROUNDING)
        if due >= len(plan.commands):
            return plan.commands[-1], None
        before = plan.commands[due - 1] if due else self._envelope.command
        return plan.commands[due], (plan.commands[due] - before) * np.float32(plan.command_hz)

    def _run(self) -> None:
        period_s = 1.0 / self.embodiment.command_hz
        before, due, give_up = self._clock(), self._clock() + period_s, float("inf")
        while self._clock() < give_up:
            if self._is_closed.is_set():
                give_up = min(give_up, self._clock() + LONGEST_RETURN_S)
            time.sleep(max(0.0, due - self._clock()))
            now = self._clock()
            command = self.step(now - before)
            before, due = now, max(due + period_s, now)  # what was missed is not made up for
            self._give(command)
            if self._is_closed.is_set() and self.is_neutral:
                return

    def _give(self, command: NDArray[np.float32]) -> None:
        try:
            self._send(command)
        except Exception:  # the next command may get through, and neutral must be tried to the last
            self.num_send_failures += 1
            if self.num_send_failures == 1:
                logger.exception("a command could not be sent")

    def start(self) -> None:
        """Start to send commands: neutral, until there is a plan."""
        self._thread.start()

    def close(self) -> None:
        """Go to neutral, then end. Idempotent."""
        self.stop()
        self._is_closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def drive(session: Session, driver: RobotDriver, see: Callable[[], Frame | None]) -> None:
    """Drive until `see` gives None: each frame it gives goes to the server, each plan that comes to the driver.

    see: waits for the camera's next frame. Whatever ends this, a lost server above all, the body goes to neutral.
    Raises ServeError.
    """
    try:
        while (frame := see()) is not None:
            session.send(frame)
            session.latest(1.0 / driver.embodiment.fps)
            if session.is_down:
                driver.lose()
            elif (plan := session.take_plan()) is not None:
                driver.play(plan)
    finally:
        driver.lose()
