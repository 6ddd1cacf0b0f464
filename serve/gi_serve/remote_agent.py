"""`RemoteAgent`: a server as an `Agent`, so that the harness plays `http://HOST:PORT` like any player."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from gi_data.agents import check_commands
from gi_data.envs.protocol import Environment
from gi_model.actions import InputState
from gi_model.errors import ConfigError
from gi_model.frames import Frame
from gi_serve.client import Client, ModelInfo, Session, SessionConfig

RATE_TOLERANCE = 0.5  # ticks a second


class RemoteAgent:
    """Plays through one session; `act` waits for the answer. confidence: of the last action, by factor."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.confidence: Mapping[str, float] | None = None

    def reset(self, *, seed: int) -> None:
        """Start the stream anew with `seed`."""
        self.confidence = None
        self.session.reset(seed=seed)

    def act(self, frame: Frame) -> InputState:
        """The server's answer to `frame`. Raises ServeError when it is gone."""
        action = self.session.act(frame)
        self.confidence = action.confidence
        return action.state

    def close(self) -> None:
        """End the session. Idempotent."""
        self.session.close()


def make_remote_agent(spec: str, env: Environment) -> RemoteAgent:
    """The agent `http://HOST:PORT`, or `http://HOST:PORT?adapter=NAME` (also `model`).

    Raises ServeError without a server or a free slot, ConfigError on another rate, or body.
    """
    session = Client(spec).session(_read_settings(spec))
    try:
        check_rate(session.model, env)
        check_commands(session.embodiment, env)
    except ConfigError:
        session.close()
        raise
    return RemoteAgent(session)


def _read_settings(spec: str) -> SessionConfig:
    asked = dict(parse_qsl(urlsplit(spec).query, keep_blank_values=True))
    if odd := asked.keys() - {"adapter", "model"}:
        raise ConfigError("unknown setting of a remote agent", got=", ".join(sorted(odd)), expected="adapter | model")
    return SessionConfig(adapter=asked.get("adapter"), model=asked.get("model"), lockstep=True)


def check_rate(model: ModelInfo, env: Environment) -> None:
    """Raise ConfigError unless the game ticks as often as the games the model learned from."""
    if abs(model.fps - env.fps) > RATE_TOLERANCE:
        do = "Serve a model trained at this game's tick rate, or play a game that ticks at the model's."
        got, expected = f"{env.fps:g} ticks a second", f"{model.fps:g}"
        raise ConfigError(f"{env.name} ticks at another rate than {model.name}", got=got, expected=expected, do=do)
