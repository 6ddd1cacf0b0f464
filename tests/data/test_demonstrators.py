"""Demonstrators: they play well, as a person could, from what is on the screen; perturbing them keeps their intent."""

import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_data.agents import make_agent
from gi_data.demonstrators import DEMONSTRATED_GAMES, make_demonstrator
from gi_data.demonstrators.hand import Hand
from gi_data.demonstrators.perturbed import Bursts, Perturbation
from gi_data.envs import EVAL_SEED_START, make_environment
from gi_data.envs.protocol import Environment, InputSpace
from gi_model.actions import AxisBinding, Bindings, InputState
from gi_model.errors import ConfigError

# What a demonstrator must reach on average: the scores that a feasibility study's demonstrators had.
BARS = {"doom/defend_the_center": 21.0, "doom/gather": 17.0, "doom/health_gathering_supreme": 1355.0}
BINDINGS = Bindings({"forward": "KeyW", "attack": "MouseLeft"}, {"turn": AxisBinding("motion.x", 0.25)})
intents = st.builds(
    InputState,
    keys=st.sampled_from([frozenset[str](), frozenset({"KeyW"})]),
    buttons=st.sampled_from([frozenset[str](), frozenset({"MouseLeft"})]),
    motion=st.tuples(st.integers(-60, 60), st.just(0)),
)


def play(env: Environment, agent: str, *, seed: int) -> tuple[float, list[InputState]]:
    """Score of an episode, and what was done."""
    player = make_agent(agent, env)
    frame, info = env.reset(seed=seed)
    player.reset(seed=seed)
    inputs, is_over = [], False
    while not is_over:
        inputs.append(player.act(frame))
        frame, _, terminated, truncated, info = env.step(inputs[-1])
        is_over = terminated or truncated
    return float(info["score"]), inputs


@pytest.mark.slow  # ten episodes a game
@pytest.mark.parametrize("game", BARS)
def test_demonstrators_reach_the_bar_and_leave_random_far_behind(game: str) -> None:
    env = make_environment(game)
    seeds = range(EVAL_SEED_START, EVAL_SEED_START + 10)
    score = mean(play(env, "demonstrator", seed=seed)[0] for seed in seeds)
    chance = mean(play(env, "random", seed=seed)[0] for seed in seeds)
    env.close()
    assert score >= BARS[game]
    assert score > 2.5 * chance


@pytest.mark.parametrize("game", BARS)
def test_demonstrators_move_like_a_hand_and_press_only_what_the_game_uses(game: str) -> None:
    env = make_environment(game)
    _, inputs = play(env, "demonstrator", seed=1)
    _, again = play(env, "demonstrator", seed=1)
    env.close()
    assert inputs == again
    assert all(state in env.action_space for state in inputs)
    assert max(abs(state.motion[0]) for state in inputs) <= 64  # 16 degrees a tick
    assert len({state.motion[0] for state in inputs}) > 10
    assert len({state.held for state in inputs}) > 1


def test_a_game_without_a_demonstrator_is_refused_with_those_that_have_one() -> None:
    env = make_environment("doom/basic")
    with pytest.raises(ConfigError, match="doom/gather"):
        make_demonstrator("demonstrator", env)
    isolated = make_environment("doom/gather", isolated=True)
    with pytest.raises(ConfigError, match="hides its state"):
        make_demonstrator("demonstrator", isolated)
    isolated.close()


def test_every_demonstrated_game_exists() -> None:
    for game in DEMONSTRATED_GAMES:
        env = make_environment(game)
        player = make_demonstrator("demonstrator", env)
        frame, _ = env.reset(seed=1)
        player.reset(seed=1)
        assert player.act(frame) in env.action_space
        env.close()


@given(error=st.floats(-180, 180), seed=st.integers())
def test_the_hand_turns_towards_its_target_and_not_too_fast(error: float, seed: int) -> None:
    hand = Hand(tremor=0.0, jitter=0.0)
    counts = hand.turn(error, random.Random(seed))
    assert abs(counts) <= hand.limit
    assert counts * error >= 0
    assert abs(counts) * 0.25 <= abs(error) + 0.25


@given(intent=intents, seed=st.integers(0, 1000))
def test_without_a_burst_the_intent_is_executed(intent: InputState, seed: int) -> None:
    assert Perturbation(BINDINGS, seed=seed, bursts=Bursts(probability=0.0)).apply(intent) is intent


def test_bursts_come_as_often_and_last_as_long_as_they_should() -> None:
    intent = InputState(keys=frozenset({"KeyW"}))
    shove = Perturbation(BINDINGS, seed=1)
    executed = [shove.apply(intent) for _ in range(20000)]
    assert all(state in InputSpace(BINDINGS) for state in executed)
    moved = mean(state.motion[0] != 0 for state in executed)
    mean_length = 4.5
    assert moved == pytest.approx(0.04 * mean_length / (1 + 0.04 * (mean_length - 1)), rel=0.15)
    turns = [state.motion[0] * 0.25 for state in executed if state.motion[0]]
    assert (mean(turn**2 for turn in turns)) ** 0.5 == pytest.approx(9.0, rel=0.1)
    flipped = mean("KeyW" not in state.keys for state in executed) / moved
    assert flipped == pytest.approx(0.15, rel=0.35)
