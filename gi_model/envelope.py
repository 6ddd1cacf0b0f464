"""`Envelope`: what stands between a policy and the actuators: no command leaves the range, the rate, or the jerk.

    target -> finite? -> range -> rate -> jerk, with room to brake -> command

It knows nothing of models, and runs on both sides of the wire: on the server for each session, on the robot at
`command_hz`. With a jerk limit a rate cannot end at once, so a command may only go on as long as it can still come to
rest before its edge: from distance D the rate r must keep r^2 / 2J <= D. That is the braking distance in continuous
time; a discrete brake of any steps is shorter, so whatever time comes next, braking always fits. The same rule toward
the target means that it is reached without going beyond it.

Rejected: clipping command, rate, and jerk one after the other (each undoes the one before it), a low-pass filter (no
bound), a planner of time-optimal profiles (an optimiser in a safety function).
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from gi_model.embodiment import Actuator, Embodiment
from gi_model.errors import ConfigError

KINDS: Final = ("range", "rate", "jerk", "invalid")
MAX_STEPS: Final = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Limited:
    """Commands inside the envelope, and what it took to bring them there.

    commands: float32 (N, A), to be given one after the other. target: float32 (A,), where they lead: what was asked, in
    range; neutral while stopped. clamps: int64 (A, 4), by `KINDS`: 1 where that kind of limit changed what was asked;
    "invalid": it was no number, and neutral was taken. While stopped nothing is asked, so nothing is counted.
    """

    commands: NDArray[np.float32]
    target: NDArray[np.float32]
    clamps: NDArray[np.int64]
    is_stopped: bool

    @property
    def command(self) -> NDArray[np.float32]:
        """The last one, float32 (A,)."""
        last: NDArray[np.float32] = self.commands[-1]
        return last


class Envelope:
    """Limits one body's commands. It begins at neutral and at rest."""

    def __init__(self, embodiment: Embodiment) -> None:
        self.embodiment = embodiment
        self.is_stopped = False
        self._longest_s = 1.0 / embodiment.fps
        self._axes = [_Axis.of(actuator) for actuator in embodiment.actuators]

    @property
    def command(self) -> NDArray[np.float32]:
        """The newest command, float32 (A,)."""
        return np.array([axis.command for axis in self._axes], np.float32)

    @property
    def rate(self) -> NDArray[np.float32]:
        """How fast it changes, float32 (A,), unit/s."""
        return np.array([axis.rate for axis in self._axes], np.float32)

    @property
    def is_neutral(self) -> bool:
        """Whether every actuator is at neutral and at rest."""
        return all(axis.is_neutral for axis in self._axes)

    def advance(self, target: NDArray[np.float32], dt_s: float, *, num_left: int = 1) -> Limited:
        """The command `dt_s` after the newest, on the way to `target`, float32 (A,), which is `num_left` steps away.

        Time beyond a tick of the policy does not count: a command that stood still in a stall goes on from there as if
        there had been none, and nothing is made up for. No time at all (or no number) moves nothing. Raises ConfigError
        on another number of actuators.
        """
        return self._go(target, 1, dt_s, num_left)

    def plan(self, target: NDArray[np.float32], num_steps: int, dt_s: float) -> Limited:
        """`num_steps` commands, `dt_s` apart, that go to `target` evenly and are there with the last, if they can be.

        Clamps are those of the whole plan. Stopped, it goes to neutral as fast as the limits let it.
        """
        return self._go(target, num_steps, dt_s, num_steps)

    def _go(self, target: NDArray[np.float32], num_steps: int, dt_s: float, num_left: int) -> Limited:
        """The first `num_steps` commands of `num_left` to `target`."""
        asked = np.asarray(target, np.float32)
        if asked.shape != (len(self._axes),) or not 1 <= num_steps <= num_left <= MAX_STEPS:
            expected = f"{len(self._axes)} actuators, 1 to {MAX_STEPS} steps"
            raise ConfigError("not a target of this body", got=(asked.shape, num_left), expected=expected)
        dt_s = min(dt_s, self._longest_s) if dt_s > 0 else 0.0  # also if it is no number
        follow = self._return if self.is_stopped else self._follow
        steps = range(num_left, num_left - num_steps, -1)
        rows = [follow(axis, want, steps, dt_s) for axis, want in zip(self._axes, asked.tolist(), strict=True)]
        commands, targets, clamps = zip(*rows, strict=True)
        return Limited(
            np.array(commands, np.float32).T.copy(),
            np.array(targets, np.float32),
            np.array(clamps, np.int64),
            self.is_stopped,
        )

    def stop(self) -> None:
        """Go to neutral, inside the limits, and stay there whatever is asked, until `release`."""
        self.is_stopped = True

    def release(self) -> None:
        """Obey targets again."""
        self.is_stopped = False

    def copy(self) -> "Envelope":
        """An envelope in the same state, with a life of its own."""
        twin = copy(self)
        twin._axes = [copy(axis) for axis in self._axes]
        return twin

    def _return(self, axis: "_Axis", _asked: float, steps: range, dt_s: float) -> "_Row":
        """One actuator's commands to neutral, with all haste."""
        return axis.go(axis.neutral, [1] * len(steps), dt_s), axis.neutral, [False] * len(KINDS)

    def _follow(self, axis: "_Axis", asked: float, steps: range, dt_s: float) -> "_Row":
        """One actuator's commands, where they lead, and which kinds of limit changed what was asked.

        steps: how many are left to the target, at each. The jerk counts at the last, where the target should be.
        """
        is_invalid = not isfinite(asked)
        wanted = axis.neutral if is_invalid else asked
        target = min(max(wanted, axis.minimum), axis.maximum)
        reach = axis.max_rate * dt_s * steps[0]
        in_reach = min(max(target, axis.command - reach), axis.command + reach)
        commands = axis.go(target, steps, dt_s)
        is_jerky = steps[-1] == 1 and axis.tells(in_reach, commands[-1])
        return commands, target, [wanted != target, axis.tells(target, in_reach), is_jerky, is_invalid]


