"""A shield at the body has its way, and what it did enters the policy's history."""

from typing import Any

import numpy as np
import pytest

from gi_data.envs import make_environment
from gi_data.envs.protocol import InputSpace, StepResult, box
from gi_data.envs.realtime import RealTimeEnvironment
from gi_data.envs.shielded import ShieldedEnvironment, make_shield
from gi_model.actions import Gamepad, InputState
from gi_model.errors import ConfigError
from gi_model.frames import Frame
from gi_model.shield import ClearanceShield
from gi_serve.client import SessionConfig
from gi_serve.play import play_episode
from tests.serve.fake_game import CountingGame
from tests.serve.fake_steppers import HistoryStepper
from tests.serve.pictures import HEIGHT, WIDTH, paint
from tests.serve.robot_bodies import rover
from tests.serve.serving import serving


class Corridor:
    """A body in a corridor: the clearance ahead swings from tick to tick; keeps what it was given."""

    name, fps, substeps = "corridor", 20.0, 1

    def __init__(self, num_ticks: int = 30) -> None:
        self.embodiment, self.num_ticks = rover(), num_ticks
        self.bindings = self.embodiment.bindings
        self.observation_space, self.action_space = box(HEIGHT, WIDTH), InputSpace(self.bindings)
        self.given: list[InputState] = []

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        self.given = []
        return paint(0), self._info()

    def step(self, state: InputState) -> StepResult:
        self.advance(state)
        return self.observe()

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        self.given.append(state)

    def observe(self) -> StepResult:
        return paint(len(self.given)), 0.0, len(self.given) >= self.num_ticks, False, self._info()

    def close(self) -> None:
        """Nothing to release."""

    def _info(self) -> dict[str, Any]:
        return {"score": 0.0, "clearance_m": 0.8 + 0.8 * np.sin(len(self.given))}


def test_the_history_is_that_of_a_player_who_was_told_what_was_done() -> None:
    body = Corridor()
    guarded = ShieldedEnvironment(body, ClearanceShield(body.embodiment, "drive"))
    with serving(HistoryStepper()) as running, running.session(seed=3) as session, running.session(seed=3) as told:
        play_episode(guarded, session, seed=3)
        given = body.given
        for tick, done in enumerate(given):
            asked = told.act(paint(tick)).state
            assert done.motion[0] == asked.motion[0]
            assert done.motion[1] <= asked.motion[1]  # slower ahead, or as asked
            told.execute(done)
    assert guarded.outcomes["replaced"] > 3
    assert guarded.outcomes["allowed"] > 3
    assert sum(guarded.outcomes.values()) == len(given) == 30


def test_in_real_time_too() -> None:
    body = Corridor()
    guarded = ShieldedEnvironment(body, ClearanceShield(body.embodiment, "drive", stop_m=5.0, slow_m=6.0))
    with serving(HistoryStepper()) as running, running.session(SessionConfig(embodiment=body.embodiment)) as session:
        play_episode(RealTimeEnvironment(guarded), session, seed=3)
    assert len(body.given) == 30
    assert all(state.motion[1] <= 0 for state in body.given)
    assert guarded.outcomes["replaced"] > 0


def test_a_rover_held_at_full_speed_does_not_touch_the_wall() -> None:
    ahead = InputState(gamepad=Gamepad(left_stick=(0.0, -1.0)))
    collisions = {}
    for is_guarded in (False, True):
        env = make_environment("robot/rover")
        if is_guarded:
            env = ShieldedEnvironment(env, make_shield("clearance", env))
        env.reset(seed=2)
        for _ in range(60):
            *_, info = env.step(ahead)
        collisions[is_guarded] = info["collisions"]
        env.close()
    assert collisions == {False: 1, True: 0}


def test_only_robots_have_shields() -> None:
    with pytest.raises(ConfigError, match="guards robots"):
        make_shield("clearance", CountingGame())
    with pytest.raises(ConfigError, match="no such shield"):
        make_shield("clearence", Corridor())
