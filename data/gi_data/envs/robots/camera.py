"""`RayCamera`: pictures by one ray a pixel into MuJoCo's own geometry. No graphics library, so it runs anywhere.

All rays of a frame are one call of `mj_multiRay`; what they hit becomes colour in a few array operations: the geom's
colour, light by the surface's normal, checkers fixed to the world (without texture a policy sees no motion), fog with
distance, and a sky that fades upwards. Depth comes for free. MuJoCo's renderer was rejected: it needs OpenGL, which
headless machines lack, and in software it made 84 frames a second of this size.
"""

from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np
from numpy.typing import NDArray

from gi_model.frames import Frame

HIDDEN_GROUP = 3  # geoms of the camera's own body
FAR_M = 60.0
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """How a world looks. checker_m, contrast: by geom id, float32 (G,); colours float32 (3,) in [0, 1]."""

    checker_m: Floats
    contrast: Floats
    sky: Floats  # straight up
    haze: Floats  # at the horizon, and of the fog
    light: Floats  # unit vector towards the light
    ambient: float = 0.55
    fog_m: float = 25.0


@dataclass(frozen=True)
class Picture:
    """What a camera saw. rgb uint8 (H, W, 3); depth_m float32 (H, W) along the ray, inf: sky; geom_ids, -1: sky."""

    rgb: Frame
    depth_m: Floats
    geom_ids: NDArray[np.int32]


class RayCamera:
    """A pinhole camera of `width` x `height` pixels, `fov_degrees` wide."""

    def __init__(self, width: int, height: int, *, fov_degrees: float = 90.0) -> None:
        self.width, self.height = width, height
        focal = 1.0 / np.tan(np.radians(fov_degrees) / 2)
        across = (np.arange(width) + 0.5) / width * 2 - 1
        up = (1 - (np.arange(height) + 0.5) / height * 2) * height / width
        rays = np.stack(np.broadcast_arrays(focal, -across[None], up[:, None]), axis=-1).reshape(-1, 3)
        self._rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)  # (N, 3): x ahead, y left, z up
        num = len(self._rays)
        self._geom_ids = np.empty(num, np.int32)
        self._depths, self._normals = np.empty(num), np.empty(3 * num)
        self._groups = np.array([index != HIDDEN_GROUP for index in range(6)], np.uint8)

    @cached_property
    def bearings(self) -> Floats:
        """Degrees of each column off the view's centre, right is positive, float32 (W,)."""
        middle = self._rays.reshape(self.height, self.width, 3)[self.height // 2]
        return np.asarray(np.degrees(np.arctan2(-middle[:, 1], middle[:, 0])), np.float32)

    @cached_property
    def elevations(self) -> Floats:
        """Degrees of each row off the view's centre, up is positive, float32 (H,)."""
        middle = self._rays.reshape(self.height, self.width, 3)[:, self.width // 2]
        return np.asarray(np.degrees(np.arctan2(middle[:, 2], middle[:, 0])), np.float32)

    def see(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        look: Look,
        *,
        position: NDArray[np.float64],
        rotation: NDArray[np.float64],
    ) -> Picture:
        """The picture from `position` (3,); rotation (3, 3): its axes (ahead, left, up) as columns."""
        rays = self._rays @ rotation.T
        mujoco.mj_multiRay(
            model, data, position, rays.reshape(-1), self._groups, True, -1,
            self._geom_ids, self._depths, self._normals, len(rays), FAR_M,
        )  # fmt: skip
        rays32, ids = rays.astype(np.float32), self._geom_ids.copy()
        depths = np.where(ids >= 0, self._depths, np.inf).astype(np.float32)
        colour = np.where(ids[:, None] >= 0, self._surface(model, look, rays32, depths, position), _sky(look, rays32))
        size = (self.height, self.width)
        rgb = (colour * 255.0).clip(0, 255).astype(np.uint8).reshape(*size, 3)
        return Picture(rgb, depths.reshape(size), ids.reshape(size))

    def _surface(
        self, model: mujoco.MjModel, look: Look, rays: Floats, depths: Floats, position: NDArray[np.float64]
    ) -> Floats:
        """Colours of what the rays hit, float32 (N, 3); anything where they hit nothing."""
        ids, near = self._geom_ids, np.where(np.isfinite(depths), depths, 0.0)
        normals = self._normals.astype(np.float32).reshape(-1, 3)
        lit = look.ambient + (1 - look.ambient) * np.maximum(normals @ look.light, 0.0)
        # A hair in front of the surface, so that rounding does not flip the checkers of a wall on a cell's edge.
        points = position.astype(np.float32) + rays * near[:, None] + normals * 0.003
        cells = np.floor(points / look.checker_m[ids][:, None]).sum(axis=1)
        contrast = look.contrast[ids] / (1 + (near / 8) ** 2)  # far checkers would only flicker
        shade = lit * (1 - contrast * (cells % 2))
        fog = np.exp(-near / look.fog_m)[:, None]
        return np.asarray(model.geom_rgba[ids, :3] * shade[:, None] * fog + look.haze * (1 - fog))


def _sky(look: Look, rays: Floats) -> Floats:
    up = np.maximum(rays[:, 2:], 0.0)
    return np.asarray(look.haze * (1 - up) + look.sky * up)
