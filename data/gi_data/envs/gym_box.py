"""`BoxMap`: continuous actions of any Gymnasium task, driven through an embodiment: `gym/Pendulum-v1@FILE.toml`.

An embodiment's commands are the task's action vector, entry by entry, in the task's own units, held to both ranges.
Without a file the first four entries are put on the two sticks, up and right positive, at full range: enough to drive
most tasks by hand, and a start for a file of one's own (`Embodiment.to_toml`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from gi_model.actions import Bindings, InputState
from gi_model.embodiment import Actuator, Camera, Embodiment, Source, read_embodiment
from gi_model.errors import ConfigError

_STICKS: Final = (("left_stick.y", -1.0), ("right_stick.x", 1.0), ("left_stick.x", 1.0), ("right_stick.y", -1.0))
RATE_TOLERANCE: Final = 0.02


@dataclass(frozen=True)
class BoxMap:
    """Input states -> actions of a Box. Raises ConfigError unless the embodiment fits the space."""

    embodiment: Embodiment
    space: Box

    def __post_init__(self) -> None:
        body = self.embodiment
        if self.space.shape != (body.num_actuators,):
            got, expected = f"{body.num_actuators} actuators", f"one for each entry of {self.space}"
            raise ConfigError(f"embodiment {body.name} does not fit the task", got=got, expected=expected)
        outside = np.flatnonzero((body.neutral < self.space.low - 1e-6) | (body.neutral > self.space.high + 1e-6))
        if len(outside):
            actuator, index = body.actuators[outside[0]], int(outside[0])
            expected = f"{self.space.low[index]:g} to {self.space.high[index]:g}"
            raise ConfigError(f"neutral of {actuator.name} is no action", got=actuator.neutral, expected=expected)

    @property
    def bindings(self) -> Bindings:
        """The embodiment's."""
        return self.embodiment.bindings

    def action(self, state: InputState) -> NDArray[np.floating[Any]]:
        """The action of a state, in the space's own type."""
        body = self.embodiment
        command = np.clip(body.command(state), body.minimum, body.maximum)
        return np.clip(command, self.space.low, self.space.high).astype(self.space.dtype)

    def substeps(self, task_fps: float) -> int:
        """Steps of the task in a tick of the embodiment. Raises ConfigError unless that is a whole number."""
        ratio = task_fps / self.embodiment.fps
        if round(ratio) < 1 or abs(ratio / round(ratio) - 1) > RATE_TOLERANCE:
            got, expected = f"{self.embodiment.fps:g} Hz", f"{task_fps:g} Hz, or a whole part of it"
            raise ConfigError("the embodiment has another rate than the task", got=got, expected=expected)
        return round(ratio)


def make_box_map(space: Box, path: str, *, name: str, camera: Camera) -> BoxMap:
    """The map of the embodiment file `path`, or of sticks if that is empty, for the task `name`. Raises ConfigError."""
    return BoxMap(read_embodiment(Path(path)) if path else stick_embodiment(space, name=name, camera=camera), space)


def stick_embodiment(space: Box, *, name: str, camera: Camera) -> Embodiment:
    """Each entry of `space` on an axis of the sticks, over its whole range. Raises ConfigError if that cannot be."""
    if len(space.shape) != 1 or not 1 <= space.shape[0] <= len(_STICKS) or not space.is_bounded():
        do = "Write an embodiment.toml and add @FILE.toml to the name."
        raise ConfigError(f"{name} has no controls", got=space, expected="a bounded Box of 1 to 4 entries", do=do)
    ranges = zip(space.low.tolist(), space.high.tolist(), strict=True)
    actuators = tuple(_actuator(index, low, high, fps=camera.fps) for index, (low, high) in enumerate(ranges))
    return Embodiment(name, camera.fps, camera.fps, 5e3 / camera.fps, camera, actuators)


def _actuator(index: int, low: float, high: float, *, fps: float) -> Actuator:
    control, sign = _STICKS[index]
    neutral = min(max(0.0, low), high)
    source = Source(control, sign * max(high - neutral, neutral - low), deadband=0.1)
    return Actuator(f"action.{index}", "unit", neutral, low, high, 2 * (high - low) * fps, None, (source,))
