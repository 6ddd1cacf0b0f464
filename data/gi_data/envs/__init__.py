"""Games behind one protocol, made by name. Each engine is imported only when a game of it is made."""

from difflib import get_close_matches
from importlib.util import find_spec

from gi_data.envs.isolated import IsolatedEnvironment
from gi_data.envs.protocol import Environment, InputSpace, StepResult
from gi_data.envs.robots import UNSEEN, list_robots, make_robot
from gi_data.seeds import EVAL_SEED_START
from gi_model.errors import ConfigError, GameError

__all__ = [
    "EVAL_SEED_START",
    "Environment",
    "InputSpace",
    "StepResult",
    "is_held_out",
    "list_games",
    "make_environment",
]


def list_games() -> list[str]:
    """Names of the games that are installed; any other Gymnasium environment with rgb rendering is `gym/ENV_ID`."""
    games: list[str] = []
    try:
        from gi_data.envs.doom_scenarios import list_scenarios

        games += list_scenarios()
    except ImportError:
        pass
    if find_spec("mujoco") is not None:
        games += list_robots()
    try:
        from gi_data.envs.gym import list_environments

        games += list_environments()
    except ImportError:
        pass
    return games


def make_environment(name: str, *, isolated: bool = False) -> Environment:
    """Make the game called `name`; `isolated`: in a process of its own, whose crash is a GameError.

    Raises ConfigError on an unknown name, GameError if its engine is not installed.
    """
    if isolated:
        return IsolatedEnvironment(name)
    family = name.partition("/")[0]
    try:
        if family in ("doom", "freedoom"):
            return _make_doom(name)
        if name in list_robots():
            return make_robot(name)
        if family == "gym":
            from gi_data.envs.gym import GymEnvironment

            return GymEnvironment(name)
    except ImportError as error:
        do = f"pip install 'gi-model[{'robots' if family == 'robot' else 'games'}]'"
        raise GameError(f"the engine of {name} is not installed", got=error, do=do) from error
    raise unknown_game(name, list_games())


def is_held_out(name: str) -> bool:
    """Whether a game is kept for evaluation, and must not be recorded."""
    return name in list_robots() and name.endswith(UNSEEN)


def unknown_game(name: str, games: list[str]) -> ConfigError:
    """The error for a name that is no game, with the names nearest to it."""
    near = get_close_matches(name, games, n=3, cutoff=0.4) or games[:3]
    return ConfigError(
        "unknown game", got=repr(name), expected=f"a name like {', '.join(near)}", do="gi games lists all."
    )


def _make_doom(name: str) -> Environment:
    from gi_data.envs.doom import DoomEnvironment
    from gi_data.envs.doom_scenarios import list_scenarios

    if name not in (games := list_scenarios()):
        raise unknown_game(name, games)
    return DoomEnvironment(name)
