"""`Perturbation`: shoves a demonstrator now and then and lets it recover; the label stays what it meant to do.

A demonstrator that never errs never shows how to come back. In a burst the executed input differs from the intent by a
random turn and flipped controls; the recording keeps the intent, which stays right for the frame it answers (DART,
Laskey et al. 2017, arXiv:1703.09327).
"""

import random
from dataclasses import dataclass, replace

from gi_model.actions import KEYS, Bindings, InputState


@dataclass(frozen=True)
class Bursts:
    """A tick begins a burst by `probability`; turn_degrees: deviation each tick; flips: share of the controls."""

    probability: float = 0.04
    ticks: tuple[int, int] = (2, 7)
    turn_degrees: float = 9.0
    flips: float = 0.15


class Perturbation:
    """Executed inputs of one episode's intents."""

    def __init__(self, bindings: Bindings, *, seed: int, bursts: Bursts | None = None) -> None:
        self._bindings, self._bursts = bindings, bursts or Bursts()
        self._rng = random.Random(f"perturbation {seed}")
        self._ticks_left = 0
        self._flipped: frozenset[str] = frozenset()

    def apply(self, intent: InputState) -> InputState:
        """What is executed this tick: `intent`, or in a burst something else."""
        if self._ticks_left == 0 and self._rng.random() < self._bursts.probability:
            self._ticks_left = self._rng.randint(*self._bursts.ticks)
            controls = sorted(self._bindings.digital.values())
            self._flipped = frozenset(control for control in controls if self._rng.random() < self._bursts.flips)
        if self._ticks_left == 0:
            return intent
        self._ticks_left -= 1
        held = intent.held ^ self._flipped
        motion = (intent.motion[0] + self._shove(), intent.motion[1])
        return replace(intent, keys=held & frozenset(KEYS), buttons=held - frozenset(KEYS), motion=motion)

    def _shove(self) -> int:
        """Mouse counts of a random turn; none where the mouse does not turn."""
        scales = [axis.scale for axis in self._bindings.analogue.values() if axis.axis == "motion.x"]
        return round(self._rng.gauss(0.0, self._bursts.turn_degrees) / scales[0]) if scales else 0
