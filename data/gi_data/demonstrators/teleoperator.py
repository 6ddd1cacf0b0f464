"""Teleoperators: scripted players of the robots, who drive towards the ball in view, around what stands in the way.

The driver of the rover is told where the ball is (the simulation's own names for pixels); the pilot of the drone has
the picture's numbers only: colours, and depth. Both decide from the newest picture alone, with no ball in view they
turn right until there is one, and both move the controls with a person's delay, smoothness, and tremor (`thumb`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from gi_data.demonstrators.steering import is_free
from gi_data.demonstrators.thumb import Thumb
from gi_data.envs.robots import drone, rover
from gi_data.envs.robots.environment import RobotEnvironment
from gi_data.envs.robots.sight import Sight, goal_by_colour, goal_by_name, read_sight
from gi_model.actions import InputState
from gi_model.embodiment import Command
from gi_model.frames import Frame


@dataclass(frozen=True)
class Style:
    """How to steer. body_m: half a width and a margin; look_ahead_m: how far a heading must be free.

    sharp_degrees: turn on the spot beyond; turn_gain: rad/s a radian; search: m/s and rad/s (to the right) without a
    goal in view.
    """

    body_m: float
    look_ahead_m: float
    sharp_degrees: float
    turn_gain: float
    search: tuple[float, float]


DRIVING: Final = Style(0.32, 1.1, 40.0, 3.0, (0.8, 1.9))
FLYING: Final = Style(0.45, 2.0, 40.0, 2.2, (0.4, 1.6))


class Teleoperator:
    """A demonstrator for robots: `see` reads the picture, `decide` says what is wanted, the thumb does it."""

    def __init__(
        self, env: RobotEnvironment, see: Callable[[], Sight], decide: Callable[[Sight], tuple[float, ...]]
    ) -> None:
        self._env, self._see, self._decide = env, see, decide
        self._thumb = Thumb(env.embodiment, seed=0)

    def reset(self, *, seed: int) -> None:
        """Hands off the controls."""
        self._thumb = Thumb(self._env.embodiment, seed=seed)

    def act(self, frame: Frame) -> InputState:
        """The input state of this tick."""
        del frame  # the environment has it, with its depth
        wanted: Command = np.array(self._decide(self._see()), np.float32)
        return self._env.embodiment.inputs(self._thumb.move(wanted))

    def close(self) -> None:
        """Nothing held."""


def make_driver(env: RobotEnvironment) -> Teleoperator:
    """The rover's teleoperator, told where the ball is."""

    def see() -> Sight:
        return read_sight(env, goal_by_name(env), pitch=rover.PITCH_DEGREES, height_m=math.inf)

    return Teleoperator(env, see, drive)


def make_pilot(env: RobotEnvironment) -> Teleoperator:
    """The drone's teleoperator, who knows the balloon by its colour."""

    def see() -> Sight:
        return read_sight(env, goal_by_colour(env.picture), pitch=drone.CAMERA_PITCH_DEGREES, height_m=0.45)

    return Teleoperator(env, see, fly)


def drive(sight: Sight) -> tuple[float, float]:
    """(linear.x, angular.z) of a rover."""
    bearing = heading(sight, DRIVING)
    if bearing is None:
        return search(sight, DRIVING)
    turn = -DRIVING.turn_gain * math.radians(bearing)
    return (0.0 if abs(bearing) > DRIVING.sharp_degrees else 1.5 * (1 - abs(bearing) / 90)), turn


def fly(sight: Sight) -> tuple[float, float, float, float]:
    """(linear.x, linear.y, linear.z, angular.z) of a drone."""
    bearing, goal = heading(sight, FLYING), sight.goal
    climb = 0.0 if goal is None else 1.2 * goal.distance_m * math.sin(math.radians(goal.elevation))
    climb = max(-1.0, min(1.0, climb))
    if bearing is None or goal is None:
        speed, turn = search(sight, FLYING)
        return speed, 0.0, climb, turn
    turn, near = -FLYING.turn_gain * math.radians(bearing), min(1.0, goal.distance_m / 4.0)
    speed = 0.0 if abs(bearing) > FLYING.sharp_degrees else (0.8 + 1.7 * near) * (1 - abs(bearing) / 60)
    return speed, 0.0, climb, turn


def heading(sight: Sight, style: Style) -> float | None:
    """Degrees to the right to go along: to the goal, or the free heading next to it; None: no goal, or no way."""
    if (goal := sight.goal) is None:
        return None
    reach = min(style.look_ahead_m, goal.distance_m)
    for share in (1.0, 0.6):  # with no way that far, look for one to come nearer
        free = is_free(sight.bearings, sight.ranges_m, body=style.body_m, reach=share * reach)
        if free.any():
            break
    else:
        return None
    off = np.where(free, np.abs(sight.bearings - goal.bearing), np.inf)
    best = int(np.argmin(off))
    return goal.bearing if off[best] <= 3.0 else float(sight.bearings[best])


def search(sight: Sight, style: Style) -> tuple[float, float]:
    """Forward and turn of a body that looks around: an arc to the right where there is room, back off a wall."""
    ahead = float(sight.ranges_m[np.abs(sight.bearings) < 25].min())
    speed, turn = style.search
    return (speed if ahead > 1.7 * style.look_ahead_m else -0.5 * speed if ahead < style.body_m + 0.1 else 0.0), -turn
