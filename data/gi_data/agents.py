"""`Agent`: whoever plays: frames in, input states out. Named by a spec, so that one harness evaluates all of them.

    idle | random | demonstrator | policy:CHECKPOINT | http://HOST:PORT[?adapter=NAME]

Agents register under the entry-point group `gi.agents` by the part before the colon: a factory
`(spec: str, env: Environment) -> Agent`. A department above this one (serving), or a third party, adds its own without
being imported from here.
"""

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from gi_data.envs.protocol import Environment
from gi_model.actions import NEUTRAL, InputState
from gi_model.errors import ConfigError
from gi_model.frames import Frame

if TYPE_CHECKING:
    from gi_model.embodiment import Embodiment


class Agent(Protocol):
    """Plays episodes: `reset` before each, then `act` once a tick."""

    def reset(self, *, seed: int) -> None:
        """Forget the last episode; `seed` fixes all randomness of the next."""
        ...

    def act(self, frame: Frame) -> InputState:
        """The input state to hold after seeing `frame`."""
        ...

    def close(self) -> None:
        """Release what the agent holds. Idempotent."""
        ...


def make_agent(spec: str, env: Environment) -> Agent:
    """Build the agent that `spec` names for `env`. Raises ConfigError on an unknown name."""
    found = {entry.name: entry for entry in entry_points(group="gi.agents")}
    name = spec.partition(":")[0]
    if name not in found:
        raise ConfigError("unknown agent", got=spec, expected=" | ".join(sorted(found)))
    agent: Agent = found[name].load()(spec, env)
    return agent


def check_commands(body: "Embodiment | None", env: Environment) -> None:
    """Raise ConfigError if `env` has direct actuators, and a player for `body` does not command just those."""
    needed: Embodiment | None = getattr(env, "embodiment", None)  # None where the game is no robot
    names = () if needed is None else needed.command_space.names
    commanded = () if body is None else body.command_space.names
    if names and names != commanded:
        do = "Name an adapter that was made for this body; gi posttrain makes one."
        got, expected = ", ".join(commanded) or "no commands", ", ".join(names)
        raise ConfigError(f"nothing commands {env.name}", got=got, expected=expected, do=do)


class IdleAgent:
    """Holds nothing: the score a game gives for free."""

    def __init__(self, spec: str, env: Environment) -> None:
        del spec, env

    def reset(self, *, seed: int) -> None:
        """Nothing to forget."""

    def act(self, frame: Frame) -> InputState:
        """Nothing."""
        del frame
        return NEUTRAL

    def close(self) -> None:
        """Nothing held."""


class RandomAgent(IdleAgent):
    """Samples the game's action space anew every tick: the zero of the normalised score."""

    def __init__(self, spec: str, env: Environment) -> None:
        super().__init__(spec, env)
        self._space = env.action_space

    def reset(self, *, seed: int) -> None:
        """Seed the next episode's inputs."""
        self._space.seed(seed)

    def act(self, frame: Frame) -> InputState:
        """A uniform sample of the bound controls."""
        del frame
        return self._space.sample()
