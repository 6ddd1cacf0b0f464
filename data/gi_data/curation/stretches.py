"""`rows_of`: index rows of the stretches that are kept, their statistics from the signals: no label is read again."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gi_data.curation.filters import quality_of
from gi_data.curation.signals import KNOWN, NULL
from gi_data.curation.ticks import Ids, Mask, Ticks, flat, runs
from gi_data.index import MOTION_EDGES, IndexRow
from gi_model.actions.columns import CONTROLS

_BY_NAME: Final = np.argsort(np.argsort(np.array(CONTROLS)))  # place of each control among the sorted names
_SORTED: Final = sorted(CONTROLS)


def rows_of(ticks: Ticks, keep: Mask, duplicate_group: Ids) -> pa.Table:
    """Rows of the runs of `keep`, recording by recording. duplicate_group: (M,) of each stored clip."""
    starts, ends = runs(keep, ticks.clip)
    clip, num = ticks.clip[starts], ends - starts
    stretch = np.repeat(np.arange(len(starts)), num)
    kept = np.flatnonzero(keep)
    moved = np.bincount(stretch, weights=ticks.motion[kept], minlength=len(starts))
    presses, held = _held(ticks, starts, ends)
    columns: dict[str, object] = {
        "first_tick": starts - ticks.first[clip],
        "num_ticks": num,
        "seconds": num / ticks.fps[clip],
        "quality": quality_of(ticks, kept, stretch, len(starts)),
        "duplicate_group": duplicate_group[clip],
        "known_ratio": np.bincount(stretch[ticks.has(KNOWN)[kept]], minlength=len(starts)) / num,
        "null_ratio": np.bincount(stretch[ticks.has(NULL)[kept]], minlength=len(starts)) / num,
        "presses": presses,
        "mean_motion": moved / num,
        "held": held,
        "motion_counts": _motion_counts(ticks.motion[kept], stretch, len(starts)),
    }
    table = ticks.clips.take(pa.array(clip))
    schema = IndexRow.schema()
    arrays = [pa.chunked_array([columns[name]]) if name in columns else table[name] for name in schema.names]
    return pa.table([array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema)


def in_order_of(table: pa.Table, keys: pa.ChunkedArray) -> pa.Table:
    """Rows in the order in which their clips come in `keys`: a view is mixed as its base is."""
    ranks = pc.index_in(table["key"], keys.unique()).to_numpy()
    return table.take(pa.array(np.lexsort([table["first_tick"].to_numpy(), ranks])))


def _held(ticks: Ticks, starts: Ids, ends: Ids) -> tuple[Ids, pa.MapArray]:
    """Presses of each stretch, and ticks each control is held in it: overlaps with the runs of controls."""
    counts = pc.list_value_length(ticks.signals["held"]).to_numpy().astype(np.int64)
    begin = np.repeat(ticks.first[:-1], counts) + flat(ticks.signals, "held_first")
    end = begin + flat(ticks.signals, "held_ticks")
    low = np.searchsorted(ends, begin, side="right")
    many = np.maximum(0, np.searchsorted(starts, end, side="left") - low)
    run = np.repeat(np.arange(len(begin)), many)
    stretch = np.repeat(low, many) + np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    overlap = np.minimum(end[run], ends[stretch]) - np.maximum(begin[run], starts[stretch])
    control = _BY_NAME[flat(ticks.signals, "held").astype(np.int64)[run]]
    codes, inverse = np.unique(stretch * len(CONTROLS) + control, return_inverse=True)
    sums = np.bincount(inverse, weights=overlap, minlength=len(codes)).astype(np.int64)
    offsets = np.searchsorted(codes, np.arange(len(starts) + 1) * len(CONTROLS)).astype(np.int32)
    names = pa.array(_SORTED).take(pa.array(codes % len(CONTROLS)))
    return np.bincount(stretch, minlength=len(starts)), pa.MapArray.from_arrays(offsets, names, pa.array(sums))


def _motion_counts(motion: NDArray[np.int32], stretch: Ids, num: int) -> pa.ListArray:
    size = len(MOTION_EDGES) - 1
    bucket = np.minimum(np.searchsorted(np.array(MOTION_EDGES), motion, side="right") - 1, size - 1)
    counts = np.bincount(stretch * size + bucket, minlength=num * size).astype(np.int64)
    return pa.ListArray.from_arrays(np.arange(0, num * size + 1, size, dtype=np.int32), pa.array(counts))
