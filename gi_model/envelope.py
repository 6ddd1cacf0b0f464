"""`Envelope`: what stands between a policy and the actuators: no command leaves the range, the rate, or the jerk.

    target -> finite? -> range -> rate -> jerk, with room to brake -> command

It knows nothing of models, and runs on both sides of the wire: on the server for each session, on the robot at
`command_hz`. With a jerk limit a rate cannot end at once, so a command may only go on as long as it can still come to
rest before its edge: from distance D the rate r must keep r^2 / 2J <= D. That is the braking distance in continuous
time; a discrete brake of any steps is shorter, so whatever time comes next, braking always fits. The same rule toward
a target that stands means that it is reached without going beyond it.

Rejected: clipping command, rate, and jerk one after the other (each undoes the one before it), a low-pass filter (no
bound), a planner of time-optimal profiles (an optimiser in a safety function).
"""

from copy import copy
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import Final, NamedTuple, Self

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

    def advance(self, target: NDArray[np.float32], dt_s: float, *, pace: NDArray[np.float32] | None = None) -> Limited:
        """The command `dt_s` after the newest, as near to `target`, float32 (A,), as the limits let it.

        pace: how fast the target itself moves on, float32 (A,), unit/s; None: it stands, and is met at rest.
        Time beyond a tick of the policy does not count: a command that stood still in a stall goes on from there as if
        there had been none, and nothing is made up for. No time at all (or no number) moves nothing. Raises ConfigError
        on another number of actuators.
        """
        return self._go(target, 1, dt_s, pace)

    def plan(self, target: NDArray[np.float32], num_steps: int, dt_s: float) -> Limited:
        """`num_steps` commands, `dt_s` apart, that go to `target` evenly and are there with the last, if they can be.

        Clamps are those of the whole plan. Stopped, it goes to neutral as fast as the limits let it.
        """
        return self._go(target, num_steps, dt_s, None)

    def _go(
        self, target: NDArray[np.float32], num_steps: int, dt_s: float, pace: NDArray[np.float32] | None
    ) -> Limited:
        asked = np.asarray(target, np.float32)
        paces = np.zeros(len(self._axes)) if pace is None else np.nan_to_num(pace, posinf=0.0, neginf=0.0)
        if not asked.shape == paces.shape == (len(self._axes),) or not 1 <= num_steps <= MAX_STEPS:
            expected = f"{len(self._axes)} actuators, 1 to {MAX_STEPS} steps"
            raise ConfigError("not a target of this body", got=(asked.shape, num_steps), expected=expected)
        dt_s = min(dt_s, self._longest_s) if dt_s > 0 else 0.0  # also if it is no number
        follow = self._return if self.is_stopped else self._follow
        wants = zip(self._axes, asked.tolist(), paces.tolist(), strict=True)
        rows = [follow(axis, _Want(want, pace, num_steps, dt_s)) for axis, want, pace in wants]
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

    def _return(self, axis: "_Axis", want: "_Want") -> "_Row":
        """One actuator's commands to neutral, with all haste."""
        commands = [axis.step(axis.neutral, want.dt_s) for _ in range(want.num_steps)]
        return commands, axis.neutral, [False] * len(KINDS)

    def _follow(self, axis: "_Axis", want: "_Want") -> "_Row":
        """One actuator's commands, where they lead, and which kinds of limit changed what was asked."""
        is_invalid = not isfinite(want.target)
        wanted = axis.neutral if is_invalid else want.target
        target = min(max(wanted, axis.minimum), axis.maximum)
        reach = axis.max_rate * want.dt_s * want.num_steps
        in_reach = min(max(target, axis.command - reach), axis.command + reach)
        commands = [axis.step(target, want.dt_s, num_left, want.pace) for num_left in range(want.num_steps, 0, -1)]
        kinds = [wanted != target, axis.tells(target, in_reach), axis.tells(in_reach, commands[-1]), is_invalid]
        return commands, target, kinds


_Row = tuple[list[float], float, list[bool]]  # commands, where they lead, clamps by kind


class _Want(NamedTuple):
    """What is asked of one actuator."""

    target: float
    pace: float
    num_steps: int
    dt_s: float


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
        """Whether two commands differ by more than what float32 rounds away."""
        return abs(a - b) > 2.0**-21 * max(abs(self.minimum), abs(self.maximum))

    @property
    def is_neutral(self) -> bool:
        return np.float32(self.command) == np.float32(self.neutral) and abs(self.rate) < 1e-6 * self.max_rate

    def step(self, target: float, dt_s: float, num_left: int = 1, pace: float = 0.0) -> float:
        """The next command toward `target`, which is in range, so many steps away, and moves on at `pace`."""
        if dt_s > 0.0:
            self.rate = self._choose_rate(target - self.command, dt_s, num_left, pace)
            command = min(max(self.command + self.rate * dt_s, self.minimum), self.maximum)
            self.command = command if abs(command - target) > self.tiny else target
        return self.command

    def _choose_rate(self, distance: float, dt_s: float, num_left: int, pace: float) -> float:
        """The rate of the next step: even, below the limits, and such that braking fits, before all toward an edge."""
        change = self.max_jerk * dt_s
        low, high = max(-self.max_rate, self.rate - change), min(self.max_rate, self.rate + change)
        high = max(low, min(high, self._braking(self.maximum - self.command, dt_s)))
        low = min(high, max(low, -self._braking(self.command - self.minimum, dt_s)))
        nearing = self._braking(abs(distance), dt_s, pace if pace * distance > 0.0 else 0.0)
        wanted = min(max(distance / (num_left * dt_s), -nearing), nearing)
        return min(max(wanted, low), high)

    def _braking(self, distance: float, dt_s: float, pace: float = 0.0) -> float:
        """The largest rate r of one step after which braking to `pace` v fits: r dt + (r^2 - v^2) / 2J <= distance."""
        twice = 2.0 * distance + pace * pace / self.max_jerk
        return twice / (dt_s + sqrt(dt_s * dt_s + twice / self.max_jerk))
