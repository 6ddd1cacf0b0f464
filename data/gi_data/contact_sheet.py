"""Which clips a contact sheet shows: a fair draw, cut to a few seconds, each with its video and its inputs.

Clips are drawn by length, so every tick is as likely to be seen; games are not evened out, for a sheet must show what
the corpus is. Videos are copied packets, never encoded again: what a person sees is what is stored.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gi_data.corpus import Corpus
from gi_data.embodied import read_embodied
from gi_data.index import IndexRow
from gi_data.planning import SPLITS
from gi_data.video import cut
from gi_model.actions import InputState
from gi_model.errors import ConfigError

_BASE64 = 4 / 3  # bytes of the page for each byte of video


@dataclass(frozen=True, slots=True)
class SheetConfig:
    """clips: how many at most; seconds: of each, about; games: only these (all if empty); max_mb: size of the page."""

    clips: int = 24
    seed: int = 0
    seconds: float = 6.0
    games: tuple[str, ...] = ()
    split: str | None = None
    max_mb: float = 25.0

    def __post_init__(self) -> None:
        if self.clips < 1 or not 0 < self.seconds <= 60 or not self.max_mb > 0 or self.seed < 0:
            got = {"clips": self.clips, "seconds": self.seconds, "max_mb": self.max_mb, "seed": self.seed}
            raise ConfigError("no such contact sheet", got=got, expected="1 clip or more, up to 60 s each, some MB")
        if self.split not in (None, *SPLITS):
            raise ConfigError("no such split", got=self.split, expected=SPLITS)


@dataclass(frozen=True)
class Tile:
    """One excerpt.

    first: its tick in the stored clip; lead: frames of `video` before it, which are not shown; actuators: name and unit
    of what `states` command directly, in order.
    """

    row: IndexRow
    first: int
    lead: int
    states: tuple[InputState, ...]
    known: NDArray[np.bool_]  # (T,)
    video: bytes
    actuators: tuple[tuple[str, str], ...]

    def describe(self) -> dict[str, Any]:
        """What the page knows of it, ready for JSON, without the video."""
        row = self.row
        facts = ("key", "game", "split", "source", "license", "consent", "demonstrator", "recording_id", "part")
        return {name: getattr(row, name) for name in (*facts, "fps", "height", "width")} | {
            "first": self.first,
            "lead": self.lead,
            "bindings": json.loads(row.bindings),
            "actuators": self.actuators,
            "states": [state.to_dict() for state in self.states],
            "known": [int(known) for known in self.known],
        }


@dataclass(frozen=True)
class Sheet:
    """num_drawn: clips that were drawn; tiles: those that fit on the page."""

    tiles: tuple[Tile, ...]
    num_drawn: int


def draw_sheet(corpus: Corpus, config: SheetConfig) -> Sheet:
    """Draw excerpts. Raises ConfigError if no clip matches or none fits, ClipError on a damaged one."""
    rng = np.random.default_rng(config.seed)
    clip_ids = _draw(corpus, config, rng)
    tiles: list[Tile] = []
    room = config.max_mb * 1e6
    for tile in _cut_all(corpus, clip_ids, config.seconds, rng):
        room -= len(tile.video) * _BASE64 + len(json.dumps(tile.describe()))
        if room < 0:
            break
        tiles.append(tile)
    if not tiles:
        raise ConfigError("not one clip fits on the page", got=f"{config.max_mb:g} MB", do="Raise --max-mb.")
    return Sheet(tuple(tiles), len(clip_ids))


def _draw(corpus: Corpus, config: SheetConfig, rng: np.random.Generator) -> NDArray[np.int64]:
    """Ids of distinct clips, each drawn with the odds of its length (Efraimidis & Spirakis 2006)."""
    matching = _matching(corpus, config)
    keys = np.log(1 - rng.random(len(matching))) / corpus.num_ticks[matching]
    return matching[np.argsort(-keys, kind="stable")[: config.clips]]


def _matching(corpus: Corpus, config: SheetConfig) -> NDArray[np.int64]:
    if unknown := sorted(set(config.games) - set(corpus.games)):
        raise ConfigError("no such game in this corpus", got=unknown[0], expected=", ".join(corpus.games[:20]))
    matching = corpus.select(config.split) if config.split else np.arange(corpus.num_clips)
    if config.games:
        wanted = [corpus.games.index(game) for game in config.games]
        matching = matching[np.isin(corpus.game_ids[matching], wanted)]
    if not len(matching):
        got = {"games": config.games, "split": config.split}
        raise ConfigError("no clip matches", got=got, do="Ask for less, or see gi stats.")
    return matching


def _cut_all(
    corpus: Corpus, clip_ids: Sequence[int] | NDArray[np.int64], seconds: float, rng: np.random.Generator
) -> Iterator[Tile]:
    for clip_id in clip_ids:
        row = corpus.row(int(clip_id))
        length = min(row.num_ticks, max(1, round(seconds * row.fps)))
        yield _cut(corpus, row, start=int(rng.integers(row.num_ticks - length + 1)), length=length)


def _cut(corpus: Corpus, row: IndexRow, *, start: int, length: int) -> Tile:
    """Ticks `start`, ... of the row, from the keyframe before on; what lies before the row is never shown."""
    end = row.first_tick + start + length
    excerpt = cut(corpus.read_video(row), row.key, first=end - length, num_frames=length)
    first = max(excerpt.first, row.first_tick)
    labels = corpus.read_labels(row)
    states, known = labels.inputs[first:end], labels.known[first:end]
    return Tile(row, first, first - excerpt.first, states, known, excerpt.video, _actuators(corpus, row, states))


def _actuators(corpus: Corpus, row: IndexRow, states: Sequence[InputState]) -> tuple[tuple[str, str], ...]:
    """Of the clip's body; those that play commands directly, if it does."""
    if not any(state.commands for state in states):
        return ()
    body = read_embodied(corpus.read_metadata(row).info.extra, row.key)
    return () if body is None else tuple((one.name, one.unit) for one in body.actuators if one.is_direct)
