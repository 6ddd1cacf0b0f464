"""Real play for benchmarks: Doom at 35 frames a second, played by its demonstrators, at the size a benchmark asks for.

The same seeds give the same frames, so that figures of two runs are about the same pictures. Nothing is compressed
before the benchmark does it.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from gi_data.agents import Agent, make_agent
from gi_data.envs.doom import DoomEnvironment
from gi_data.planning import plan
from gi_data.recording import RecordingInfo, RecordingWriter
from gi_data.shards import ShardConfig, build
from gi_model.actions import InputState
from gi_model.frames import Frame, resize

GAMES: Final = ("doom/defend_the_center", "doom/health_gathering_supreme", "doom/gather")
CLIP_TICKS: Final = 352  # ten seconds, and whole windows of 16: no frame is decoded in vain
SCREEN_HEIGHT: Final = 240

Tick = tuple[Frame, InputState]


def play(game: str, num_ticks: int, *, seed: int = 0, screen_height: int = SCREEN_HEIGHT) -> Iterator[Tick]:
    """`num_ticks` frames uint8 (screen_height, 4/3 of it, 3) of `game` and what was held, over as many episodes."""
    env = DoomEnvironment(game, screen_height=screen_height, tics_per_tick=1)
    agent = make_agent("demonstrator", env)
    try:
        yield from itertools.islice(_episodes(env, agent, seed), num_ticks)
    finally:
        agent.close()
        env.close()


def _episodes(env: DoomEnvironment, agent: Agent, seed: int) -> Iterator[Tick]:
    for episode in itertools.count(seed):
        frame, _ = env.reset(seed=episode)
        agent.reset(seed=episode)
        is_over = False
        while not is_over:
            state = agent.act(frame)
            yield frame, state
            frame, _, terminated, truncated, _ = env.step(state)
            is_over = terminated or truncated


def make_corpus(directory: Path, num_ticks: int, *, size: int, advance: Callable[[], object] = lambda: None) -> Path:
    """Record `num_ticks` frames of size x size, a share of each game, as `gi record` does, and shard them."""
    recordings = directory / "recordings"
    clips = max(1, round(num_ticks / CLIP_TICKS))
    for index, game in enumerate(GAMES):
        share = len(range(index, clips, len(GAMES)))
        if share:
            _record(recordings, game, share * CLIP_TICKS, size=size, advance=advance)
    build(plan([recordings], directory / "corpus", val_fraction=0), ShardConfig())
    return directory / "corpus"


def _record(recordings: Path, game: str, num_ticks: int, *, size: int, advance: Callable[[], object]) -> None:
    """One recording of `num_ticks`; the squeeze to a square is the one that ingestion does."""
    env = DoomEnvironment(game, tics_per_tick=1)
    info = RecordingInfo(
        game=game,
        fps=env.fps,
        bindings=env.bindings,
        demonstrator="scripted",
        seed=0,
        source="gi bench",
        license="BSD-3-Clause",
        consent="none needed: played by a program",
        height=size,
        width=size,
    )
    with RecordingWriter(recordings, game.rpartition("/")[2], info, clip_ticks=CLIP_TICKS) as writer:
        for tick, (frame, state) in enumerate(play(game, num_ticks)):
            writer.append(resize(frame, size, size), state, t_ns=round(tick * 1e9 / info.fps))
            advance()
