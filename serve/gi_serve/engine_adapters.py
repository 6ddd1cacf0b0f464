"""`EngineAdapters`: the adapters of one engine, as its sessions see them: there, going, or gone.

The stepper holds the tensors and is touched between two steps only; what sessions may ask for is known here, on the
event loop's thread. An adapter that is going takes no new session; it is unloaded when its last one has ended.
"""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from gi_serve.problems import ADAPTER_EXISTS, ADAPTER_UNKNOWN, DRAINING, Problem

if TYPE_CHECKING:
    from gi_model.adapters import Adapter, AdapterConfig
    from gi_serve.engine import Engine
    from gi_serve.sessions import Session


class EngineAdapters:
    """Belongs to the event loop's thread."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._configs = dict(engine.stepper.adapters)
        self._coming: set[str] = set()
        self._going: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._configs

    @property
    def configs(self) -> "Iterable[AdapterConfig]":
        """Every adapter, those that are going included; named as they are served."""
        return self._configs.values()

    def is_going(self, name: str) -> bool:
        """Whether it takes no new sessions."""
        return name in self._going

    def for_session(self, name: str | None) -> "AdapterConfig | None":
        """What a new session is to play with. Raises Problem if there is no such adapter, or not for long."""
        if name is None:
            return None
        model = self._engine.stepper.name
        if name not in self._configs:
            raise Problem(ADAPTER_UNKNOWN, f"{model} has: {', '.join(self._configs) or 'none'}.")
        if name in self._going:
            raise Problem(DRAINING, f"The adapter {name} is being unloaded: choose another.", retry_after_s=5)
        return self._configs[name]

    async def add(self, adapter: "Adapter", name: str) -> "AdapterConfig":
        """Load `adapter` as `name` while others play.

        Raises Problem if the name is taken or the model is going, and what the stepper raises: BaseMismatchError for
        an adapter of another model above all.
        """
        if self._engine.is_draining:
            raise Problem(DRAINING, f"{self._engine.stepper.name} is being unloaded.", retry_after_s=5)
        if name in self._configs or name in self._coming:
            raise Problem(ADAPTER_EXISTS, f"Choose another name, or DELETE /v1/adapters/{name} first.")
        self._coming.add(name)
        try:
            await self._engine.between_steps(partial(self._engine.stepper.add_adapter, adapter, name))
        finally:
            self._coming.discard(name)
        config = self._configs[name] = self._engine.stepper.adapters[name]
        return config

    def add_before_start(self, adapter: "Adapter", name: str) -> None:
        """Load `adapter` as `name` while nobody plays. Raises GiError."""
        self._engine.stepper.add_adapter(adapter, name)
        self._configs[name] = self._engine.stepper.adapters[name]

    def let_go(self, name: str) -> bool:
        """Take no new session with it; whether it was not going before."""
        is_new = name not in self._going
        self._going.add(name)
        return is_new

    def sessions_of(self, name: str) -> "list[Session]":
        """Open sessions that play with it."""
        return [session for session in self._engine.sessions.values() if session.options.adapter == name]

    async def remove(self, name: str) -> None:
        """End the sessions that still play with it, and unload it, unless all of the model goes."""
        for session in self.sessions_of(name):
            self._engine.close_session(session, reason="going_away")
        if self._engine.is_draining:
            return
        await self._engine.between_steps(partial(self._engine.stepper.remove_adapter, name))
        del self._configs[name]
        self._going.discard(name)
        for counter in (self._engine.metrics.adapter_sessions, self._engine.metrics.adapter_frames):
            counter.pop(name, None)

    def count_sessions(self, session: "Session", change: int) -> None:
        """A session was opened or closed."""
        if session.options.adapter is not None:
            self._engine.metrics.adapter_sessions[session.options.adapter] += change