_Row = tuple[list[float], float, list[bool]]  # commands, where they lead, clamps by kind


@dataclass(slots=True)
class _Axis:
    """One actuator's command, and its rate over the last step, in float64: they are rounded on the way out only."""

    neutral: float
    minimum: float
    maximum: float
    max_rate: float
    max_jerk: float
    command: float
    rate: float = 0.0

    @classmethod
    def of(cls, actuator: Actuator) -> Self:
        """At neutral. The numbers are those that float32 keeps, so that rounding leads out of no range."""
        jerk = inf if actuator.max_jerk is None else actuator.max_jerk
        neutral = float(np.float32(actuator.neutral))
        low, high = float(np.float32(actuator.minimum)), float(np.float32(actuator.maximum))
        return cls(neutral, low, high, actuator.max_rate, jerk, command=neutral)

    @property
    def tiny(self) -> float:
        """What the order of additions may add, far below what float32 keeps."""
        return 1e-9 * (self.maximum - self.minimum)

    def tells(self, a: float, b: float) -> bool:
        """Whether it tells two commands apart."""
        return np.float32(a) != np.float32(b) and abs(a - b) > self.tiny

    @property
    def is_neutral(self) -> bool:
        return np.float32(self.command) == np.float32(self.neutral) and abs(self.rate) < 1e-6 * self.max_rate

    def go(self, target: float, steps: Sequence[int], dt_s: float) -> list[float]:
        """The next commands toward `target`, which is in range and, at each, so many steps away."""
        commands = []
        for num_left in steps:
            if dt_s > 0.0:
                self._step(target, dt_s, num_left)
            commands.append(self.command)
        return commands

    def _step(self, target: float, dt_s: float, num_left: int) -> None:
        """One step toward `target`, `num_left` steps away."""
        self.rate = self._choose_rate(target - self.command, dt_s, num_left)
        command = min(max(self.command + self.rate * dt_s, self.minimum), self.maximum)
        self.command = command if abs(command - target) > self.tiny else target

    def _choose_rate(self, distance: float, dt_s: float, num_left: int) -> float:
        """The rate of the next step: even, below the limits, and such that braking fits, before all toward an edge."""
        change = self.max_jerk * dt_s
        low, high = max(-self.max_rate, self.rate - change), min(self.max_rate, self.rate + change)
        high = max(low, min(high, self._braking(self.maximum - self.command, dt_s)))
        low = min(high, max(low, -self._braking(self.command - self.minimum, dt_s)))
        nearing = self._braking(abs(distance), dt_s)
        wanted = min(max(distance / (num_left * dt_s), -nearing), nearing)
        return min(max(wanted, low), high)

    def _braking(self, distance: float, dt_s: float) -> float:
        """The largest rate r of one step that leaves room to brake: r dt + r^2 / 2J <= distance."""
        return 2.0 * distance / (dt_s + sqrt(dt_s * dt_s + 2.0 * distance / self.max_jerk))
