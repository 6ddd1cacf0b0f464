"""`CommandSpace`: commands of direct actuators as levels, the classes of an adapter's command head, and back.

An actuator's levels lie evenly over its range, and the one next to neutral is neutral itself, so that a body told to
rest does. Commands are continuous; levels are what a model can put a probability on, several at once where a
demonstrator may go left or right (as the action tokens of mouse motion do). numpy only.

A direct actuators, L levels of the finest.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from gi_model.errors import ActionError

if TYPE_CHECKING:
    from gi_model.actuators import Actuator

MIN_LEVELS: Final = 3
MAX_LEVELS: Final = 1025


class CommandSpace:
    """Levels of `actuators`, all of them direct."""

    def __init__(self, actuators: "Sequence[Actuator]") -> None:
        self.names = tuple(actuator.name for actuator in actuators)
        self._grids = [grid_of(actuator) for actuator in actuators]

    def __len__(self) -> int:
        return len(self._grids)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of levels of each actuator."""
        return tuple(len(grid) for grid in self._grids)

    @cached_property
    def grid(self) -> NDArray[np.float32]:
        """Level -> command, float32 (A, L), in the actuators' units; NaN where one has fewer levels."""
        grid = np.full((len(self), max(self.sizes, default=0)), np.nan, np.float32)
        for row, levels in zip(grid, self._grids, strict=True):
            row[: len(levels)] = levels
        return grid

    def encode(self, commands: NDArray[np.floating]) -> NDArray[np.int64]:
        """The nearest levels, int64 (..., A), of commands (..., A). Raises ActionError on another number of them."""
        if commands.shape[-1] != len(self):
            raise ActionError("not the commands of this body", got=commands.shape, expected=f"(..., {len(self)})")
        levels = np.zeros(commands.shape, np.int64)
        for index, grid in enumerate(self._grids):
            edges = (grid[1:] + grid[:-1]) / 2
            levels[..., index] = np.searchsorted(edges, commands[..., index])
        return levels

    def decode(self, levels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Inverse of `encode`: float32 (..., A)."""
        return self.grid[np.arange(len(self)), levels]


def grid_of(actuator: "Actuator") -> NDArray[np.float64]:
    """Commands of a direct actuator's levels, ascending, float (L,)."""
    assert actuator.levels is not None
    grid = np.linspace(actuator.minimum, actuator.maximum, actuator.levels)
    grid[np.abs(grid - actuator.neutral).argmin()] = actuator.neutral
    return grid
