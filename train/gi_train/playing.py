"""Playing one episode: an environment, an agent, a result, and, when asked, a trace of what was seen and done.

Lock-step: the game waits for the agent; latency is the agent's own time. Real time: the game's clock does not wait
(`gi_data.envs.realtime`): an action counts from the moment it arrives, frames that came up meanwhile are dropped, and
latency runs from the moment the game showed a frame to the moment it holds the answer.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from gi_data.agents import Agent
from gi_data.envs.protocol import Environment, StepResult
from gi_data.envs.realtime import Observation, RealTimeEnvironment
from gi_model.errors import GameError
from gi_train.episodes import Episode, EpisodeResult
from gi_train.trace import Moment, TraceRecorder


def play_episode(environment: Environment, agent: Agent, episode: Episode) -> EpisodeResult:
    """Play `episode` to its end; writes its trace if it names a path for one. Raises what the game and agent raise."""
    began = time.perf_counter()
    agent.reset(seed=episode.seed)
    recorder = TraceRecorder(episode, environment)
    play = _play_in_real_time if episode.realtime else _play_in_lockstep
    tally = play(environment, agent, episode, recorder)
    recorder.finish()
    return EpisodeResult(
        game=episode.game,
        agent=episode.label,
        seed=episode.seed,
        realtime=episode.realtime,
        score=tally.score,
        ticks=tally.ticks,
        seconds=round(time.perf_counter() - began, 3),
        latency_ms=tuple(round(time_ms, 2) for time_ms in tally.latency_ms),
        late=tally.late,
        dropped=tally.dropped,
        slowed=tally.slowed,
    )


@dataclass
class _Tally:
    """What adds up while an episode is played."""

    score: float = 0.0
    ticks: int = 0
    latency_ms: list[float] = field(default_factory=list)
    late: int = 0
    dropped: int = 0
    slowed: int = 0

    def see(self, result: StepResult) -> None:
        """Take the score from what the game says, or add up rewards where it says nothing."""
        self.score = float(result[4].get("score", self.score + result[1]))


def _play_in_lockstep(environment: Environment, agent: Agent, episode: Episode, recorder: TraceRecorder) -> _Tally:
    tally = _Tally()
    frame, _ = environment.reset(seed=episode.seed)
    is_over = False
    while not is_over:
        seen_at = time.perf_counter()
        inputs = agent.act(frame)
        tally.latency_ms.append((time.perf_counter() - seen_at) * 1e3)
        result = environment.step(inputs)
        tally.see(result)
        tally.ticks += 1
        recorder.append(frame, Moment(inputs, _confidence(agent), tally.score, tally.latency_ms[-1]))
        frame, is_over = result[0], result[2] or result[3]
    return tally


def _play_in_real_time(environment: Environment, agent: Agent, episode: Episode, recorder: TraceRecorder) -> _Tally:
    tally = _Tally()
    game = RealTimeEnvironment(environment)
    late_ms = 1e3 / (environment.fps * environment.substeps)  # an answer within one substep plays the lock-step game
    game.reset(seed=episode.seed)
    seen = game.latest()
    while not seen.is_last:
        inputs = agent.act(seen.result[0])
        game.hold(inputs)
        tally.latency_ms.append((time.monotonic() - seen.captured_s) * 1e3)
        tally.late += tally.latency_ms[-1] > late_ms
        newest = _next(game, seen)
        tally.see(newest.result)
        tally.dropped += newest.tick - seen.tick - 1
        recorder.append(seen.result[0], Moment(inputs, _confidence(agent), tally.score, tally.latency_ms[-1]))
        seen = newest
    tally.ticks, tally.slowed = seen.tick, game.late_substeps
    return tally


def _next(game: RealTimeEnvironment, seen: Observation) -> Observation:
    newest = game.wait(seen.tick)
    if newest is None:
        raise GameError(f"{game.name} shows nothing more", do="Play the episode again.")
    return newest


def _confidence(agent: Agent) -> Mapping[str, float]:
    """Of the agent's last action by factor, where it has any."""
    confidence: Mapping[str, float] | None = getattr(agent, "confidence", None)
    return confidence or {}
