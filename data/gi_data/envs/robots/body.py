"""`Body`: what a robot adds to an arena: its MJCF, how commands move its motors, and where its camera is."""

from typing import Any, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from gi_data.envs.robots.arena import Rgb, Scale
from gi_model.embodiment import Embodiment

Vector = NDArray[np.float64]


class Body(Protocol):
    """A robot. One object plays many episodes: `begin` at each start."""

    embodiment: Embodiment
    scale: Scale
    target: Rgb  # colour of the balls it is to reach
    steps_per_tick: int  # of physics
    touches_floor: bool  # whether contact with the floor is how it moves, and no collision

    def xml(self, start: tuple[float, float, float]) -> tuple[str, str]:
        """Its MJCF at `start` (x, y, yaw): children of worldbody, and of actuator."""
        ...

    def begin(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Take hold of an episode's physics."""
        ...

    def drive(self, command: NDArray[np.float32]) -> None:
        """Set the motors for the next physics step towards `command`, in the embodiment's units."""
        ...

    @property
    def pose(self) -> tuple[Vector, float]:
        """Its centre, float64 (3,), and its heading in radians, counter-clockwise from the world's x axis."""
        ...

    def camera_pose(self) -> tuple[Vector, NDArray[Any]]:
        """Position (3,) and rotation (3, 3) of the camera; see `RayCamera.see`."""
        ...

    @property
    def is_lost(self) -> bool:
        """Whether it cannot go on: on its back."""
        ...
