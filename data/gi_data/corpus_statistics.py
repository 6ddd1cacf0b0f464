"""`Statistics`: what the clips of a corpus hold, game by game, summed from the index alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from gi_data.index import MOTION_EDGES, IndexRow, read_shard_indexes
from gi_data.manifest import Manifest

PERCENTILES = (50, 90, 99)
ALL_GAMES = "all"


@dataclass(frozen=True)
class Statistics:
    """One game, or all. Ratios are over ticks; motion_percentiles are |dx| + |dy| in counts, rounded up to a bucket."""

    game: str
    num_clips: int
    num_recordings: int
    hours: float
    val_hours: float
    known_ratio: float
    null_ratio: float
    presses_per_second: float
    motion_percentiles: dict[int, int]
    held_ratio: dict[str, float]  # share of ticks each control is held, most held first
    licenses: dict[str, float]  # hours

    @classmethod
    def of(cls, game: str, rows: Sequence[IndexRow]) -> Self:
        """Sum up some clips."""
        ticks = sum(row.num_ticks for row in rows)
        seconds = sum(row.seconds for row in rows)
        held: Counter[str] = Counter()
        licenses: Counter[str] = Counter()
        for row in rows:
            held.update(row.held)
            licenses[row.license] += row.seconds / 3600  # type: ignore[assignment]
        return cls(
            game=game,
            num_clips=len(rows),
            num_recordings=len({row.recording_id for row in rows}),
            hours=seconds / 3600,
            val_hours=sum(row.seconds for row in rows if row.split == "val") / 3600,
            known_ratio=sum(row.known_ratio * row.num_ticks for row in rows) / ticks,
            null_ratio=sum(row.null_ratio * row.num_ticks for row in rows) / ticks,
            presses_per_second=sum(row.presses for row in rows) / seconds,
            motion_percentiles=_percentiles(np.sum([row.motion_counts for row in rows], axis=0)),
            held_ratio={control: count / ticks for control, count in held.most_common()},
            licenses=dict(licenses.most_common()),
        )


def statistics(directory: Path) -> list[Statistics]:
    """Statistics of each game, then of all together. Raises CorpusError if there is no corpus."""
    Manifest.read(directory)
    rows = [row for shard in read_shard_indexes(directory) for row in shard.rows]
    games = sorted({row.game for row in rows})
    by_game = [Statistics.of(game, [row for row in rows if row.game == game]) for game in games]
    return [*by_game, Statistics.of(ALL_GAMES, rows)]


def _percentiles(counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[int, int]:
    """Largest motion of the bucket in which each percentile lies."""
    shares = np.cumsum(counts) / counts.sum()
    return {p: MOTION_EDGES[int(np.searchsorted(shares, p / 100)) + 1] - 1 for p in PERCENTILES}
