"""`WindowOrder`: which window stands at which position of the endless training order: index arithmetic, nothing stored.

The order is a pure function of (seed, position), so a reader resumes from one number, on any number of ranks. A
position belongs to a stream (a game, or the whole corpus); groups of one window a stream follow each other in
shuffled order, so every batch has equal shares. A stream runs through epochs; an epoch shuffles clips, cuts them into
blocks whose decoded frames fit the cache, and shuffles the windows of a block. Windows of a clip do not overlap; each
epoch shifts them by a new phase. Rejected: drawing windows at random (no exact coverage, and every window decodes
another clip).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gi_model.errors import CorpusError

Ids = NDArray[np.int64]


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

    def __init__(self, stream_id: int, clip_ids: Ids, num_ticks: Ids, config: OrderConfig) -> None:
        """clip_ids int64 (N,); num_ticks int64 (N,), at least T each."""
        self._id, self._clips, self._ticks, self._config = stream_id, clip_ids, num_ticks, config
        self._num_windows = num_windows(num_ticks, config.window_ticks, shift=config.shift)
        self.num_windows = int(self._num_windows.sum())
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)
        self._block = lru_cache(maxsize=4)(self._make_block)

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
        """int64 (windows of the block, 2): clip id and start, shuffled."""
        order, bounds, _ = self._epoch(epoch)
        members = order[bounds[block] : bounds[block + 1]]
        random = self._random(epoch, block)
        counts = self._num_windows[members]
        slack = self._ticks[members] - counts * self._config.window_ticks
        phases = random.integers(0, slack + 1) if self._config.shift else np.zeros_like(slack)
        clips = np.repeat(self._clips[members], counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = np.repeat(phases, counts) + within * self._config.window_ticks
        return random.permutation(np.stack([clips, starts], axis=1))

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, 1 + self._id, *key])


class WindowOrder:
    """The order over several streams, each with the same share of every group."""

    def __init__(self, streams: Sequence[Ids], num_ticks: Ids, config: OrderConfig) -> None:
        """streams: clip ids of each; num_ticks int64 (num_clips,). Raises CorpusError if no clip holds a window."""
        self._config = config
        share = OrderConfig(config.seed, config.window_ticks, config.block_ticks // max(1, len(streams)), config.shift)
        longest = max((int(num_ticks[clips].max()) for clips in streams if len(clips)), default=0)
        self._streams = [
            _Stream(stream_id, clips, num_ticks[clips], share)
            for stream_id, clips in enumerate(ids[num_ticks[ids] >= config.window_ticks] for ids in streams)
            if len(clips)
        ]
        if not self._streams:
            do = "Record longer clips, or train on shorter windows."
            expected = f"{config.window_ticks} ticks or more"
            got = f"at most {longest} ticks"
            raise CorpusError("no clip is as long as a window", got=got, expected=expected, do=do)

    @property
    def num_windows(self) -> int:
        """Windows of one epoch, over all streams."""
        return sum(stream.num_windows for stream in self._streams)

    def place(self, position: int) -> Place:
        """The window at `position`, counted from 0 without end."""
        group, turn = divmod(position, len(self._streams))
        stream_id = _permutation(self._config.seed, group, len(self._streams))[turn]
        return self._streams[stream_id].place(group)


@lru_cache(maxsize=4096)
def _permutation(seed: int, group: int, num_streams: int) -> list[int]:
    """Streams in the order of this group: shuffled, else each rank would always be served by the same game."""
    turns: list[int] = np.random.default_rng([seed, 0, group]).permutation(num_streams).tolist()
    return turns


def num_windows(num_ticks: Ids, window_ticks: int, *, shift: bool) -> Ids:
    """Windows of clips of `num_ticks`, each at least a window long: as many as fit behind any phase."""
    spare = window_ticks - 1 if shift else 0
    return np.maximum(1, (num_ticks - spare) // window_ticks)
