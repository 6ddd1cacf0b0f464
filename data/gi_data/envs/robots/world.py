"""`World`: one episode's physics: an arena, a body, and the ball that it is to reach next; collisions are counted.

The ball has no substance. It is a mocap body, so it can move to its next place without another model.
"""

import math
import random
from collections import deque
from typing import Any, Final

import mujoco
import numpy as np
from numpy.typing import NDArray

from gi_data.envs.robots.arena import Ranges, generate
from gi_data.envs.robots.body import Body, Vector
from gi_data.envs.robots.camera import HIDDEN_GROUP, Look, Picture, RayCamera
from gi_model.errors import GameError

REACH_M: Final = 0.3  # between a body's centre and the ball's surface
NEXT_BALL_M: Final = (1.2, 4.5)  # how far the next one is, times the arena's scale
SCRAPE_S: Final = 0.5  # touching for so long, or again within it, is one collision
AHEAD_DEGREES: Final = 15.0  # what `clearance_m` looks at, on either side
BALL_GROUP: Final = 2
_SOLID_GROUPS: Final = np.array([1, 1, 0, 0, 1, 1], np.uint8)  # neither the ball nor the body itself
_XML: Final = """
<mujoco><compiler angle="degree"/>
<option timestep="{timestep}" integrator="implicitfast" density="1.2" viscosity="0.00002" wind="{wind}"/>
<default><default class="solid"><geom friction=".4"/></default>
<default class="own"><geom group="{hidden}" rgba=".2 .2 .2 1"/></default></default>
<worldbody>{body}{arena}
<body name="ball" mocap="true">
<geom name="ball" group="{ball_group}" type="sphere" size="{ball_m}" rgba="{ball}" contype="0" conaffinity="0"/></body>
</worldbody><actuator>{actuators}</actuator></mujoco>"""


