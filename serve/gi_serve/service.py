"""`Service`: everything one server process holds: an engine and an intake a model, the metrics, the decode pool.

The routes and the streams speak to it; it knows nothing of HTTP.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from gi_model.errors import ConfigError
from gi_model.stepper import Stepper
from gi_serve.engine import Engine
from gi_serve.intake import Intake
from gi_serve.metrics import MetricsCollector, ModelMetrics
from gi_serve.outbox import CLOSE_GOING_AWAY, Outbox
from gi_serve.problems import MODEL_UNKNOWN, REQUEST_INVALID, SESSION_UNKNOWN, Problem
from gi_serve.sessions import Session

SWEEP_PERIOD_S: Final = 1.0
SECONDS_TO_SAY_GOODBYE: Final = 1.0


class Service:
    """The models of one server. Build anywhere; `start` and everything after it belong to the event loop's thread."""

    def __init__(self, steppers: Sequence[Stepper], *, idle_timeout_s: float = 60.0, decode_threads: int = 2) -> None:
        if len({stepper.name for stepper in steppers}) != len(steppers) or not steppers:
            raise ConfigError("models need names of their own", got=[stepper.name for stepper in steppers])
        self.outboxes: set[Outbox] = set()  # of every open connection
        self.pool = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self.engines = {
            stepper.name: Engine(stepper, ModelMetrics(), idle_timeout_s=idle_timeout_s) for stepper in steppers
        }
        self.metrics = MetricsCollector({name: engine.metrics for name, engine in self.engines.items()})
        self.intakes = {name: Intake(engine, self.pool) for name, engine in self.engines.items()}

    async def start(self) -> None:
        """Start the models' threads and the sweep of idle sessions."""
        for engine in self.engines.values():
            engine.start()
        self._sweep = asyncio.create_task(self._sweep_idle())

    async def stop(self) -> None:
        """End every session and thread."""
        self._sweep.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sweep
        for engine in self.engines.values():
            await engine.stop()
        self.pool.shutdown(wait=False, cancel_futures=True)

    async def drain(self) -> None:
        """Say goodbye: every session is told `going_away`, no new one is taken; wait until that is sent."""
        for engine in self.engines.values():
            engine.drain()
        for outbox in self.outboxes:
            outbox.close(CLOSE_GOING_AWAY)
        give_up = time.monotonic() + SECONDS_TO_SAY_GOODBYE
        while self.outboxes and time.monotonic() < give_up:
            await asyncio.sleep(0.01)

    @property
    def is_ready(self) -> bool:
        """Whether every model takes sessions."""
        return all(engine.is_ready for engine in self.engines.values())

    def find_engine(self, model: str | None) -> Engine:
        """The engine of `model`; None is fine where there is one. Raises Problem."""
        names = ", ".join(self.engines)
        if model is None and len(self.engines) > 1:
            raise Problem(REQUEST_INVALID, f"Name a model: {names}.")
        engine = self.engines.get(model) if model is not None else next(iter(self.engines.values()))
        if engine is None:
            raise Problem(MODEL_UNKNOWN, f"This server has: {names}.")
        return engine

    def find_session(self, session_id: str) -> tuple[Engine, Session]:
        """The session and its engine. Raises Problem."""
        for engine in self.engines.values():
            if (session := engine.sessions.get(session_id)) is not None:
                return engine, session
        raise Problem(SESSION_UNKNOWN, "It was closed, idle for too long, or never opened: POST /v1/sessions.")

    async def _sweep_idle(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_PERIOD_S)
            for engine in self.engines.values():
                engine.evict_idle()
