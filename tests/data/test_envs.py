"""Games behind the protocol: the same seed and inputs give the same frames, however the game is driven."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from gi_data.envs import EVAL_SEED_START, Environment, list_games, make_environment
from gi_data.envs.protocol import StepResult
from gi_model.actions import NEUTRAL, InputState
from gi_model.errors import ConfigError, GameError
from gi_model.frames import Frame

GAMES = [
    "doom/defend_the_center",
    "doom/gather",
    "doom/health_gathering_supreme",
    "freedoom/E1M1",
    "freedoom/MAP01",
    "gym/ALE/Breakout-v5",
]
NUM_TICKS = 40


def inputs_of(env: Environment, *, seed: int) -> list[InputState]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(NUM_TICKS)]


def play(env: Environment, inputs: list[InputState], *, seed: int) -> tuple[list[Frame], list[StepResult]]:
    frame, _ = env.reset(seed=seed)
    results = [env.step(state) for state in inputs]
    return [frame, *(result[0] for result in results)], results


def are_equal(some: list[Frame], others: list[Frame]) -> bool:
    return len(some) == len(others) and all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.fixture(params=GAMES)
def game(request: pytest.FixtureRequest) -> Iterator[Environment]:
    env = make_environment(request.param)
    yield env
    env.close()


def test_the_same_seed_and_inputs_give_the_same_frames_whatever_was_played_before(game: Environment) -> None:
    inputs = inputs_of(game, seed=1)
    first, results = play(game, inputs, seed=7)
    other, _ = play(game, inputs_of(game, seed=2), seed=8)
    again, results_again = play(game, inputs, seed=7)
    assert are_equal(first, again)
    assert [result[1:] for result in results] == [result[1:] for result in results_again]
    assert not are_equal(first, other)


def test_frames_and_inputs_are_in_the_spaces_that_the_game_states(game: Environment) -> None:
    frames, results = play(game, inputs_of(game, seed=3), seed=1)
    assert all(game.observation_space.contains(frame) for frame in frames)
    assert all(game.action_space.contains(state) for state in inputs_of(game, seed=3))
    assert all(isinstance(info["score"], float) for *_, info in results)
    assert game.name in list_games()


def test_advancing_by_substeps_and_observing_equals_a_step(game: Environment) -> None:
    inputs = inputs_of(game, seed=4)
    stepped, results = play(game, inputs, seed=5)
    frame, _ = game.reset(seed=5)
    advanced = [frame]
    for state, result in zip(inputs, results, strict=True):
        for _ in range(game.substeps):
            game.advance(state)
        seen = game.observe()
        assert seen[1:] == result[1:]
        advanced.append(seen[0])
    assert are_equal(stepped, advanced)


def test_a_closed_game_closes_again_and_can_be_played_anew() -> None:
    env = make_environment("doom/basic")
    first, _ = env.reset(seed=1)
    env.close()
    env.close()
    second, _ = env.reset(seed=1)
    assert np.array_equal(first, second)
    env.close()


@pytest.mark.parametrize("name", ["doom/defend_the_centre", "freedoom/MAP99", "gym/ALE/Breakot-v5", "quake/e1m1"])
def test_an_unknown_game_is_answered_with_names_near_to_it(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_environment(name)
    assert any(near in str(caught.value) for near in ("defend_the_center", "MAP09", "Breakout-v5", "doom/"))


def test_a_game_that_was_not_reset_says_so() -> None:
    env = make_environment("doom/basic")
    with pytest.raises(GameError, match="reset"):
        env.step(NEUTRAL)


def test_an_isolated_game_plays_the_same_game() -> None:
    here, there = make_environment("doom/gather"), make_environment("doom/gather", isolated=True)
    inputs = inputs_of(here, seed=6)
    try:
        frames, results = play(here, inputs, seed=3)
        frames_there, results_there = play(there, inputs, seed=3)
    finally:
        here.close()
        there.close()
    assert are_equal(frames, frames_there)
    assert [result[1:] for result in results] == [result[1:] for result in results_there]


def test_an_isolated_game_whose_process_dies_is_a_game_error_not_the_end_of_the_caller() -> None:
    env = make_environment("doom/basic", isolated=True)
    env.reset(seed=1)
    env._process.kill()  # type: ignore[attr-defined]
    with pytest.raises(GameError, match="died"):
        env.step(NEUTRAL)
    with pytest.raises(GameError, match="closed"):
        env.step(NEUTRAL)
    with pytest.raises(ConfigError, match="unknown game"):
        make_environment("doom/basik", isolated=True)


def test_importing_the_games_imports_no_engine() -> None:
    engines = ("vizdoom", "ale_py", "torch", "av")
    code = f"import sys, gi_data.envs, gi_data.agents; print([name for name in {engines} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"


def test_evaluation_seeds_leave_room_for_recording() -> None:
    assert EVAL_SEED_START >= 1_000_000
