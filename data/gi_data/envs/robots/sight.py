"""`Sight`: a robot's picture as the few numbers that a scripted teleoperator steers by.

Only what is in the picture: balls behind walls are absent. The goal is found either by what the simulation knows of
each pixel (`goal_by_name`) or by colour alone (`goal_by_colour`), as a person would.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gi_data.envs.robots.camera import Picture
from gi_data.envs.robots.environment import RobotEnvironment

COLUMNS_A_RAY: Final = 4
FAR_M: Final = 20.0
MIN_PIXELS: Final = 8  # fewer vanish once the frame is halved
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Goal:
    """A ball in view. Degrees: right of the camera's axis, and above the level; distance along the ray."""

    bearing: float
    elevation: float
    distance_m: float


@dataclass(frozen=True, slots=True)
class Sight:
    """ranges_m float64 (R,): the nearest solid thing along each of `bearings`, degrees, right is positive."""

    bearings: Floats
    ranges_m: Floats
    goal: Goal | None


def read_sight(env: RobotEnvironment, is_goal: NDArray[np.bool_], *, pitch: float, height_m: float) -> Sight:
    """The sight of the newest picture. is_goal bool (H, W).

    pitch: degrees by which the camera looks down; height_m: how far above or below the camera a thing can hit the body.
    """
    picture, camera, world = env.picture, env.camera, env.world
    levels = np.radians(camera.elevations - pitch)[:, None]
    depths = np.minimum(picture.depth_m, FAR_M)
    in_way = (np.abs(depths * np.sin(levels)) < height_m) & (picture.geom_ids >= 0)
    in_way &= ~world.is_floor(picture) & ~world.is_ball(picture)
    flat = np.where(in_way, depths * np.cos(levels), FAR_M).min(axis=0)
    rays = flat.reshape(-1, COLUMNS_A_RAY).min(axis=1).astype(np.float64)
    bearings = camera.bearings.reshape(-1, COLUMNS_A_RAY).mean(axis=1).astype(np.float64)
    return Sight(bearings, rays, _goal(env, is_goal, pitch=pitch))


def goal_by_name(env: RobotEnvironment) -> NDArray[np.bool_]:
    """bool (H, W): pixels that the simulation knows to be the ball."""
    return env.world.is_ball(env.picture)


def goal_by_colour(picture: Picture) -> NDArray[np.bool_]:
    """bool (H, W): pixels of a strong orange, in light or shade; nothing else in an arena has it."""
    red, green, blue = (picture.rgb[..., index].astype(np.float32) for index in range(3))
    return np.asarray((red > 60) & (blue < 0.38 * red) & (red > 1.35 * green) & (green > 1.25 * blue))


def _goal(env: RobotEnvironment, is_goal: NDArray[np.bool_], *, pitch: float) -> Goal | None:
    if np.count_nonzero(is_goal) < MIN_PIXELS:
        return None
    rows, columns = np.nonzero(is_goal)
    return Goal(
        bearing=float(env.camera.bearings[columns].mean()),
        elevation=float(env.camera.elevations[rows].mean()) - pitch,
        distance_m=float(np.median(env.picture.depth_m[is_goal])),
    )
