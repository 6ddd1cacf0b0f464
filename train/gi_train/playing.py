"""Playing one episode: an environment, an agent, a result, and, when asked, a trace of what was seen and done.

Lock-step: the game waits for the agent; latency is the agent's own time. Real time: the game's clock does not wait
(`gi_data.envs.realtime`): an action counts from the moment it arrives, and frames that came up meanwhile are dropped.
"""

import time

from gi_data.agents import Agent
from gi_data.envs.protocol import Environment
from gi_train.episodes import Episode, EpisodeResult
from gi_train.trace import Moment, TraceRecorder


def play_episode(environment: Environment, agent: Agent, episode: Episode) -> EpisodeResult:
    """Play `episode` to its end; writes its trace if it names a path for one. Raises what the game and agent raise."""
    return _play_in_lockstep(environment, agent, episode)


def _play_in_lockstep(environment: Environment, agent: Agent, episode: Episode) -> EpisodeResult:
    recorder = TraceRecorder(episode, environment)
    began = time.perf_counter()
    frame, _ = environment.reset(seed=episode.seed)
    agent.reset(seed=episode.seed)
    score, latency_ms, is_over = 0.0, [], False
    while not is_over:
        seen_at, seen = time.perf_counter(), frame
        inputs = agent.act(frame)
        latency_ms.append((time.perf_counter() - seen_at) * 1e3)
        frame, reward, terminated, truncated, info = environment.step(inputs)
        is_over = terminated or truncated
        score = float(info.get("score", score + reward))
        recorder.append(seen, Moment(inputs, getattr(agent, "confidence", None) or {}, score, latency_ms[-1]))
    recorder.finish()
    return EpisodeResult(
        game=episode.game,
        agent=episode.name,
        seed=episode.seed,
        realtime=False,
        score=score,
        ticks=len(latency_ms),
        seconds=time.perf_counter() - began,
        latency_ms=tuple(latency_ms),
    )
