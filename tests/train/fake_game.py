"""A small game for the harness's tests: fair, quick, and able to kill its process.

fake/steady          30 to 60 ticks by seed; a point for each tick with KeyW held
fake/mortal:FOLDER   kills its process at the first try of each odd seed, and leaves a mark in FOLDER
fake/doomed          kills its process always
fake/broken          raises an error that is no GiError
"""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from gi_data.agents import Agent, make_agent
from gi_data.envs.protocol import Environment, InputSpace, StepResult, box
from gi_model.actions import Bindings, InputState
from gi_model.frames import Frame
from gi_train.players import Makers


class FakeGame:
    def __init__(self, name: str) -> None:
        self.name = name
        self.fps = 20.0
        self.substeps = 2
        self.bindings = Bindings({"go": "KeyW"})
        self.observation_space = box(12, 16)
        self.action_space = InputSpace(self.bindings)

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        assert seed is not None
        self._perish(seed)
        self._length = 2 * int(np.random.default_rng(seed).integers(30, 61))
        self._substep, self._held, self._seen = 0, 0, 0.0
        return self._frame(), {"score": 0.0}

    def step(self, state: InputState) -> StepResult:
        for _ in range(self.substeps):
            self.advance(state)
        return self.observe()

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        if self._substep < self._length:
            self._substep += 1
            self._held += "KeyW" in state.keys

    def observe(self) -> StepResult:
        score = self._held / self.substeps
        reward, self._seen = score - self._seen, score
        is_over = self._substep >= self._length
        return self._frame(), reward, is_over, False, {"score": score}

    def close(self) -> None:
        pass

    def _frame(self) -> Frame:
        return np.full((12, 16, 3), self._substep % 256, dtype=np.uint8)

    def _perish(self, seed: int) -> None:
        kind, _, folder = self.name.removeprefix("fake/").partition(":")
        mark = Path(folder) / str(seed)
        if kind == "broken":
            raise ZeroDivisionError("a bug")
        if kind == "doomed" or (kind == "mortal" and seed % 2 and not mark.exists()):
            if folder:
                mark.touch()
            os._exit(139)


class SlowAgent:
    """Answers after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.confidence = {"keys": 0.5}

    def reset(self, *, seed: int) -> None:
        pass

    def act(self, frame: Frame) -> InputState:
        time.sleep(self._seconds)
        return InputState(keys=frozenset({"KeyW"}))

    def close(self) -> None:
        pass


def make_fake_game(name: str) -> Environment:
    return FakeGame(name)


def make_fake_agent(spec: str, env: Environment) -> Agent:
    kind, _, seconds = spec.partition(":")
    return SlowAgent(float(seconds)) if kind == "slow" else make_agent(spec, env)


MAKERS = Makers(environment=make_fake_game, agent=make_fake_agent)
