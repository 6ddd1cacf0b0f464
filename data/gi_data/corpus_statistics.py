"""`Statistics`: what the clips of a corpus hold, game by game, summed from the index alone."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gi_data.catalog import Catalog
from gi_data.index import MOTION_EDGES
from gi_data.manifest import held_ticks
from gi_data.storage import Location

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
    def of(cls, game: str, table: pa.Table) -> Self:
        """Sum up some rows of an index."""
        ticks = max(1, _sum(table["num_ticks"]))
        seconds = _sum(table["seconds"])
        hours = table.group_by("license").aggregate([("seconds", "sum")]).sort_by([("seconds_sum", "descending")])
        motion = np.asarray(pc.list_flatten(table["motion_counts"]).to_numpy(), dtype=np.int64)
        return cls(
            game=game,
            num_clips=len(table),
            num_recordings=len(table["recording_id"].unique()),
            hours=seconds / 3600,
            val_hours=_sum(table.filter(pc.equal(table["split"], "val"))["seconds"]) / 3600,
            known_ratio=_sum(pc.multiply(table["known_ratio"], table["num_ticks"])) / ticks,
            null_ratio=_sum(pc.multiply(table["null_ratio"], table["num_ticks"])) / ticks,
            presses_per_second=_sum(table["presses"]) / seconds if seconds else 0.0,
            motion_percentiles=_percentiles(motion.reshape(-1, len(MOTION_EDGES) - 1).sum(axis=0)),
            held_ratio={control: count / ticks for control, count in held_ticks(table).items()},
            licenses={name: spent / 3600 for name, spent in zip(*hours.to_pydict().values(), strict=True)},
        )


def statistics(directory: Location) -> list[Statistics]:
    """Statistics of each game, then of all together. Raises CorpusError if there is no corpus."""
    table = Catalog.open(directory).table
    games = sorted(table["game"].unique().to_pylist())
    by_game = [Statistics.of(game, table.filter(pc.equal(table["game"], game))) for game in games]
    return [*by_game, Statistics.of(ALL_GAMES, table)]


def _sum(column: pa.ChunkedArray) -> float:
    return float(pc.sum(column).as_py() or 0)


def _percentiles(counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[int, int]:
    """Largest motion of the bucket in which each percentile lies."""
    shares = np.cumsum(counts) / max(1, counts.sum())
    last = len(counts) - 1
    return {p: MOTION_EDGES[min(last, int(np.searchsorted(shares, p / 100))) + 1] - 1 for p in PERCENTILES}
