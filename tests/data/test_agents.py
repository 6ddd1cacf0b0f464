"""Agents by name: idle does nothing, random is uniform over the game's controls and repeats by seed."""

from statistics import mean

import pytest

from gi_data.agents import IdleAgent, RandomAgent, make_agent
from gi_data.envs import make_environment
from gi_model.actions import NEUTRAL
from gi_model.errors import ConfigError


def test_agents_are_found_by_the_part_before_the_colon() -> None:
    env = make_environment("doom/gather")
    assert type(make_agent("idle", env)) is IdleAgent
    assert type(make_agent("random", env)) is RandomAgent
    with pytest.raises(ConfigError, match=r"demonstrator.*random"):
        make_agent("nobody:at home", env)
    env.close()


def test_idle_holds_nothing() -> None:
    env = make_environment("doom/gather")
    agent = make_agent("idle", env)
    frame, _ = env.reset(seed=1)
    agent.reset(seed=1)
    assert agent.act(frame) == NEUTRAL
    agent.close()
    env.close()


def test_random_holds_each_bound_control_half_the_time_and_repeats_by_seed() -> None:
    env = make_environment("doom/gather")
    agent = make_agent("random", env)
    frame, _ = env.reset(seed=1)
    agent.reset(seed=4)
    states = [agent.act(frame) for _ in range(2000)]
    agent.reset(seed=4)
    assert [agent.act(frame) for _ in range(2000)] == states
    for control in env.bindings.digital.values():
        assert mean(control in state.held for state in states) == pytest.approx(0.5, abs=0.05)
    assert abs(mean(state.motion[0] for state in states)) < 4
    assert {state.motion[1] for state in states} == {0}
    env.close()
