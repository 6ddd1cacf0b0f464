"""`WindowOrder`: which window stands at which position of the endless training order: index arithmetic, nothing stored.

The order is a pure function of (seed, position), so a reader resumes from one number, on any number of ranks. A
position belongs to a stream (a game, or the whole corpus) by its `Deal`, so every batch has the right shares. A stream
runs through epochs; an epoch shuffles clips, cuts them into blocks whose decoded frames fit the caches, and shuffles
the windows of a block. Windows of a clip do not overlap; each epoch shifts them by a new phase.

Ranks take positions in turn, so rank r of w = 2^k owns the lanes (position mod LANES) that end in the same k bits.
Within a block, lanes in the order of their reversed bits take the windows clip after clip: each rank's windows lie in a
run of few clips, other ranks' in other clips, and neighbouring positions as far apart as can be. Rejected: drawing
windows at random (no exact coverage, and every window decodes another clip); shuffling windows over all lanes (every
rank decodes every clip).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gi_data.deal import Deal, Ids, quotas
from gi_model.errors import CorpusError

LANES = 256  # a power of two, as large as the largest number of ranks that shall decode different clips


class Place(NamedTuple):
    """A window: T ticks of clip `clip_id` from tick `start`."""

    clip_id: int
    start: int


@dataclass(frozen=True)
class OrderConfig:
    """window_ticks: T. block_ticks: ticks of a block, over all streams. shift: cut at another phase each epoch."""

    seed: int
    window_ticks: int
    block_ticks: int
    shift: bool = True


class _Stream:
    """The windows of some clips in the order of one epoch after the other."""

    def __init__(self, deal: Deal, stream_id: int, clip_ids: Ids, num_ticks: Ids, config: OrderConfig) -> None:
        """clip_ids int64 (N,); num_ticks int64 (N,), at least T each; config.block_ticks of this stream alone."""
        self._deal, self._id, self._clips, self._ticks, self._config = deal, stream_id, clip_ids, num_ticks, config
        self._num_windows = num_windows(num_ticks, config.window_ticks, shift=config.shift)
        self.num_windows = int(self._num_windows.sum())
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)
        self._block = lru_cache(maxsize=4)(self._make_block)

    @property
    def max_block_windows(self) -> int:
        """Windows of a block, at most: it may exceed its size by a part of a clip."""
        longest = self._config.block_ticks + int(self._ticks.max())
        return min(self.num_windows, longest // self._config.window_ticks)

    def place(self, position: int) -> Place:
        """The window at `position` of this stream."""
        epoch, offset = divmod(position, self.num_windows)
        _, _, firsts = self._epoch(epoch)
        block = int(np.searchsorted(firsts, offset, side="right")) - 1
        clip_id, start = self._block(epoch, block)[offset - firsts[block]]
        return Place(int(clip_id), int(start))

    def _make_epoch(self, epoch: int) -> tuple[Ids, Ids, Ids]:
        """Shuffled clips (N,); block boundaries among them (M + 1,); first window of each block (M,)."""
        order = self._random(epoch).permutation(len(self._clips))
        block_of = (np.cumsum(self._ticks[order]) - 1) // max(1, self._config.block_ticks)
        bounds = np.concatenate([[0], np.flatnonzero(np.diff(block_of)) + 1, [len(order)]])
        ends = np.cumsum(self._num_windows[order])
        firsts = np.concatenate([[0], ends[bounds[1:-1] - 1]])
        return order, bounds, firsts

    def _make_block(self, epoch: int, block: int) -> Ids:
        """int64 (windows of the block, 2): clip id and start, in the order of their positions."""
        order, bounds, firsts = self._epoch(epoch)
        members = order[bounds[block] : bounds[block + 1]]
        random = self._random(epoch, block)
        counts = self._num_windows[members]
        slack = self._ticks[members] - counts * self._config.window_ticks
        phases = random.integers(0, slack + 1) if self._config.shift else np.zeros_like(slack)
        clips = np.repeat(self._clips[members], counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = np.repeat(phases, counts) + within * self._config.window_ticks
        by_clip = np.lexsort((random.random(len(clips)), np.repeat(np.arange(len(members)), counts)))
        windows = np.empty((len(clips), 2), dtype=np.int64)
        windows[self._lane_by_lane(epoch * self.num_windows + int(firsts[block]), random.random(len(clips)))] = (
            np.stack([clips[by_clip], starts[by_clip]], axis=1)
        )
        return windows

    def _lane_by_lane(self, first: int, ties: NDArray[np.float64]) -> Ids:
        """The stream's places from `first` on, those of lane 0 first, the other lanes by their reversed bits."""
        lanes = self._deal.positions(self._id, first, len(ties)) % LANES
        return np.lexsort((ties, _REVERSED[lanes]))

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, 1 + self._id, *key])