class World:
    """The episode of `seed`. Everything in it follows from seed and commands."""

    def __init__(self, seed: int, body: Body, ranges: Ranges) -> None:
        self.body, self._scale = body, body.scale
        self.arena = generate(seed, ranges, body.scale)
        self._rng = random.Random(f"world {seed}")
        self._model = mujoco.MjModel.from_xml_string(self._xml())
        self._data = mujoco.MjData(self._model)
        self._ball_id = self._model.geom("ball").id
        self._floor_id = self._model.geom("floor").id
        self._is_own = np.array(self._model.geom_group == HIDDEN_GROUP)
        self._harmless = {self._floor_id} if body.touches_floor else set()
        self._look = self._make_look()
        self._touched_s = -math.inf
        self.num_reached = self.num_collisions = 0
        body.begin(self._model, self._data)
        mujoco.mj_forward(self._model, self._data)
        self._move_ball()
        self._delay = round(body.embodiment.camera.latency_ms / 1e3 / self.timestep_s)  # in steps of physics
        self._views = deque([self._view()], maxlen=self._delay + 1)  # the oldest is what the camera gives now

    @property
    def time_s(self) -> float:
        """Since the start."""
        return float(self._data.time)

    @property
    def timestep_s(self) -> float:
        """Of physics."""
        return float(self._model.opt.timestep)

    def advance(self, commands: NDArray[np.float32]) -> None:
        """One step of physics under each of `commands`, float32 (N, A). Raises GameError if the physics broke down."""
        for command in commands:
            self.body.drive(command)
            mujoco.mj_step(self._model, self._data)
            self._feel()
            if self._delay:
                self._views.append(self._view())
        if self._data.warning[mujoco.mjtWarning.mjWARN_BADQACC].number:
            raise GameError("the physics broke down", got="an acceleration without end", do="Choose another seed.")
        if math.dist(self.body.pose[0], self._data.mocap_pos[0]) < REACH_M + self._scale.ball_m:
            self.num_reached += 1
            self._move_ball()

    def look(self, camera: RayCamera) -> Picture:
        """What the body's camera saw as long ago as its latency says."""
        position, rotation, ball = self._views[0] if self._delay else self._view()
        now = self.ball
        self._put_ball(ball)
        picture = camera.see(self._model, self._data, self._look, position=position, rotation=rotation)
        self._put_ball(now)
        return picture

    def _view(self) -> tuple[Vector, Vector, Vector]:
        """All that changes what is seen: the camera's position and rotation, and where the ball is."""
        position, rotation = self.body.camera_pose()
        return np.array(position), np.array(rotation), self.ball

    def _put_ball(self, place: Vector) -> None:
        if not np.array_equal(place, self._data.mocap_pos[0]):
            self._data.mocap_pos[0] = place
            mujoco.mj_kinematics(self._model, self._data)

    def clearance_m(self, camera: RayCamera, picture: Picture) -> float:
        """Distance of the nearest solid thing ahead, along the ground; the ball is none, nor is the floor."""
        ahead = np.abs(camera.bearings) <= AHEAD_DEGREES
        ids, depths = picture.geom_ids[:, ahead], picture.depth_m[:, ahead]
        solid = (ids >= 0) & (ids != self._floor_id) & (ids != self._ball_id)
        return float(np.min(depths, where=solid, initial=np.inf))

    def is_ball(self, picture: Picture) -> NDArray[np.bool_]:
        """bool (H, W): where the ball is in the picture."""
        return np.asarray(picture.geom_ids == self._ball_id)

    def is_floor(self, picture: Picture) -> NDArray[np.bool_]:
        """bool (H, W): where the floor is in the picture."""
        return np.asarray(picture.geom_ids == self._floor_id)

    @property
    def ball(self) -> Vector:
        """Where the ball is, float64 (3,)."""
        return np.array(self._data.mocap_pos[0])

    # ------------------------------------------------------------------ making it

    def _xml(self) -> str:
        body, actuators = self.body.xml(self.arena.start)
        timestep = 1.0 / self.body.embodiment.fps / self.body.steps_per_tick
        wind = f"{self._rng.gauss(0, 0.4):.3f} {self._rng.gauss(0, 0.4):.3f} 0"
        ball = " ".join(f"{part:.3f}" for part in self.body.target) + " 1"
        parts: dict[str, Any] = {"body": body, "arena": self.arena.xml, "actuators": actuators}
        return _XML.format(
            timestep=timestep,
            wind=wind,
            hidden=HIDDEN_GROUP,
            ball_group=BALL_GROUP,
            ball_m=self._scale.ball_m,
            ball=ball,
            **parts,
        )

    def _make_look(self) -> Look:
        is_ball = np.array([self._model.geom(index).type[0] == mujoco.mjtGeom.mjGEOM_SPHERE for index in self._geoms])
        contrast = np.where(is_ball, 0.0, 0.22).astype(np.float32)
        contrast[self._floor_id] = 0.35
        return Look(
            checker_m=np.full(len(self._geoms), self.arena.checker_m, np.float32),
            contrast=contrast,
            sky=np.array([0.35, 0.5, 0.75], np.float32),
            haze=np.array([0.78, 0.8, 0.82], np.float32),
            light=np.array(self.arena.light, np.float32),
        )

    @property
    def _geoms(self) -> range:
        return range(self._model.ngeom)

    # ------------------------------------------------------------------ while it runs

    def _feel(self) -> None:
        """Count a collision where the body begins to touch something solid."""
        pairs = self._data.contact.geom
        if len(pairs) == 0:
            return
        own = self._is_own[pairs]
        others = pairs[own[:, 0] != own[:, 1]][~own[own[:, 0] != own[:, 1]]]
        if any(other not in self._harmless for other in others.tolist()):
            self.num_collisions += self._data.time - self._touched_s > SCRAPE_S
            self._touched_s = self._data.time

    def _move_ball(self) -> None:
        """To a free place not too near and not too far, which the body could see from here if it turned."""
        here, _ = self.body.camera_pose()
        near, far = (distance * self._scale.floor for distance in NEXT_BALL_M)
        places = [place for place in self.arena.free if near <= math.dist(place, here[:2]) <= far]
        height = self._rng.uniform(*self._scale.ball_heights_m)
        self._rng.shuffle(places)
        places += self.arena.free[:1]  # if there is no better one
        balls = [(*place, height) for place in places]
        self._put_ball(np.array(next((ball for ball in balls if self._is_open(here, ball)), balls[-1])))

    def _is_open(self, here: Vector, there: tuple[float, float, float]) -> bool:
        """Whether nothing solid stands between two points."""
        way = np.array(there) - here
        met = mujoco.mj_ray(self._model, self._data, here, way, _SOLID_GROUPS, True, -1, None)
        return not 0 <= met <= 1
