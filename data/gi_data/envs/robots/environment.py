"""`RobotEnvironment`: a simulated robot behind the `Environment` protocol: 160x120 RGB, 17.5 ticks a second.

Inputs become commands by the robot's embodiment, pass the safety envelope as they would on a real robot (so what is
recorded is what is driven later), and are executed by motors and physics. The score is balls reached, less a tenth for
each collision. An episode takes 30 s, or ends when the robot has turned over.
"""

import random
from dataclasses import replace
from typing import Any, Final

from gi_data.envs.protocol import InputSpace, StepResult, box
from gi_data.envs.robots.arena import Ranges
from gi_data.envs.robots.body import Body
from gi_data.envs.robots.camera import Picture, RayCamera
from gi_data.envs.robots.world import World
from gi_model.actions import InputState
from gi_model.envelope import Envelope
from gi_model.errors import GameError
from gi_model.frames import Frame

EPISODE_S: Final = 30.0
COLLISION_COST: Final = 0.1


class RobotEnvironment:
    """One robot. See `gi_data.envs.protocol.Environment`.

    `info` has "score", "reached", "collisions", "clearance_m" (nearest solid thing ahead; inf: none), and "command"
    (float32 (A,), in the embodiment's units, as executed).
    """

    def __init__(self, name: str, body: Body, ranges: Ranges) -> None:
        self.name, self._body, self._ranges = name, body, ranges
        self.embodiment = body.embodiment
        self.fps, self.substeps = self.embodiment.fps, 2
        self.bindings = self.embodiment.bindings
        self.camera = RayCamera(self.embodiment.camera.width, self.embodiment.camera.height)
        self.observation_space = box(self.camera.height, self.camera.width)
        self.action_space = InputSpace(self.bindings, embodiment=self.embodiment)
        self._world: World | None = None
        self._picture: Picture | None = None
        self._envelope = Envelope(self.embodiment)
        self._score_seen = 0.0

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Start an episode in an arena of its own; the same seed and inputs give the same frames."""
        seed = random.randrange(1 << 31) if seed is None else seed
        self._world, self._picture = World(seed, self._body, self._ranges), None
        self._envelope, self._score_seen = Envelope(self.embodiment), 0.0
        frame, _, _, _, info = self.observe()
        return frame, info

    def step(self, state: InputState) -> StepResult:
        """Play one tick."""
        for _ in range(self.substeps):
            self.advance(state)
        return self.observe()

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        """Half a tick of physics with `state` held: velocities, so `share` scales what the mouse asks for."""
        world = self.world
        if self._is_over:
            return
        num_steps = self._body.steps_per_tick // self.substeps
        target = self.embodiment.command(_scaled(state, share))
        world.advance(self._envelope.plan(target, num_steps, world.timestep_s).commands)
        self._picture = None

    def observe(self) -> StepResult:
        """The newest frame, the reward since the last `observe`, and whether the episode is over."""
        score = self._score()
        reward, self._score_seen = score - self._score_seen, score
        is_lost = self._body.is_lost
        return self.picture.rgb, reward, is_lost, self._is_over and not is_lost, self._info()

    def close(self) -> None:
        """Release the physics. Idempotent."""
        self._world = self._picture = None

    # ------------------------------------------------------------------ for scripted demonstrators

    @property
    def world(self) -> World:
        """The running episode. Raises GameError before `reset`."""
        if self._world is None:
            raise GameError(f"{self.name} is not running", do="Call reset() first.")
        return self._world

    @property
    def picture(self) -> Picture:
        """The newest frame with its depth and what is where in it."""
        if self._picture is None:
            self._picture = self.world.look(self.camera)
        return self._picture

    @property
    def _is_over(self) -> bool:
        return self._body.is_lost or self.world.time_s >= EPISODE_S - 1e-6

    def _score(self) -> float:
        return round(self.world.num_reached - COLLISION_COST * self.world.num_collisions, 6)

    def _info(self) -> dict[str, Any]:
        return {
            "score": self._score(),
            "reached": self.world.num_reached,
            "collisions": self.world.num_collisions,
            "clearance_m": self.world.clearance_m(self.camera, self.picture),
            "command": self._envelope.command,
        }


def _scaled(state: InputState, share: float) -> InputState:
    """`state` with a share of its motion, in whole counts."""
    if share == 1.0:
        return state
    dx, dy = (round(counts * share) for counts in state.motion)
    return replace(state, motion=(dx, dy))
