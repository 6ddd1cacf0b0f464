"""`Ticks`: the signals of a whole corpus as flat arrays, one element a tick, recordings one after the other.

Clips of one recording that follow each other without a gap form a chain: somebody who is away for a minute is away
over several clips, so filters look at chains. Everything works on whole columns: a million clips are ordinary.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gi_data.curation.perceptual_hash import Hashes
from gi_data.curation.signal_cache import identities
from gi_model.errors import ClipError

Mask = NDArray[np.bool_]
Ids = NDArray[np.int64]
Seconds = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ticks:
    """N ticks of M stored clips, in the order of `clips`. A clip's ticks are first[m] to first[m + 1]."""

    clips: pa.Table  # M rows of the index; of several stretches of a clip, one
    signals: pa.Table  # M rows
    first: Ids  # (M + 1,)
    clip: Ids  # (N,) number of the clip, ascending
    chain_of: Ids  # (M,) number of the chain, ascending
    fps: Seconds  # (M,)
    brightness: NDArray[np.uint8]  # (N,)
    difference: NDArray[np.float32]  # (N,)
    flags: NDArray[np.uint8]  # (N,)
    motion: NDArray[np.int32]  # (N,)
    presses: NDArray[np.int64]  # (N,) controls that go down

    @classmethod
    def of(cls, table: pa.Table, signals: pa.Table) -> Self:
        """Line up rows of an index with their clips' signals; rows of clips without signals are left out."""
        clips = _stored_clips(table)
        places = pc.index_in(identities(clips), identities(signals).combine_chunks())
        clips = clips.filter(pc.is_valid(places))
        signals = signals.take(places.drop_null())
        lengths = pc.list_value_length(signals["flags"]).to_numpy().astype(np.int64)
        first = np.concatenate([[0], np.cumsum(lengths)])
        return cls(
            clips=clips,
            signals=signals,
            first=first,
            clip=np.repeat(np.arange(len(lengths)), lengths),
            chain_of=_chains(clips, signals),
            fps=clips["fps"].to_numpy().astype(np.float64),
            **{name: flat(signals, name) for name in ("brightness", "difference", "flags", "motion")},
            presses=_presses(signals, first),
        )

    def __len__(self) -> int:
        return len(self.clip)

    @property
    def chain(self) -> Ids:
        """(N,) chain of each tick."""
        return self.chain_of[self.clip]

    def has(self, flag: np.uint8) -> Mask:
        """Ticks with a flag of `signals`."""
        marked: Mask = (self.flags & flag) != 0
        return marked

    def at_least(self, seconds: float) -> Ids:
        """(N,) how many ticks are so many seconds, rounded up, at each tick's frame rate."""
        return np.ceil(seconds * self.fps - 1e-9).astype(np.int64)[self.clip]

    def hours(self, mask: Mask) -> float:
        """Hours of the marked ticks."""
        return float((np.bincount(self.clip[mask], minlength=len(self.fps)) / self.fps).sum()) / 3600

    def long_runs(self, mask: Mask, seconds: float) -> Mask:
        """Of `mask`, what lies in runs of more than `seconds` within a chain."""
        starts, ends = runs(mask, self.chain)
        longer = ends - starts > self.at_least(seconds)[starts] if len(starts) else np.empty(0, dtype=bool)
        return fill(len(mask), starts[longer], ends[longer])

    def rows_in(self, table: pa.Table) -> Mask:
        """Ticks that rows of an index cover. Raises ClipError on a row longer than its clip."""
        ids = pc.index_in(table["key"], self.clips["key"].combine_chunks())
        table = table.filter(pc.is_valid(ids))
        ids = ids.drop_null().to_numpy()
        begin = table["first_tick"].to_numpy()
        end = begin + table["num_ticks"].to_numpy()
        lengths = np.diff(self.first)[ids]
        if (wrong := np.flatnonzero(end > lengths)).size:
            got, expected = int(end[wrong[0]]), f"at most {lengths[wrong[0]]} ticks"
            raise ClipError(
                f"row of clip {table['key'][int(wrong[0])]} ends after its clip", got=got, expected=expected
            )
        return fill(len(self), self.first[ids] + begin, self.first[ids] + end)


def runs(mask: Mask, within: Ids) -> tuple[Ids, Ids]:
    """Starts and ends of runs of True that do not cross from one value of `within` to another."""
    if not len(mask):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    border = np.concatenate([[True], within[1:] != within[:-1]])
    before = np.concatenate([[False], mask[:-1]])
    after = np.concatenate([mask[1:], [False]])
    ends_here = np.concatenate([border[1:], [True]])
    starts = np.flatnonzero(mask & (~before | border))
    ends = np.flatnonzero(mask & (~after | ends_here)) + 1
    return starts, ends


def fill(size: int, starts: Ids, ends: Ids) -> Mask:
    """Mark ticks [start, end) of each pair; they may overlap."""
    steps = np.zeros(size + 1, dtype=np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, ends, -1)
    return np.asarray(np.cumsum(steps[:-1]) > 0, dtype=np.bool_)


def flat(table: pa.Table, column: str) -> NDArray[Any]:
    """All lists of a column, one after the other."""
    return np.asarray(pc.list_flatten(table[column]).to_numpy())


def hash_samples(ticks: Ticks, hash_ticks: int) -> tuple[Hashes, Ids]:
    """Hashes of all clips (S,), and the tick at which each was taken."""
    counts = pc.list_value_length(ticks.signals["hashes"]).to_numpy().astype(np.int64)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return flat(ticks.signals, "hashes").astype(np.uint64), np.repeat(ticks.first[:-1], counts) + within * hash_ticks


def _stored_clips(table: pa.Table) -> pa.Table:
    """One row a stored clip: recordings in the order of their first row, parts in theirs."""
    keys = table["key"].combine_chunks().dictionary_encode().indices.to_numpy()
    _, rows = np.unique(keys, return_index=True)
    clips = table.take(pa.array(np.sort(rows)))
    recordings = clips["recording_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    return clips.take(pa.array(np.lexsort([clips["part"].to_numpy(), recordings])))


def _chains(clips: pa.Table, signals: pa.Table) -> Ids:
    """(M,) A clip continues the last one if it is the next part of its recording, and its first tick is the next."""
    recordings = clips["recording_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    parts, fps = clips["part"].to_numpy(), clips["fps"].to_numpy()
    gaps = (signals["first_ns"].to_numpy()[1:] - signals["last_ns"].to_numpy()[:-1]) * fps[1:] / 1e9
    continues = (np.diff(recordings) == 0) & (np.diff(parts) == 1) & (gaps < 1.5)
    return np.concatenate([[0], np.cumsum(~continues)])[: len(clips)]


def _presses(signals: pa.Table, first: Ids) -> Ids:
    counts = pc.list_value_length(signals["held_first"]).to_numpy().astype(np.int64)
    places = np.repeat(first[:-1], counts) + flat(signals, "held_first")
    return np.bincount(places.astype(np.int64), minlength=int(first[-1]))
