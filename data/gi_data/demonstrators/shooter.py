"""`Shooter`: turns to the nearest visible enemy and fires when it is in the sights; with none in view, turns right.

Always right, though sometimes the way back would be shorter: a direction that depends on the past cannot be read off a
frame.
"""

import math
import random
from typing import Final

from gi_data.demonstrators.hand import Hand
from gi_data.envs.doom import DoomEnvironment
from gi_data.envs.doom_sight import Thing
from gi_model.actions import InputState
from gi_model.frames import Frame

SEARCH_COUNTS: Final = 32  # 8 degrees a tick
ENEMY_RADIUS: Final = 16.0  # map units, narrower than any enemy
DEBRIS: Final = frozenset({"Blood", "BulletPuff"})
MIN_PIXELS: Final = 12  # smaller ones are hardly on the screen


class Shooter:
    """A demonstrator for games of aiming. Privileged: reads names and bearings of visible things."""

    def __init__(self, env: DoomEnvironment, hand: Hand | None = None) -> None:
        self._env, self._hand, self._rng = env, hand or Hand(), random.Random()
        env.reveal()

    def reset(self, *, seed: int) -> None:
        """Seed the hand's noise."""
        self._rng = random.Random(f"shooter {seed}")

    def act(self, frame: Frame) -> InputState:
        """Aim, fire when aimed."""
        del frame
        sight = self._env.sight()
        enemies = [thing for thing in sight.things if _is_enemy(thing)] if sight else []
        if not enemies:
            return InputState(motion=(self._hand.sweep(SEARCH_COUNTS, self._rng), 0))
        target = min(enemies, key=_cost)
        aimed = abs(target.bearing) < max(1.0, math.degrees(math.atan2(ENEMY_RADIUS, target.distance)))
        buttons = frozenset({"MouseLeft"}) if aimed else frozenset()
        return InputState(buttons=buttons, motion=(self._hand.turn(target.bearing, self._rng), 0))

    def close(self) -> None:
        """Nothing held."""


def _is_enemy(thing: Thing) -> bool:
    return thing.pixels >= MIN_PIXELS and thing.name not in DEBRIS


def _cost(thing: Thing) -> float:
    """Nearer is more urgent; a turn of 90 degrees costs as much as 300 map units."""
    return thing.distance + abs(thing.bearing) * 300 / 90
