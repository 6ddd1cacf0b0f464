"""`Service`: everything one server process holds: an engine and an intake a model, the metrics, the decoders.

The routes and the streams speak to it; it knows nothing of HTTP. Models come and go while it runs; the sessions of
the others do not notice.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from gi_model.errors import ConfigError
from gi_model.shield import Shield
from gi_model.stepper import Stepper
from gi_serve.access import ANYONE, Access, Caller
from gi_serve.decoders import Decoders
from gi_serve.engine import RESUME_TIMEOUT_S, Engine, EngineConfig
from gi_serve.intake import Intake
from gi_serve.limits import Bucket
from gi_serve.logs import tag_of
from gi_serve.metrics import MetricsCollector, ModelMetrics, ServerMetrics
from gi_serve.model_loading import ModelLoader
from gi_serve.play_uploads import PlayUploads
from gi_serve.problems import (
    MODEL_EXISTS,
    MODEL_UNKNOWN,
    REQUEST_INVALID,
    RESUME_REFUSED,
    SESSION_UNKNOWN,
    SESSIONS_OF_KEY,
    Problem,
)
from gi_serve.recorder import Recorder
from gi_serve.served_adapters import ServedAdapters
from gi_serve.sessions import Session, SessionOptions, Sink
from gi_serve.step_times import StepTimes

if TYPE_CHECKING:
    from gi_serve.schemas import StreamResume
    from gi_serve.tracing import StepTracer

SWEEP_PERIOD_S: Final = 1.0
LAG_PERIOD_S: Final = 0.25
SECONDS_TO_SAY_GOODBYE: Final = 1.0
logger = logging.getLogger("gi_serve")


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """Settings of a server. idle_timeout_s: a session silent for longer loses its slot."""

    idle_timeout_s: float = 60.0
    decode_threads: int = 2
    resume_timeout_s: float = RESUME_TIMEOUT_S  # how long a session outlives its connection; 0: not at all
    play_dir: Path | None = None  # where pages may record how people play; None: nowhere
    record_dir: Path | None = None  # where to write every session as it is played; None: nothing is kept
    admits_late: bool = False  # take sessions while there are slots, though they make others late
    has_pages: bool = True  # the playground, the game, and who may watch sessions
    shield: Shield | None = None  # judges the actions of robots
    recap: tuple[socket.socket, ...] = ()  # listening sockets for open-p2p's capture tool
    drain_s: float = 0.0  # how long sessions still play once the server, or their model, is to go


class Connected(Protocol):
    """A connection that is told when the server, or its model, goes."""

    def go_away(self, grace_s: float, engine: Engine | None = None, adapter: str | None = None) -> None:
        """`engine`, or all of the server, ends in so many seconds."""
        ...

    def end(self) -> None:
        """Close once everything is sent."""
        ...


class Service:
    """The models of one server. Build anywhere; `start` and everything after it belong to the event loop's thread."""

    def __init__(
        self,
        steppers: Sequence[Stepper],
        *,
        config: ServiceConfig | None = None,
        access: Access | None = None,
        loader: ModelLoader | None = None,
        tracer: "StepTracer | None" = None,
    ) -> None:
        self.config, self.access = config or ServiceConfig(), access or Access()
        self.loader, self.tracer = loader or ModelLoader(), tracer
        self.connections: set[Connected] = set()  # every open WebSocket
        self.decoders = Decoders(self.config.decode_threads)
        self.engines: dict[str, Engine] = {}
        self.intakes: dict[str, Intake] = {}
        self.adapters = ServedAdapters(self.engines, self.loader, self._say_goodbye)
        self.is_draining = False
        self.server_metrics = ServerMetrics()
        self.metrics = MetricsCollector(self.server_metrics, lambda: {n: e.metrics for n, e in self.engines.items()})
        self._unloading: dict[str, asyncio.Task[None]] = {}
        self.uploads = PlayUploads(self.config.play_dir) if self.config.play_dir is not None else None
        self._recorder = Recorder(self.config.record_dir) if self.config.record_dir is not None else None
        for stepper in steppers:
            self.add_model(stepper)

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """Start the models' threads, the sweep of idle sessions, and the watch over the loop."""
        if self._recorder is not None:
            self._recorder.start()
        if self.uploads is not None:
            self.uploads.start()
        self.decoders.start()
        for engine in self.engines.values():
            engine.start()
        self._tasks = [asyncio.create_task(self._sweep()), asyncio.create_task(self._watch_lag())]

    async def stop(self) -> None:
        """End every session and thread."""
        for task in (*self._tasks, *self._unloading.values(), *self.adapters.unloading):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for engine in list(self.engines.values()):
            await engine.stop()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.stop)
        if self.uploads is not None:
            await self.uploads.stop()
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.stop)
        self.decoders.stop()

    async def drain(self, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Say goodbye: not ready from now on; tell every stream, let it play for `drain_s`, then close it.

        Ends as soon as nobody plays, or `is_urgent` comes true.
        """
        self.is_draining = True
        logger.info("draining: %d players have %g s", self.num_players, self.config.drain_s)
        for engine in self.engines.values():
            engine.is_draining = True
        for connection in list(self.connections):
            connection.go_away(self.config.drain_s)
        await _wait(lambda: not self.num_players or is_urgent(), self.config.drain_s)
        for engine in self.engines.values():
            engine.drain()
        for connection in self.connections:
            connection.end()
        await _wait(lambda: not self.connections or is_urgent(), SECONDS_TO_SAY_GOODBYE)

    @property
    def is_ready(self) -> bool:
        """Whether new sessions are taken: there is a model, and none has failed."""
        engines = self.engines.values()
        is_whole = all(engine.is_ready or engine.is_draining for engine in engines)
        return not self.is_draining and is_whole and any(engine.is_ready for engine in engines)

    # ------------------------------------------------------------------ models

    def find_engine(self, model: str | None) -> Engine:
        """The engine of `model`; None is fine where there is one. Raises Problem."""
        names = ", ".join(self.engines) or "none yet"
        if model is not None and model in self.engines:
            return self.engines[model]
        if model is not None or not self.engines:
            raise Problem(MODEL_UNKNOWN, f"This server has: {names}.")
        staying = [engine for engine in self.engines.values() if not engine.is_draining] or list(self.engines.values())
        if len(staying) > 1:
            raise Problem(REQUEST_INVALID, f"Name a model: {names}.")
        return staying[0]

    async def load_model(self, name: str, path: str) -> Engine:
        """Load the checkpoint `path` as `name`, warm it up, then serve it. Raises Problem; the others play on."""
        if name in self.engines:
            raise Problem(MODEL_EXISTS, f"Choose another name, or DELETE /v1/models/{name} first.")
        loaded = await asyncio.to_thread(self.loader.load_for_client, name, path)
        if name in self.engines:  # somebody else was faster
            raise Problem(MODEL_EXISTS)
        engine = self.add_model(loaded.stepper, loaded.times)
        engine.start()
        logger.info("serving %s, fingerprint %s", name, loaded.stepper.fingerprint)
        return engine

    def unload_model(self, name: str) -> Engine:
        """Drain `name`: its sessions play on for `drain_s`, then it is gone. Raises Problem."""
        engine = self.find_engine(name)
        engine.is_draining = True
        if name not in self._unloading:
            self._unloading[name] = asyncio.create_task(self._unload(name, engine))
        return engine

    async def _unload(self, name: str, engine: Engine) -> None:
        for connection in list(self.connections):
            connection.go_away(self.config.drain_s, engine)
        await _wait(lambda: not engine.sessions, self.config.drain_s)
        await engine.stop()
        del self.engines[name], self.intakes[name], self._unloading[name]
        logger.info("unloaded %s", name)

    async def _say_goodbye(self, engine: Engine, adapter: str) -> None:
        """Tell the streams that play with `adapter`, and let them play on for `drain_s`."""
        for connection in list(self.connections):
            connection.go_away(self.config.drain_s, engine, adapter)
        await _wait(lambda: not engine.adapters.sessions_of(adapter), self.config.drain_s)

    def add_model(self, stepper: Stepper, times: StepTimes | None = None) -> Engine:
        """An engine for `stepper`, not started yet. Raises ConfigError if the name is taken."""
        if stepper.name in self.engines:
            do = "Name them: gi serve NAME=PATH NAME2=PATH2"
            raise ConfigError("models need names of their own", got=stepper.name, expected="another name", do=do)
        config = EngineConfig(self.config.idle_timeout_s, self.config.resume_timeout_s, self.config.admits_late)
        engine = Engine(
            stepper, ModelMetrics(), config, times=times, recorder=self._recorder, shield=self.config.shield
        )
        if self.tracer is not None:
            engine.on_step = partial(self.tracer.record, stepper.name)
        self.engines[stepper.name] = engine
        self.intakes[stepper.name] = Intake(engine, self.decoders)
        return engine

    # ------------------------------------------------------------------ sessions

    def open_session(self, engine: Engine, options: SessionOptions, sink: Sink, *, caller: Caller = ANYONE) -> Session:
        """A new session of `caller`. Raises Problem when it has as many as it may, or the model has no slot."""
        self._check_limit(caller)
        return self._own(engine.open_session(options, sink), caller)

    def _check_limit(self, caller: Caller) -> None:
        limit = caller.max_sessions or self.access.limits.sessions_per_key
        if limit is not None and caller.id and self.num_sessions_of(caller.id) >= limit:
            raise Problem(SESSIONS_OF_KEY, f"At most {limit} at a time: end one first.", retry_after_s=5)

    def _own(self, session: Session, caller: Caller) -> Session:
        session.owner, session.trace_parent = caller.id, caller.trace_parent
        logger.info("session opened", extra={"session": tag_of(session.id), "key": caller.name})
        if (rate := self.access.limits.frames_per_s) is not None:
            session.frame_bucket = Bucket(rate)
        return session

    def resume_session(self, wanted: "StreamResume", sink: Sink, *, caller: Caller = ANYONE) -> tuple[Engine, Session]:
        """The session `wanted`, now of `sink`. Raises Problem if it is not the caller's, or ended."""
        for engine in self.engines.values():
            session = engine.sessions.get(wanted.session_id)
            if session is not None and session.owner == caller.id:
                engine.resume_session(session, wanted.token, sink, stream_id=wanted.stream_id)
                return engine, session
        raise Problem(RESUME_REFUSED, "It ended, or the token is not its own: open a new session.")

    def fork_session(
        self, session: Session, engine: Engine, sink: Sink, *, caller: Caller = ANYONE, stream_id: int = 0
    ) -> Session:
        """A new session of `caller` that answers as `session` would. Raises Problem like `open_session`."""
        self._check_limit(caller)
        return self._own(engine.fork_session(session, sink, stream_id=stream_id), caller)

    def find_session(self, session_id: str, caller: Caller = ANYONE) -> tuple[Engine, Session]:
        """The session and its engine, if it is the caller's. Raises Problem."""
        for engine in self.engines.values():
            session = engine.sessions.get(session_id)
            if session is not None and session.owner == caller.id:
                return engine, session
        raise Problem(SESSION_UNKNOWN, "It was closed, idle for too long, or never opened: POST /v1/sessions.")

    @property
    def num_sessions(self) -> int:
        """Open sessions of all models."""
        return sum(len(engine.sessions) for engine in self.engines.values())

    @property
    def num_players(self) -> int:
        """Sessions whose client is there; one that lost its connection cannot come back to a server that goes."""
        sessions = (session for engine in self.engines.values() for session in engine.sessions.values())
        return sum(session.lost_ns is None for session in sessions)

    def num_sessions_of(self, owner: str) -> int:
        """Open sessions of the key `owner`."""
        return sum(session.owner == owner for engine in self.engines.values() for session in engine.sessions.values())

    # ------------------------------------------------------------------ what happens by itself

    async def _sweep(self) -> None:
        """End what is idle, and what belongs to a key that was revoked."""
        while True:
            await asyncio.sleep(SWEEP_PERIOD_S)
            for engine in self.engines.values():
                engine.evict_idle()
            if self.access.reload():
                self._end_revoked()

    def _end_revoked(self) -> None:
        for engine in self.engines.values():
            for session in [each for each in engine.sessions.values() if not self.access.knows(each.owner)]:
                engine.close_session(session, reason="key_revoked")

    async def _watch_lag(self) -> None:
        """How late the loop wakes who sleeps: what a frame waits when the loop is busy."""
        while True:
            due = time.monotonic() + LAG_PERIOD_S
            await asyncio.sleep(LAG_PERIOD_S)
            self.server_metrics.loop_lag.observe(max(0.0, time.monotonic() - due))


async def _wait(condition: Callable[[], bool], seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not condition() and time.monotonic() < give_up:
        await asyncio.sleep(0.01)
