"""`Thumb`: how a scripted teleoperator's wish becomes what its hands do: late, smoothly, and a little off.

A command is answered `delay_ticks` after the picture that called for it, approaches what is wanted by a share of the
way each tick, and trembles. Delay and smoothing make it overshoot, as people do with a body that has inertia. The hand
that plays games (`hand.py`) has no memory; here the memory stands in for the operator's own delay, which no scripted
decision can replace, and it is short: within the few ticks that a policy sees.
"""

import random
from collections import deque
from dataclasses import dataclass

import numpy as np

from gi_model.embodiment import Command, Embodiment


@dataclass(frozen=True)
class Habits:
    """smoothing: share of the old position that stays each tick; tremor: of the range, standard deviation."""

    delay_ticks: int = 2
    smoothing: float = 0.35
    tremor: float = 0.03


class Thumb:
    """One episode's hands. Commands are float32 (A,), in the embodiment's units."""

    def __init__(self, embodiment: Embodiment, habits: Habits | None = None, *, seed: int) -> None:
        self._body, self._habits = embodiment, habits or Habits()
        self._rng = random.Random(f"thumb {seed}")
        self._waiting: deque[Command] = deque([embodiment.neutral] * self._habits.delay_ticks)
        self._position = embodiment.neutral.copy()

    def move(self, wanted: Command) -> Command:
        """What the hands command in this tick, when the operator wants `wanted`."""
        self._waiting.append(wanted)
        share = 1.0 - self._habits.smoothing
        self._position = self._position + share * (self._waiting.popleft() - self._position)
        span = self._body.maximum - self._body.minimum
        trembling = self._position - self._body.neutral != 0  # a hand off the stick is still
        tremor = np.array([self._rng.gauss(0.0, self._habits.tremor) for _ in span], np.float32) * span * trembling
        return np.asarray(np.clip(self._position + tremor, self._body.minimum, self._body.maximum), np.float32)
