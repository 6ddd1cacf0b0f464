"""Mouse motion <-> bins: exact up to +-16 counts, within 3 % up to +-2000, symmetric, one token an axis.

Real mouse motion is heavy-tailed: aim is a matter of single counts, a flick of a thousand. Peers quantise to 11 to 23
bins and lose 15 to 61 % of the motion (relative L1); 200 bins cost a policy little, because its loss can be smoothed
over neighbouring bins (`gi_model.decoder`). Bins grow greedily: each holds the longest run of whole counts that one
representative serves within the tolerance, so no bin is empty and `decode(encode(m))` is always a whole count.
"""

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

EXACT_COUNTS: Final = 16
MAX_COUNTS: Final = 2000
TOLERANCE: Final = 0.03


class MotionCodec:
    """Whole mouse counts (any integer array) <-> bin ids in [0, num_bins)."""

    @cached_property
    def _positive(self) -> tuple[list[int], list[int]]:
        """Representatives and last members of the bins above zero."""
        values, lasts, first = [], [], 1
        while first <= MAX_COUNTS:
            value = max(first, int(first * (1 + TOLERANCE))) if first > EXACT_COUNTS else first
            last = max(value, int(value / (1 - TOLERANCE))) if first > EXACT_COUNTS else first
            values.append(value)
            lasts.append(last)
            first = last + 1
        return values, lasts

    @cached_property
    def values(self) -> NDArray[np.int64]:
        """int64 (num_bins,), ascending: the motion each bin decodes to."""
        above = np.array(self._positive[0], dtype=np.int64)
        return np.concatenate([-above[::-1], [0], above])

    @cached_property
    def _lasts(self) -> NDArray[np.int64]:
        return np.array([0, *self._positive[1]], dtype=np.int64)

    @property
    def num_bins(self) -> int:
        """How many bins, an odd number: the middle one is "no motion"."""
        return len(self.values)

    def encode(self, motion: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """Bin of each motion in counts; beyond the last bin clips to it (`is_clipped` tells)."""
        motion = np.asarray(motion, dtype=np.int64)
        above = np.searchsorted(self._lasts, np.minimum(np.abs(motion), self._lasts[-1]))
        bins: NDArray[np.int64] = self.num_bins // 2 + np.sign(motion) * above
        return bins

    def decode(self, bins: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """Motion in counts of each bin."""
        counts: NDArray[np.int64] = self.values[np.asarray(bins)]
        return counts

    def is_clipped(self, motion: NDArray[np.int64] | int) -> NDArray[np.bool_]:
        """Which motions are outside what the bins keep within tolerance."""
        clipped: NDArray[np.bool_] = np.abs(motion) > self._positive[1][-1]
        return clipped


MOTION: Final = MotionCodec()
