"""`Environment`: a game that takes input states and gives frames, under Gymnasium's names.

A tick of the policy is `substeps` steps of the game's own clock (Doom: 35 tics/s; two tics a tick make 17.5 Hz). `step`
is the lock-step mode: the game waits. `advance` moves the game by one substep, so that a wall clock can drive it
without waiting for anyone (`gi_data.envs.realtime`). Motion in an input state belongs to a whole tick, so each substep
gets an equal share.
"""

from dataclasses import replace
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from gi_model.actions import Bindings, InputState
from gi_model.actions.bindings import PAD_AXES, Axis, press_controls
from gi_model.embodiment import Embodiment
from gi_model.frames import Frame

StepResult = tuple[Frame, float, bool, bool, dict[str, Any]]  # frame, reward, terminated, truncated, info


class InputSpace(gymnasium.Space[InputState]):
    """All input states that use only the controls of `bindings`; `sample` is the random player.

    embodiment: the body, where the game is a robot; its direct actuators have commands.
    """

    def __init__(
        self,
        bindings: Bindings,
        max_motion: int = 60,
        seed: int | None = None,
        *,
        embodiment: Embodiment | None = None,
    ) -> None:
        super().__init__(seed=seed)
        self.bindings, self.max_motion = bindings, max_motion
        self._direct = () if embodiment is None else tuple(one for one in embodiment.actuators if one.is_direct)

    def sample(self, mask: Any = None, probability: Any = None) -> InputState:
        """Each bound control held with probability 1/2; axes uniform: +-max_motion counts, whole sticks, ranges."""
        del mask, probability
        held = frozenset(control for control in sorted(self.bindings.digital.values()) if self.np_random.random() < 0.5)
        state = press_controls(held, {axis: self._sample_axis(axis) for axis in self._axes()})
        return replace(state, commands=self._sample_commands()) if self._direct else state

    def _sample_axis(self, axis: Axis) -> float:
        if axis in PAD_AXES:
            return float(self.np_random.uniform(0.0 if axis.startswith("triggers") else -1.0, 1.0))
        if axis.startswith("wheel"):
            return float(self.np_random.integers(-1, 2))
        return float(self.np_random.integers(-self.max_motion, self.max_motion + 1))

    def _sample_commands(self) -> tuple[float, ...]:
        """Of direct actuators; float32, as every command is."""
        drawn = [self.np_random.uniform(actuator.minimum, actuator.maximum) for actuator in self._direct]
        return tuple(np.array(drawn, np.float32).tolist())

    def contains(self, x: Any) -> bool:
        """Whether `x` is an input state of bound controls only, with commands for all direct actuators or none."""
        if not isinstance(x, InputState) or len(x.commands) not in (0, len(self._direct)):
            return False
        return x == self.bindings.restrict(x)

    @property
    def is_np_flattenable(self) -> bool:
        """Input states are sets: no fixed numpy form (the action space has one)."""
        return False

    def _axes(self) -> list[Axis]:
        return [binding.axis for binding in self.bindings.analogue.values()]


class Environment(Protocol):
    """A game. `reset`, then `step` (lock-step) or `advance` + `observe` (driven by a clock), until it terminates."""

    name: str  # "doom/defend_the_center"
    fps: float  # ticks a second at the game's real speed
    substeps: int  # game steps in one tick
    bindings: Bindings
    observation_space: Box  # uint8 (H, W, 3)
    action_space: InputSpace

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Start an episode; the same seed and inputs give the same frames."""
        ...

    def step(self, state: InputState) -> StepResult:
        """Play one tick: `substeps` times `advance`, then `observe`."""
        ...

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        """Play one substep with `state` held and `share` / `substeps` of its motion; does nothing after the end."""
        ...

    def observe(self) -> StepResult:
        """The newest frame, the reward since the last `observe`, and whether the episode is over."""
        ...

    def close(self) -> None:
        """Release the game. Idempotent."""
        ...


def box(height: int, width: int) -> Box:
    """Observation space of an RGB screen."""
    return Box(low=0, high=255, shape=(height, width, 3), dtype=np.uint8)
