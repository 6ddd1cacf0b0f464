"""What a corpus card says, in numbers: sums over the index alone, in columns, so a million rows take seconds.

Only the games with the most hours get histograms of their own; the sums are over all of them.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gi_data.catalog import Catalog
from gi_data.index import MOTION_EDGES
from gi_data.manifest import held_ticks
from gi_data.revocation import read_revoked
from gi_data.storage import Location
from gi_model.errors import CorpusError

CURATION_NAME = "curation.json"
MAX_CHARTED = 12  # games with histograms of their own
_COLUMNS = (
    *("key", "recording_id", "split", "game", "source", "license", "consent", "demonstrator", "width", "height"),
    *("fps", "seconds", "num_ticks", "known_ratio", "null_ratio", "presses", "held", "motion_counts"),
)
_SIZES = ("video_size", "inputs_size", "metadata_size")


@dataclass(frozen=True, slots=True)
class Tally:
    """Clips that have `names` in common: the values of the columns they were grouped by."""

    names: tuple[str, ...]
    hours: float
    num_clips: int
    num_recordings: int
    num_ticks: int
    presses: int
    null_ratio: float  # of ticks
    known_ratio: float  # of ticks


@dataclass(frozen=True)
class Play:
    """How one game is played. held: share of ticks by control, most first; motion: ticks by bucket of MOTION_EDGES."""

    game: str
    held: dict[str, float]
    motion: NDArray[np.int64]  # (len(MOTION_EDGES) - 1,)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of curation: hours that went in and out."""

    name: str
    hours_in: float
    hours_out: float


@dataclass(frozen=True)
class Facts:
    """Everything on the card. Tallies come with the most hours first."""

    total: Tally
    num_bytes: int
    by_game: tuple[Tally, ...]
    by_game_and_split: tuple[Tally, ...]
    by_player: tuple[Tally, ...]  # source, demonstrator
    by_license: tuple[Tally, ...]  # license, consent
    by_shape: tuple[Tally, ...]  # width, height, fps
    plays: tuple[Play, ...]  # of the games with the most hours
    clip_seconds: NDArray[np.float64]  # (num_clips,)
    bindings: dict[str, list[dict[str, Any]]]
    curation: tuple[Step, ...]
    num_revoked: int

    @classmethod
    def read(cls, directory: Location) -> Self:
        """Sum up the corpus in `directory`. Raises CorpusError if there is none, or nothing in it."""
        catalog = Catalog.open(directory)
        if not len(catalog.table):
            raise CorpusError("nothing to describe", got=f"no clips in {directory}", do="Record or ingest some first.")
        table = catalog.table.select(_COLUMNS)
        games = tally(table, "game")
        return cls(
            total=tally(table.append_column("all", pa.array(["all"] * len(table))), "all")[0],
            num_bytes=_stored_bytes(catalog.table),
            by_game=games,
            by_game_and_split=tally(table, "game", "split"),
            by_player=tally(table, "source", "demonstrator"),
            by_license=tally(table, "license", "consent"),
            by_shape=tally(table, "width", "height", "fps"),
            plays=tuple(_play(table, group) for group in games[:MAX_CHARTED]),
            clip_seconds=np.asarray(table["seconds"].to_numpy(), dtype=np.float64),
            bindings=catalog.manifest.bindings,
            curation=read_curation(directory),
            num_revoked=len(read_revoked(directory)),
        )


def tally(table: pa.Table, *columns: str) -> tuple[Tally, ...]:
    """Sum up the rows of each combination of `columns`, the most hours first."""
    for name in ("null", "known"):
        ticks = pc.multiply(table[f"{name}_ratio"], pc.cast(table["num_ticks"], pa.float64()))
        table = table.append_column(f"{name}_ticks", ticks)
    sums = [(name, "sum") for name in ("seconds", "num_ticks", "presses", "null_ticks", "known_ticks")]
    groups = table.group_by(list(columns)).aggregate([("key", "count"), ("recording_id", "count_distinct"), *sums])
    return tuple(
        Tally(
            names=tuple(_show(group[column]) for column in columns),
            hours=group["seconds_sum"] / 3600,
            num_clips=group["key_count"],
            num_recordings=group["recording_id_count_distinct"],
            num_ticks=group["num_ticks_sum"],
            presses=group["presses_sum"],
            null_ratio=group["null_ticks_sum"] / group["num_ticks_sum"],
            known_ratio=group["known_ticks_sum"] / group["num_ticks_sum"],
        )
        for group in groups.sort_by([("seconds_sum", "descending"), *((c, "ascending") for c in columns)]).to_pylist()
    )


def read_curation(directory: Location) -> tuple[Step, ...]:
    """Filters that `curation.json` lists with their hours in and out; empty where nobody curated.

    A report that cannot be read is no reason to have no card: what is not a filter with hours is passed over.
    """
    try:
        filters = json.loads((directory / CURATION_NAME).read_bytes())["filters"]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return ()
    steps = []
    for entry in filters if isinstance(filters, list) else ():
        with suppress(KeyError, TypeError, ValueError):
            steps.append(Step(str(entry["filter"]), float(entry["hours_in"]), float(entry["hours_out"])))
    return tuple(steps)


def _play(table: pa.Table, group: Tally) -> Play:
    rows = table.filter(pc.equal(table["game"], group.names[0]))
    held = {control: ticks / group.num_ticks for control, ticks in held_ticks(rows).items()}
    motion = np.asarray(pc.list_flatten(rows["motion_counts"]).to_numpy(), dtype=np.int64)
    return Play(group.names[0], held, motion.reshape(-1, len(MOTION_EDGES) - 1).sum(axis=0))


def _stored_bytes(table: pa.Table) -> int:
    """Bytes of the stored clips that rows point to; several rows may be stretches of one."""
    stored = table.select(["shard", "video_offset", *_SIZES]).group_by(["shard", "video_offset"])
    sums = stored.aggregate([(name, "max") for name in _SIZES])
    return sum(int(pc.sum(sums[f"{name}_max"]).as_py() or 0) for name in _SIZES)


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
