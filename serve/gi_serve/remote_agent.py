"""`RemoteAgent`: a server as an `Agent`, so that the harness plays `http://HOST:PORT` like any player."""

from gi_data.envs.protocol import Environment
from gi_model.actions import InputState
from gi_model.frames import Frame
from gi_serve.client import Client, Session


class RemoteAgent:
    """Plays through one session; `act` waits for the answer (with a running clock: call it from its own thread)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def reset(self, *, seed: int) -> None:
        """Start the stream anew with `seed`."""
        self._session.reset(seed=seed)

    def act(self, frame: Frame) -> InputState:
        """The server's answer to `frame`. Raises ServeError when it is gone."""
        return self._session.act(frame).state

    def close(self) -> None:
        """End the session. Idempotent."""
        self._session.close()


def make_remote_agent(spec: str, env: Environment) -> RemoteAgent:
    """The agent `http://HOST:PORT`. Raises ServeError if there is no server, or no free slot."""
    del env  # the server's model decides the size of its frames; every game takes input states
    return RemoteAgent(Client(spec).session())
