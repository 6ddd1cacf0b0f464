"""`Blend`: one or several corpora read as one, each game of each with its share of the windows.

Shares follow hours^(1 / temperature): at 1, each corpus and each game by its hours; at infinity, all corpora alike,
and all games of a corpus alike; between, large ones are held back without being ignored. Weights, if any are given,
take the place of the corpora's hours (a corpus without one counts as 1); within a corpus, temperature still decides.
Rejected: one weight a game (a corpus of a hundred games would need a hundred), and windows drawn at random by weight
(no share would be exact, no epoch complete).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gi_data.corpus import Corpus
from gi_data.index import IndexRow
from gi_data.inputs_table import LabelColumns, Labels
from gi_data.storage import Storage, Traffic, digest, locate, resolve
from gi_model.errors import ConfigError, CorpusError


@dataclass(frozen=True, eq=False)
class Stream:
    """The clips of one game in one corpus, and the share of windows asked for; shares sum to 1."""

    corpus: str
    game: str
    clip_ids: NDArray[np.int64]
    hours: float
    share: float


class Blend:
    """Offers what a Corpus offers; clips are numbered through, corpus after corpus."""

    def __init__(self, corpora: Sequence[Corpus], weights: Sequence[float | None] | None = None) -> None:
        """weights: one a corpus. Raises ConfigError on weights that are not above 0, or no corpus."""
        self.corpora = tuple(corpora)
        self.weights = tuple(weights) if weights is not None else (None,) * len(self.corpora)
        if not self.corpora or len(self.weights) != len(self.corpora):
            got = f"{len(self.corpora)} corpora, {len(self.weights)} weights"
            raise ConfigError("a blend needs corpora, and as many weights", got=got, do="--data CORPUS=WEIGHT")
        for corpus, weight in zip(self.corpora, self.weights, strict=True):
            if weight is not None and not 0 < weight < math.inf:
                raise ConfigError(f"weight of {corpus.directory} out of range", got=weight, expected="above 0")
        self._firsts = np.cumsum([0, *(corpus.num_clips for corpus in self.corpora)])

    @classmethod
    def open(cls, sources: Iterable[str], *, storage: Storage | None = None) -> Self:
        """Open corpora given as PATH or URL, each maybe with "=WEIGHT"; they share `storage`."""
        storage = storage or Storage()
        parsed = [parse_source(source) for source in sources]
        return cls([Corpus(locate(place), storage=storage) for place, _ in parsed], [weight for _, weight in parsed])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What to call each corpus: its folder's name, or its whole address where two have the same."""
        short = [corpus.name for corpus in self.corpora]
        return tuple(
            name if short.count(name) == 1 else str(corpus.directory)
            for name, corpus in zip(short, self.corpora, strict=True)
        )

    @property
    def num_clips(self) -> int:
        """Clips of all corpora and both splits."""
        return int(self._firsts[-1])

    @cached_property
    def games(self) -> tuple[str, ...]:
        """Names of the games, sorted; a game that several corpora have is one game."""
        return tuple(sorted({game for corpus in self.corpora for game in corpus.games}))

    @cached_property
    def game_ids(self) -> NDArray[np.int64]:
        """int64 (num_clips,): game of each clip, an index into `games`."""
        return np.concatenate(
            [np.searchsorted(np.array(self.games), np.array(c.games))[c.game_ids] for c in self.corpora]
        ).astype(np.int64)

    @cached_property
    def corpus_ids(self) -> NDArray[np.int64]:
        """int64 (num_clips,): corpus of each clip."""
        return np.repeat(np.arange(len(self.corpora)), np.diff(self._firsts))

    @cached_property
    def recording_ids(self) -> NDArray[np.int64]:
        """int64 (num_clips,): recording that each clip is of, numbered in any order."""
        ids = [corpus.recording_ids for corpus in self.corpora]
        firsts = np.cumsum([0, *(int(part.max()) + 1 if len(part) else 0 for part in ids)])
        return np.concatenate([first + part for first, part in zip(firsts, ids, strict=False)])

    @cached_property
    def num_ticks(self) -> NDArray[np.int64]:
        """int64 (num_clips,): length of each clip."""
        return np.concatenate([corpus.num_ticks for corpus in self.corpora])

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """float64 (num_clips,): how long each clip was played."""
        return np.concatenate([corpus.seconds for corpus in self.corpora])

    @cached_property
    def fingerprint(self) -> str:
        """Changes when the clips, or their order, change; that of a single corpus is its own."""
        prints = [corpus.fingerprint for corpus in self.corpora]
        return prints[0] if len(prints) == 1 else digest("".join(prints).encode())

    @property
    def traffic(self) -> Traffic:
        """What was read so far, of all corpora."""
        parts = [storage.traffic for storage in {id(c.storage): c.storage for c in self.corpora}.values()]
        return sum(parts[1:], parts[0])

    def select(self, split: str) -> NDArray[np.int64]:
        """Ids of the clips of one split, ascending. Raises CorpusError if there is none."""
        ids = [first + corpus.select(split) for first, corpus in zip(self._firsts, self.corpora, strict=False)]
        clips = np.concatenate(ids).astype(np.int64)
        if not len(clips):
            do = "Shard more recordings, or with a larger --val-fraction."
            got = ", ".join(str(corpus.directory) for corpus in self.corpora)
            raise CorpusError(f"corpus has no {split} clips", got=got, do=do)
        return clips

    def streams(self, split: str, *, temperature: float) -> list[Stream]:
        """The games of each corpus that has clips of `split`, with their shares. Raises CorpusError if none has."""
        clips = self.select(split)
        corpora = {corpus_id: clips[self.corpus_ids[clips] == corpus_id] for corpus_id in range(len(self.corpora))}
        present = {corpus_id: ids for corpus_id, ids in corpora.items() if len(ids)}
        hours = [self.seconds[ids].sum() / 3600 for ids in present.values()]
        weights = [self.weights[corpus_id] for corpus_id in present]
        if any(weight is not None for weight in weights):
            shares = _normal([1.0 if weight is None else weight for weight in weights])
        else:
            shares = tempered(hours, temperature)
        return [
            replace(stream, share=stream.share * share)
            for (corpus_id, ids), share in zip(present.items(), shares, strict=True)
            for stream in self._games(corpus_id, ids, temperature)
        ]

    def _games(self, corpus_id: int, clips: NDArray[np.int64], temperature: float) -> list[Stream]:
        """The streams of one corpus; their shares sum to 1."""
        members = [clips[self.game_ids[clips] == game_id] for game_id in range(len(self.games))]
        games = [(game, ids) for game, ids in zip(self.games, members, strict=True) if len(ids)]
        hours = [float(self.seconds[ids].sum() / 3600) for _, ids in games]
        return [
            Stream(self.names[corpus_id], game, ids, spent, share)
            for (game, ids), spent, share in zip(games, hours, tempered(hours, temperature), strict=True)
        ]

    def row(self, clip_id: int) -> IndexRow:
        """The index row of a clip, its shard named by its whole address."""
        corpus_id = int(self.corpus_ids[clip_id])
        corpus = self.corpora[corpus_id]
        row = corpus.row(clip_id - int(self._firsts[corpus_id]))
        shard = resolve(corpus.directory, row.shard)
        return replace(row, shard=str(shard.resolve() if isinstance(shard, Path) else shard))

    def read_video(self, row: IndexRow) -> bytes:
        """The mp4 of a clip. Raises ClipError if its bytes are not those that were written."""
        return self.corpora[0].read_video(row)

    def read_labels(self, row: IndexRow) -> Labels:
        """The input states of a clip. Raises ClipError if its bytes are not those that were written."""
        return self.corpora[0].read_labels(row)

    def read_label_columns(self, row: IndexRow) -> LabelColumns:
        """`read_labels` as arrays."""
        return self.corpora[0].read_label_columns(row)

    def is_stored_at(self, height: int, width: int) -> bool:
        """Whether every clip's video has exactly this size."""
        return all(corpus.is_stored_at(height, width) for corpus in self.corpora)


def tempered(hours: Sequence[float], temperature: float) -> list[float]:
    """Shares in proportion to hours^(1 / temperature), summing to 1. Raises ConfigError unless it is above 0."""
    if not temperature > 0:
        raise ConfigError("temperature out of range", got=temperature, expected="above 0; inf: all alike")
    logs = np.log(np.maximum(hours, 1e-9)) / temperature
    return _normal(np.maximum(np.exp(logs - logs.max()), 1e-9).tolist())


def parse_source(text: str) -> tuple[str, float | None]:
    """Split "PLACE=WEIGHT"; a folder whose own name ends in =NUMBER is taken whole. Raises ConfigError."""
    place, equals, weight = text.rpartition("=")
    if not equals or ("://" not in text and Path(text).exists()):
        return text, None
    try:
        return place, float(weight)
    except ValueError:
        if "/" in weight or "://" in text:  # the sign belongs to the path: .../run=best/corpus
            return text, None
    raise ConfigError(f"cannot read --data {text}", got=weight, expected="CORPUS or CORPUS=WEIGHT")


def _normal(shares: Sequence[float]) -> list[float]:
    return [share / sum(shares) for share in shares]