class WindowOrder:
    """The order over several streams, each with its share of every group."""

    def __init__(self, streams: Sequence[Ids], num_ticks: Ids, config: OrderConfig, *, shares: Sequence[float]) -> None:
        """streams: clip ids of each, and their shares; num_ticks int64 (num_clips,).

        A stream whose clips are all shorter than a window is left out. Raises CorpusError if all are.
        """
        usable = [ids[num_ticks[ids] >= config.window_ticks] for ids in streams]
        self.stream_ids = [stream_id for stream_id, ids in enumerate(usable) if len(ids)]
        if not self.stream_ids:
            raise _too_short(streams, num_ticks, config)
        self._deal = Deal(config.seed, quotas([shares[stream_id] for stream_id in self.stream_ids]))
        self._streams = [
            _Stream(self._deal, place, usable[stream_id], num_ticks[usable[stream_id]], _part(config, share))
            for place, (stream_id, share) in enumerate(zip(self.stream_ids, self.shares, strict=True))
        ]

    @property
    def shares(self) -> list[float]:
        """Share of all windows that each stream of `stream_ids` gets."""
        return [quota / sum(self._deal.quotas) for quota in self._deal.quotas]

    @property
    def num_windows(self) -> int:
        """Windows of one epoch, over all streams."""
        return sum(stream.num_windows for stream in self._streams)

    @property
    def span(self) -> int:
        """Positions between the first and the last window of any block, at most; about: groups are shuffled."""
        return max(
            math.ceil(stream.max_block_windows / share)
            for stream, share in zip(self._streams, self.shares, strict=True)
        )

    def place(self, position: int) -> Place:
        """The window at `position`, counted from 0 without end."""
        stream_id, turn = self._deal.place(position)
        return self._streams[stream_id].place(turn)


def _part(config: OrderConfig, share: float) -> OrderConfig:
    """A stream's part of a block: all streams then change to new clips equally often."""
    return replace(config, block_ticks=int(config.block_ticks * share))


def _too_short(streams: Sequence[Ids], num_ticks: Ids, config: OrderConfig) -> CorpusError:
    longest = max((int(num_ticks[clips].max()) for clips in streams if len(clips)), default=0)
    do = "Record longer clips, or train on shorter windows."
    expected, got = f"{config.window_ticks} ticks or more", f"at most {longest} ticks"
    return CorpusError("no clip is as long as a window", got=got, expected=expected, do=do)


def _reversed_bits(count: int) -> Ids:
    """The numbers below `count`, a power of two, each with its bits in reverse."""
    width = count.bit_length() - 1
    return np.array([int(f"{number:0{width}b}"[::-1], 2) for number in range(count)], dtype=np.int64)


_REVERSED = _reversed_bits(LANES)


def num_windows(num_ticks: Ids, window_ticks: int, *, shift: bool) -> Ids:
    """Windows of clips of `num_ticks`, each at least a window long: as many as fit behind any phase."""
    spare = window_ticks - 1 if shift else 0
    return np.maximum(1, (num_ticks - spare) // window_ticks)
