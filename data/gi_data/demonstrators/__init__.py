"""Scripted demonstrators: players that read the game's state instead of its pixels, and play as a person would.

They only use what is on the screen, turn no faster than a wrist, and decide anew each tick, so that a policy can learn
from frames what they do. `make_demonstrator` is the agent "demonstrator" of `gi_data.agents`.
"""

from difflib import get_close_matches
from typing import TYPE_CHECKING

from gi_data.envs.protocol import Environment
from gi_data.envs.robots import list_robots
from gi_model.errors import ConfigError

if TYPE_CHECKING:
    from gi_data.agents import Agent

DEMONSTRATED_GAMES = (
    *("doom/defend_the_center", "doom/defend_the_line", "doom/gather", "doom/health_gathering_supreme"),
    *list_robots(),
)


def make_demonstrator(spec: str, env: Environment) -> "Agent":
    """Build the scripted player of `env`. Raises ConfigError for games that have none."""
    del spec
    if env.name not in DEMONSTRATED_GAMES:
        near = get_close_matches(env.name, DEMONSTRATED_GAMES, n=1, cutoff=0.0)
        do = f"Play it with random, human, or policy:CHECKPOINT, or record {near[0]}."
        raise ConfigError(f"no scripted demonstrator plays {env.name}", expected=" | ".join(DEMONSTRATED_GAMES), do=do)
    return _make_teleoperator(env) if env.name.startswith("robot/") else _make_doom_player(env)


def _make_teleoperator(env: Environment) -> "Agent":
    from gi_data.demonstrators.teleoperator import make_driver, make_pilot
    from gi_data.envs.robots.environment import RobotEnvironment

    if not isinstance(env, RobotEnvironment):
        raise _hidden(env)
    return make_pilot(env) if env.embodiment.name == "drone" else make_driver(env)


def _make_doom_player(env: Environment) -> "Agent":
    from gi_data.demonstrators.collector import TASTES, Collector
    from gi_data.demonstrators.shooter import Shooter
    from gi_data.envs.doom import DoomEnvironment

    if not isinstance(env, DoomEnvironment):
        raise _hidden(env)
    return Collector(env, TASTES[env.name]) if env.name in TASTES else Shooter(env)


def _hidden(env: Environment) -> ConfigError:
    return ConfigError(f"{env.name} hides its state", got=type(env).__name__, expected="the game itself, not a wrapper")
