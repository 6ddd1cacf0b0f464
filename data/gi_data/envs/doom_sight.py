"""`Sight`: what the Doom player has on the screen, as numbers, for scripted demonstrators.

Privileged only in form: names and distances instead of pixels. Things behind walls or outside the field of view are
absent, so that whatever a demonstrator decides from a sight can be learned from the frame it stands for.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gi_data.envs.doom_engine import DoomEngine

RAY_DEGREES: Final[NDArray[np.float64]] = np.linspace(-44.0, 44.0, 45)
FAR: Final = 4096.0  # map units, for rays that meet no wall

Walls = NDArray[np.float64]  # (N, 4): x1, y1, x2, y2 of lines that block the player


@dataclass(frozen=True, slots=True)
class Thing:
    """A visible object. distance: map units; bearing: degrees, right is positive; pixels: area on the screen."""

    name: str
    distance: float
    bearing: float
    pixels: int


@dataclass(frozen=True, slots=True)
class Sight:
    """Visible things, and the distance to the next wall, float64 (45,), along `RAY_DEGREES` (right is positive)."""

    things: tuple[Thing, ...]
    ranges: NDArray[np.float64]


def read_walls(state: Any) -> Walls:
    """The map's blocking lines."""
    lines = {
        (line.x1, line.y1, line.x2, line.y2) for sector in state.sectors for line in sector.lines if line.is_blocking
    }
    return np.array(sorted(lines), dtype=np.float64).reshape(-1, 4)


def read_sight(engine: DoomEngine, state: Any, walls: Walls) -> Sight:
    """The sight of a ViZDoom state."""
    x, y, angle = (engine.variable(name) for name in ("POSITION_X", "POSITION_Y", "ANGLE"))
    things = []
    for label in state.labels:
        ahead_x, ahead_y = label.object_position_x - x, label.object_position_y - y
        distance, bearing = math.hypot(ahead_x, ahead_y), wrap(angle - math.degrees(math.atan2(ahead_y, ahead_x)))
        if label.object_name != "DoomPlayer" and 0 <= label.x < engine.width:
            things.append(Thing(label.object_name, distance, bearing, int(label.width * label.height)))
    return Sight(tuple(things), cast_rays(np.array([x, y]), np.radians(angle - RAY_DEGREES), walls))


def cast_rays(origin: NDArray[np.float64], angles: NDArray[np.float64], walls: Walls) -> NDArray[np.float64]:
    """Distance from `origin` (2,) to the first wall along each of `angles` (R,) in radians, float64 (R,)."""
    start, edge = walls[:, :2] - origin, walls[:, 2:] - walls[:, :2]
    ahead = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None]  # (R, 1, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        across = _cross(ahead, edge[None])
        along_ray, along_wall = _cross(start, edge)[None] / across, _cross(start[None], ahead) / across
    hits = (along_ray > 0) & (along_wall >= 0) & (along_wall <= 1)
    return np.asarray(np.min(np.where(hits, along_ray, FAR), axis=1, initial=FAR))


def wrap(degrees: float) -> float:
    """The same angle in [-180, 180)."""
    return (degrees + 180.0) % 360.0 - 180.0


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
