"""`Deal`: which stream (the clips of a game, say) each position of the endless training order belongs to.

Positions come in groups; a stream has the same number of places in every group, in a new random sequence, else each
rank would always be served by the same streams. The numbers are the smallest that come close to the shares asked for.
Index arithmetic: nothing depends on what was asked before.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gi_model.errors import ConfigError

Ids = NDArray[np.int64]

TOLERANCE = 0.01  # of all windows, so many may be dealt to another stream than the shares ask for
_LONGEST_GROUP = 4096
_PAGE = 256  # groups whose sequences are drawn at once


def quotas(shares: Sequence[float]) -> tuple[int, ...]:
    """Places of each stream in a group: the smallest numbers, at least 1 each, within TOLERANCE of `shares`.

    Where no group of bearable length is so close, the closest. Raises ConfigError on a share that is not above 0.
    """
    wanted = np.asarray(shares, dtype=np.float64)
    if not len(wanted) or not np.isfinite(wanted).all() or (wanted <= 0).any():
        raise ConfigError("shares of streams must be above 0", got=list(shares), expected="numbers above 0")
    wanted = wanted / wanted.sum()
    best: tuple[float, Ids] = (np.inf, np.ones(len(wanted), dtype=np.int64))
    for size in range(len(wanted), max(_LONGEST_GROUP, 4 * len(wanted))):
        counts = _apportion(wanted, size)
        distance = float(np.abs(counts / size - wanted).sum() / 2)
        if distance < best[0] - 1e-9:
            best = distance, counts
        if distance <= TOLERANCE:
            break
    return tuple(best[1].tolist())


def _apportion(wanted: NDArray[np.float64], size: int) -> Ids:
    """`size` places by largest remainder, after one for each."""
    exact = np.maximum(wanted * size - 1, 0)
    exact *= (size - len(wanted)) / exact.sum() if exact.sum() else 0
    counts = exact.astype(np.int64)
    rest = size - len(wanted) - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
    return counts + 1


class Deal:
    """Streams over positions, by `quotas` in every group."""

    def __init__(self, seed: int, quotas: Sequence[int]) -> None:
        self.quotas = tuple(quotas)
        self._seed, self._group = seed, sum(quotas)
        self._streams = np.repeat(np.arange(len(quotas)), quotas)
        self._page = lru_cache(maxsize=8)(self._make_page)

    def place(self, position: int) -> tuple[int, int]:
        """The stream of a position, and how many earlier positions belong to it."""
        group, turn = divmod(position, self._group)
        page, row = divmod(group, _PAGE)
        streams = self._page(page)[row]
        stream_id = int(streams[turn])
        return stream_id, group * self.quotas[stream_id] + int(np.count_nonzero(streams[:turn] == stream_id))

    def positions(self, stream_id: int, first: int, count: int) -> Ids:
        """Positions of the places `first` to `first + count - 1` of a stream; int64 (count,)."""
        quota = self.quotas[stream_id]
        pages = range(first // (quota * _PAGE), (first + count - 1) // (quota * _PAGE) + 1)
        found = [page * _PAGE * self._group + np.flatnonzero(self._page(page) == stream_id) for page in pages]
        skipped = first - pages[0] * quota * _PAGE
        return np.concatenate(found)[skipped : skipped + count]

    def _make_page(self, page: int) -> NDArray[np.int32]:
        """int32 (_PAGE, places of a group): streams in the sequence of each group."""
        streams = np.tile(self._streams.astype(np.int32), (_PAGE, 1))
        return np.random.default_rng([self._seed, 0, page]).permuted(streams, axis=1)
