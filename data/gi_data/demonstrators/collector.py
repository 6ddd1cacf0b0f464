"""`Collector`: walks to the nearest visible thing it wants, around walls and what hurts; with none in view, explores.

Every decision follows from the screen: the headings it may take are those along which the view is free, the one nearest
to the goal wins, and without a goal the farthest view does, a little to the right, so that it looks around as it walks.
One thing is remembered: a turn on the spot keeps its direction until walking resumes. Without it, a corner with a way
out on either side held the player for good, swinging left and right.
"""

import math
import random
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gi_data.demonstrators import steering
from gi_data.demonstrators.hand import Hand
from gi_data.envs.doom import DoomEnvironment
from gi_data.envs.doom_sight import RAY_DEGREES, Sight, Thing
from gi_model.actions import InputState
from gi_model.frames import Frame

BODY: Final = 22.0  # map units: the player's radius and a margin
LOOKAHEAD: Final = 120.0  # how far a heading must be free
SHARP_DEGREES: Final = 30.0  # turn on the spot beyond this
MIN_PIXELS: Final = 32  # smaller things are a speck once the frame is halved
EXPLORE_DEGREES: Final = 8.0  # right of the centre
TURN_COUNTS: Final = 40  # away from a wall: 10 degrees a tick


@dataclass(frozen=True)
class Taste:
    """Names of things to collect and of things to keep `berth` map units away from."""

    wanted: frozenset[str]
    hurtful: frozenset[str] = frozenset()
    berth: float = 56.0


TASTES: Final[dict[str, Taste]] = {
    "doom/gather": Taste(frozenset({"Soulsphere", "Megasphere"})),
    "doom/health_gathering_supreme": Taste(frozenset({"CustomMedikit"}), frozenset({"Poison"})),
}


class Collector:
    """A demonstrator for games of collecting. Privileged: reads what is on the screen as names and distances."""

    def __init__(self, env: DoomEnvironment, taste: Taste, hand: Hand | None = None) -> None:
        self._env, self._taste, self._hand, self._rng = env, taste, hand or Hand(), random.Random()
        self._spin = 0  # -1, 1: turning on the spot that way
        env.reveal()

    def reset(self, *, seed: int) -> None:
        """Seed the hand's noise."""
        self._spin = 0
        self._rng = random.Random(f"collector {seed}")

    def act(self, frame: Frame) -> InputState:
        """Turn to the chosen heading and walk."""
        del frame
        sight = self._env.sight()
        if sight is None:
            return InputState()
        heading = self._heading(sight)
        if heading is not None and abs(heading) < SHARP_DEGREES:
            self._spin = 0
            return InputState(keys=frozenset({"KeyW"}), motion=(self._hand.turn(heading, self._rng), 0))
        self._spin = self._spin or (-1 if heading is not None and heading < 0 else 1)
        if heading is not None and heading * self._spin > 0:
            return InputState(motion=(self._hand.turn(heading, self._rng), 0))
        return InputState(motion=(self._hand.sweep(self._spin * TURN_COUNTS, self._rng), 0))

    def close(self) -> None:
        """Nothing held."""

    def _heading(self, sight: Sight) -> float | None:
        """Degrees off the view's centre to walk along; None where nothing in view is free."""
        goals = [t for t in sight.things if t.name in self._taste.wanted and t.pixels >= MIN_PIXELS]
        goal = min(goals, key=_cost, default=None)
        reach = min(LOOKAHEAD, goal.distance) if goal else LOOKAHEAD
        free = is_free(sight, reach) & ~self._is_hurtful(sight, goal)
        if not free.any():
            return None
        if goal is not None:
            errors = np.abs(RAY_DEGREES - goal.bearing)
            best = int(np.argmin(np.where(free, errors, np.inf)))
            return goal.bearing if errors[best] <= 2.0 else float(RAY_DEGREES[best])
        appeal = np.minimum(sight.ranges, 600.0) - 2.0 * np.abs(RAY_DEGREES - EXPLORE_DEGREES)
        return float(RAY_DEGREES[int(np.argmax(np.where(free, appeal, -np.inf)))])

    def _is_hurtful(self, sight: Sight, goal: Thing | None) -> NDArray[np.bool_]:
        """bool (R,): headings that lead into something hurtful before the goal."""
        blocked = np.zeros(len(RAY_DEGREES), dtype=bool)
        for thing in sight.things:
            if thing.name in self._taste.hurtful and thing.distance < min(240.0, goal.distance if goal else 240.0):
                half = math.degrees(math.asin(min(1.0, self._taste.berth / max(thing.distance, 1.0))))
                blocked |= np.abs(RAY_DEGREES - thing.bearing) < half
        return blocked


def is_free(sight: Sight, reach: float) -> NDArray[np.bool_]:
    """bool (R,): headings along which a body of radius `BODY` can walk `reach` map units."""
    return steering.is_free(RAY_DEGREES, sight.ranges, body=BODY, reach=reach)


def _cost(thing: Thing) -> float:
    """Nearer is better; a turn of 90 degrees costs as much as 300 map units."""
    return thing.distance + abs(thing.bearing) * 300 / 90
