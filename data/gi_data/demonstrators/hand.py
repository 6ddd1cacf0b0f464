"""`Hand`: how a scripted demonstrator moves the mouse: in proportion to the error, bounded, never exactly.

No memory: each tick's motion follows from that tick's error alone, so a policy can learn it from the frame. A model of
the arm (acceleration limits, delays) was rejected: its state is not on the screen, and a policy that must guess it
learns to repeat its last action. Reaction time is the tick itself: what a frame shows is answered in the tick after it.
"""

import random
from dataclasses import dataclass

from gi_data.envs.doom_scenarios import DEGREES_PER_COUNT


@dataclass(frozen=True)
class Hand:
    """gain: share of the error corrected in a tick; limit: counts a tick; tremor: relative, jitter: absolute noise."""

    gain: float = 0.6
    limit: int = 48
    tremor: float = 0.05
    jitter: float = 0.3

    def turn(self, degrees: float, rng: random.Random) -> int:
        """Mouse counts of one tick towards a target `degrees` off the view's centre (right is positive)."""
        return self.sweep(self.gain * degrees / DEGREES_PER_COUNT, rng)

    def sweep(self, counts: float, rng: random.Random) -> int:
        """`counts` as the hand does them: limited, and noisy."""
        limited = max(-self.limit, min(self.limit, counts))
        return round(limited * rng.gauss(1.0, self.tremor) + rng.gauss(0.0, self.jitter))
