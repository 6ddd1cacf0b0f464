"""`Rover`: a robot on two driven wheels, 0.4 m long, 6 kg, with a caster ball in front and behind.

Each wheel has a velocity servo with limited torque, so speed builds up over tenths of a second, wheels slip when asked
for too much, and a bumped obstacle pushes back. The firmware's part is one line: forward and turn become wheel speeds.
"""

import math
from importlib.resources import files
from typing import Any, Final

import mujoco
import numpy as np
from numpy.typing import NDArray

from gi_data.envs.robots.arena import Rgb, Scale
from gi_data.envs.robots.body import Vector
from gi_model.embodiment import parse_embodiment

WHEEL_M: Final = 0.1  # radius
TRACK_M: Final = 0.34  # between the wheels
CAMERA_M: Final = 0.34  # above the floor
PITCH_DEGREES: Final = 4.0  # the camera looks down by so much


class Rover:
    """The wheeled body, driven as `EMBODIMENT.toml` beside this file says. See `gi_data.envs.robots.body.Body`."""

    scale = Scale()
    target: Rgb = (0.1, 0.25, 0.95)
    steps_per_tick = 10
    touches_floor = True

    def __init__(self, embodiment: str = "rover") -> None:
        path = files("gi_data.envs.robots") / f"{embodiment}.toml"
        self.embodiment = parse_embodiment(path.read_text(encoding="utf-8"), path.name)
        self._data: Any = None
        self._id = 0

    def xml(self, start: tuple[float, float, float]) -> tuple[str, str]:
        """Chassis, wheels, casters, and two wheel servos."""
        x, y, yaw = start
        casters = "".join(
            f'<geom class="own" type="sphere" size=".04" pos="{at} 0 -.056" mass=".1" condim="1" priority="2"/>'
            for at in (0.16, -0.16)
        )
        wheels = "".join(
            f'<body name="{side}" pos="0 {place} 0"><joint name="{side}" axis="0 1 0" armature=".004" damping=".01"/>'
            f'<geom class="own" type="cylinder" size="{WHEEL_M} .02" euler="90 0 0" mass=".4" priority="1" '
            'friction=".9 .005 .0005"/></body>'
            for side, place in (("left", TRACK_M / 2), ("right", -TRACK_M / 2))
        )
        body = (
            f'<body name="rover" pos="{x} {y} {WHEEL_M}" euler="0 0 {math.degrees(yaw)}"><freejoint/>'
            f'<geom class="own" type="box" size=".2 .14 .06" pos="0 0 .06" mass="5" friction=".3"/>'
            f"{casters}{wheels}</body>"
        )
        servos = "".join(f'<velocity joint="{side}" kv="1.5" forcerange="-2.5 2.5"/>' for side in ("left", "right"))
        return body, servos

    def begin(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Take hold of an episode's physics."""
        self._data, self._id = data, model.body("rover").id

    def drive(self, command: NDArray[np.float32]) -> None:
        """Forward and turn as wheel speeds."""
        forward, turn = command.tolist()
        half = turn * TRACK_M / 2
        self._data.ctrl[:] = (forward - half) / WHEEL_M, (forward + half) / WHEEL_M

    @property
    def pose(self) -> tuple[Vector, float]:
        """Centre and heading."""
        rotation = self._data.xmat[self._id]
        return self._data.xpos[self._id].copy(), math.atan2(rotation[3], rotation[0])

    def camera_pose(self) -> tuple[Vector, NDArray[Any]]:
        """On a mast behind the middle, fixed to the chassis: it nods when the rover brakes."""
        rotation = self._data.xmat[self._id].reshape(3, 3)
        pitch = math.radians(PITCH_DEGREES)
        nod = np.array([[math.cos(pitch), 0, math.sin(pitch)], [0, 1, 0], [-math.sin(pitch), 0, math.cos(pitch)]])
        return self._data.xpos[self._id] + rotation @ (-0.1, 0.0, CAMERA_M - WHEEL_M), rotation @ nod

    @property
    def is_lost(self) -> bool:
        """Whether it lies on its back or side."""
        return bool(self._data.xmat[self._id][8] < 0.3)
