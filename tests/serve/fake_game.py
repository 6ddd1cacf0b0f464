"""A game that shows how far it is and remembers what was held."""

from typing import Any

from gymnasium.spaces import Box

from gi_data.envs.protocol import InputSpace, StepResult, box
from gi_model.actions import NEUTRAL, Bindings, InputState
from gi_model.frames import Frame
from tests.serve.pictures import HEIGHT, WIDTH, paint


class CountingGame:
    """Frame t shows t; every tick is worth a point; what was held is kept by substep."""

    name, fps, substeps = "counting", 20.0, 2
    bindings = Bindings(digital={"forward": "KeyW"})

    def __init__(self, num_ticks: int = 30) -> None:
        self.observation_space: Box = box(HEIGHT, WIDTH)
        self.action_space = InputSpace(self.bindings)
        self.num_ticks = num_ticks
        self.held: list[InputState] = []
        self._is_closed = False

    @property
    def tick(self) -> int:
        return len(self.held) // self.substeps

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Start at 0."""
        self.held = []
        return paint(0), {"score": 0.0}

    def step(self, state: InputState) -> StepResult:
        """One tick."""
        for _ in range(self.substeps):
            self.advance(state)
        return self.observe()

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        """Half a tick."""
        assert not self._is_closed
        self.held.append(state)

    def observe(self) -> StepResult:
        """Frame t."""
        return paint(self.tick), 1.0, self.tick >= self.num_ticks, False, {"score": float(self.tick)}

    def close(self) -> None:
        """No more play."""
        self._is_closed = True

    @property
    def last_held(self) -> InputState:
        """What the game was played with most recently."""
        return self.held[-1] if self.held else NEUTRAL
