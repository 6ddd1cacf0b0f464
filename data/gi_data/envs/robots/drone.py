"""`Drone`: a camera drone of 0.9 kg: four rotors that push, and a controller that turns velocities into their thrusts.

As in real camera drones, sticks ask for velocities and nobody flies the rotors by hand: the wanted acceleration becomes
a tilt and a thrust, the tilt becomes torques, and those become rotor thrusts, which have limits and lag 40 ms behind.
Air resists and blows a little (MuJoCo's own drag, a wind for each arena). The camera hangs in a gimbal: it follows the
heading and stays level.
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

MASS_KG: Final = 0.9
GRAVITY: Final = 9.81
ARM_M: Final = 0.11  # from the centre to a rotor, along x and along y
MAX_THRUST_N: Final = 5.0  # of a rotor; hovering takes 2.2
SPIN: Final = 0.02  # torque about the vertical for each newton of thrust, m
TILT_LIMIT: Final = math.radians(25)
CAMERA_PITCH_DEGREES: Final = 8.0  # downwards
START_M: Final = 1.5

_CORNERS: Final = ((1, 1, 1), (1, -1, -1), (-1, -1, 1), (-1, 1, -1))  # x, y, spin of each rotor
_MIXER: Final = np.linalg.inv(np.array([[1, y * ARM_M, -x * ARM_M, spin * SPIN] for x, y, spin in _CORNERS]).T)
_VELOCITY_GAIN: Final = np.array([3.0, 3.0, 6.0])  # 1/s
_TILT_GAIN, _TILT_DAMPING = 90.0, 18.0  # 1/s^2, 1/s
_YAW_GAIN: Final = 8.0  # 1/s


class Drone:
    """The flying body, driven as `drone.toml` says. See `gi_data.envs.robots.body.Body`."""

    scale = Scale(floor=2.0, height=3.5, ball_m=0.35, ball_heights_m=(0.8, 2.6))
    target: Rgb = (1.0, 0.45, 0.0)
    steps_per_tick = 10
    touches_floor = False

    def __init__(self) -> None:
        path = files("gi_data.envs.robots") / "drone.toml"
        self.embodiment = parse_embodiment(path.read_text(encoding="utf-8"), path.name)
        self._data: Any = None
        self._id = 0
        self._inertia = np.ones(3)

    def xml(self, start: tuple[float, float, float]) -> tuple[str, str]:
        """A frame in a round guard, and four rotors, each a force at its corner with a lag."""
        x, y, yaw = start
        rotors = "".join(
            f'<geom class="own" type="cylinder" size=".09 .012" pos="{cx * ARM_M} {cy * ARM_M} .02" mass=".05" '
            'contype="0" conaffinity="0"/>'
            f'<site name="rotor{index}" pos="{cx * ARM_M} {cy * ARM_M} .02"/>'
            for index, (cx, cy, _) in enumerate(_CORNERS)
        )
        body = (
            f'<body name="drone" pos="{x} {y} {START_M}" euler="0 0 {math.degrees(yaw)}"><freejoint/>'
            f'<geom class="own" type="box" size=".09 .06 .035" mass="{MASS_KG - 0.25}"/>'
            f'<geom class="own" type="cylinder" size=".21 .03" mass=".05" friction=".1" priority="1"/>{rotors}</body>'
        )
        motors = "".join(
            f'<general site="rotor{index}" gear="0 0 1 0 0 {spin * SPIN}" ctrlrange="0 {MAX_THRUST_N}" '
            'dyntype="filterexact" dynprm=".04" gainprm="1"/>'
            for index, (_, _, spin) in enumerate(_CORNERS)
        )
        return body, motors

    def begin(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Take hold of an episode's physics, rotors at hover."""
        self._data, self._id = data, model.body("drone").id
        self._inertia = model.body_inertia[self._id].copy()
        data.act[:] = MASS_KG * GRAVITY / 4

    def drive(self, command: NDArray[np.float32]) -> None:
        """Velocities in the heading's frame as rotor thrusts: acceleration, tilt, torque, thrust."""
        rotation = self._data.xmat[self._id].reshape(3, 3)
        yaw = math.atan2(rotation[1, 0], rotation[0, 0])
        ahead, left = np.array([math.cos(yaw), math.sin(yaw), 0]), np.array([-math.sin(yaw), math.cos(yaw), 0])
        wanted = command[0] * ahead + command[1] * left + np.array([0, 0, command[2]])
        push = _VELOCITY_GAIN * (wanted - self._data.qvel[:3]) + (0, 0, GRAVITY)  # wanted acceleration, and lift
        push[2] = max(push[2], 0.3 * GRAVITY)
        push[:2] *= min(1.0, math.tan(TILT_LIMIT) * push[2] / max(math.hypot(*push[:2]), 1e-9))
        thrust = MASS_KG * max(0.0, float(push @ rotation[:, 2]))
        lean = rotation.T @ np.cross(rotation[:, 2], push / np.linalg.norm(push))  # axis and sine of the error
        spin = self._data.qvel[3:6]  # of the body, in its own frame
        torque = self._inertia * (_TILT_GAIN * lean - _TILT_DAMPING * spin)
        torque[2] = self._inertia[2] * _YAW_GAIN * (command[3] - spin[2])
        self._data.ctrl[:] = (_MIXER @ (thrust, *torque)).clip(0.0, MAX_THRUST_N)

    @property
    def pose(self) -> tuple[Vector, float]:
        """Centre and heading."""
        rotation = self._data.xmat[self._id]
        return self._data.xpos[self._id].copy(), math.atan2(rotation[3], rotation[0])

    def camera_pose(self) -> tuple[Vector, NDArray[Any]]:
        """In a gimbal below the frame."""
        centre, yaw = self.pose
        pitch = math.radians(CAMERA_PITCH_DEGREES)
        cos, sin, c, s = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
        return centre - (0, 0, 0.06), np.array([[cos * c, -sin, cos * s], [sin * c, cos, sin * s], [-s, 0, c]])

    @property
    def is_lost(self) -> bool:
        """Whether it has turned over."""
        return bool(self._data.xmat[self._id][8] < 0.2)
