"""`Perturbation`: shoves a demonstrator now and then and lets it recover; the label stays what it meant to do.

A demonstrator that never errs never shows how to come back. In a burst the executed input differs from the intent by a
random turn, deflected sticks and commands, and flipped controls; the recording keeps the intent, which stays right for
the frame it answers (DART, Laskey et al. 2017, arXiv:1703.09327).
"""

import random
from dataclasses import dataclass, replace

import numpy as np

from gi_model.actions import Bindings, InputState
from gi_model.actions.bindings import MOUSE_AXES, PAD_AXES, Axis, press_controls, read_axis
from gi_model.embodiment import Embodiment


@dataclass(frozen=True)
class Bursts:
    """A tick begins a burst by `probability`; turn_degrees: deviation each tick; flips: share of the controls.

    turn_counts: deviation where the mouse turns by another unit; deflection: of sticks, and of direct actuators by as
    much of their way from neutral to the farther end, kept for the burst.
    """

    probability: float = 0.04
    ticks: tuple[int, int] = (2, 7)
    turn_degrees: float = 9.0
    flips: float = 0.15
    turn_counts: float = 36.0
    deflection: float = 0.5


class Perturbation:
    """Executed inputs of one episode's intents."""

    def __init__(
        self, bindings: Bindings, *, seed: int, bursts: Bursts | None = None, embodiment: Embodiment | None = None
    ) -> None:
        self._bindings, self._bursts = bindings, bursts or Bursts()
        self._rng = random.Random(f"perturbation {seed}")
        self._ticks_left = 0
        self._flipped: frozenset[str] = frozenset()
        self._deflected: dict[Axis, float] = {}
        self._axes: list[Axis] = [binding.axis for binding in bindings.analogue.values() if binding.axis in PAD_AXES]
        self._body = embodiment if embodiment is not None and embodiment.direct.any() else None
        self._pushed: list[float] = []

    def apply(self, intent: InputState) -> InputState:
        """What is executed this tick: `intent`, or in a burst something else."""
        if self._ticks_left == 0 and self._rng.random() < self._bursts.probability:
            self._ticks_left = self._rng.randint(*self._bursts.ticks)
            controls = sorted(self._bindings.digital.values())
            self._flipped = frozenset(control for control in controls if self._rng.random() < self._bursts.flips)
            self._deflected = {axis: self._rng.gauss(0.0, self._bursts.deflection) for axis in self._axes}
            if self._body is not None:
                self._pushed = [self._rng.gauss(0.0, self._bursts.deflection) for _ in self._body.command_space.names]
        if self._ticks_left == 0:
            return intent
        self._ticks_left -= 1
        axes: dict[str, float] = {axis: read_axis(intent, axis) for axis in (*MOUSE_AXES, *self._axes)}
        axes["motion.x"] += self._shove()
        shoved = press_controls(
            intent.held ^ self._flipped, axes | {a: axes[a] + d for a, d in self._deflected.items()}
        )
        return replace(shoved, cursor=intent.cursor, commands=self._push(intent))

    def _push(self, intent: InputState) -> tuple[float, ...]:
        """Commands of the direct actuators, off by this burst's deflection and within their ranges."""
        if (body := self._body) is None:
            return intent.commands
        direct = body.direct
        low, high, neutral = (each[direct] for each in (body.minimum, body.maximum, body.neutral))
        pushed = body.command(intent)[direct] + np.array(self._pushed) * np.maximum(high - neutral, neutral - low)
        return tuple(np.clip(pushed, low, high).astype(np.float32).tolist())

    def _shove(self) -> int:
        """Mouse counts of a random turn; none where the mouse does not turn."""
        turns = [binding for binding in self._bindings.analogue.values() if binding.axis == "motion.x"]
        if not turns:
            return 0
        counts = self._bursts.turn_degrees / turns[0].scale if turns[0].unit == "deg" else self._bursts.turn_counts
        return round(self._rng.gauss(0.0, 1.0) * counts)
