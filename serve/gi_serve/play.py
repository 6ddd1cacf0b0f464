"""Playing one episode through a server, in lock-step or with the game's clock running.

    real time:  frame --send--> server          the game's clock turns in its own thread and waits for nobody
                hold <--newest answer           an answer counts from the moment it arrives

One loop: send the newest frame, hold what came meanwhile, wait for an answer until the next frame is due, hold it. So
an answer that is late by a frame delays nothing, and the server, not a queue here, decides which frame is answered.
Whatever ends the play, a lost server above all, every key is released first.
"""

import time
from dataclasses import dataclass

from gi_data.envs.protocol import Environment
from gi_data.envs.realtime import TIMEOUT_S, RealTimeEnvironment
from gi_model.actions import NEUTRAL
from gi_model.errors import GameError
from gi_serve.client import Action, Session


@dataclass(frozen=True, slots=True)
class EpisodePlay:
    """One episode as it was played. latencies_ms: capture of a frame -> its action held, one an answer."""

    seed: int
    score: float
    ticks: int
    seconds: float
    latencies_ms: tuple[float, ...]
    num_dropped: int = 0  # frames without an answer in time to be held
    late_substeps: int = 0  # steps of the game that this machine began too late


def play_episode(env: Environment, session: Session, *, seed: int) -> EpisodePlay:
    """Play one episode of `env`: in real time if it is a RealTimeEnvironment. Raises ServeError, keys released."""
    if isinstance(env, RealTimeEnvironment):
        return RealTimePlay(env, session).run(seed)
    return _play_in_lockstep(env, session, seed)


def _play_in_lockstep(env: Environment, session: Session, seed: int) -> EpisodePlay:
    began = time.monotonic()
    session.reset(seed=seed)
    frame, _info = env.reset(seed=seed)
    latencies_ms, is_over, score = [], False, 0.0
    while not is_over:
        action = session.act(frame)
        latencies_ms.append(action.age_ms)
        frame, _reward, terminated, truncated, info = env.step(action.state)
        if (executed := info.get("executed")) is not None:  # a shield had its way
            session.execute(executed)
        is_over, score = terminated or truncated, float(info["score"])
    return EpisodePlay(seed, score, len(latencies_ms), time.monotonic() - began, tuple(latencies_ms))


class RealTimePlay:
    """One episode while the game's clock runs."""

    def __init__(self, env: RealTimeEnvironment, session: Session) -> None:
        self._env, self._session = env, session
        self._latencies_ms: list[float] = []
        self._num_sent = self._num_skipped = 0

    def run(self, seed: int) -> EpisodePlay:
        """Play to the end."""
        self._begin(seed)
        try:
            self._play()
        finally:
            self._env.hold(NEUTRAL)
        return self._told(seed)

    def run_until_it_ends(self) -> tuple[EpisodePlay, str]:
        """Play a game that has no end until it is gone, or Ctrl-C; also say which."""
        self._begin(seed=0)
        try:
            self._play()
        except GameError as error:
            return self._told(0), str(error)
        except KeyboardInterrupt:
            return self._told(0), "stopped"
        finally:
            self._env.hold(NEUTRAL)
        return self._told(0), "over"

    def _begin(self, seed: int) -> None:
        self._session.reset(seed=seed)
        self._began = time.monotonic()
        self._env.reset(seed=seed)
        self._seen = self._env.latest()

    def _told(self, seed: int) -> EpisodePlay:
        return EpisodePlay(
            seed=seed,
            score=float(self._seen.result[4]["score"]),
            ticks=self._seen.tick,
            seconds=time.monotonic() - self._began,
            latencies_ms=tuple(self._latencies_ms),
            num_dropped=self._num_skipped + self._num_sent - len(self._latencies_ms),
            late_substeps=self._env.late_substeps,
        )

    def _play(self) -> None:
        while not (seen := self._seen).is_last:
            self._session.send(seen.result[0], capture_ns=int(seen.captured_s * 1e9))
            self._num_sent += 1
            due_s = seen.captured_s + 1.0 / self._env.fps
            self._hold(self._session.latest())
            self._hold(self._session.latest(max(0.0, due_s - time.monotonic())))
            newer = self._env.wait(seen.tick)
            if newer is None:
                raise GameError(f"{self._env.name} showed nothing for {TIMEOUT_S:.0f} s", do="Start the episode again.")
            self._num_skipped += newer.tick - seen.tick - 1
            executed = newer.result[4].get("executed")
            if executed is not None and self._latencies_ms:  # somebody else played meanwhile, or a shield had its way
                self._session.execute(executed)
            self._seen = newer

    def _hold(self, action: Action | None) -> None:
        if (state := self._session.due()) is not None:
            self._env.hold(state)
        if action is not None:
            self._latencies_ms.append(action.age_ms)
