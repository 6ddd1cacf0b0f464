"""`StepTimes`: how long a step of n players takes, learned while it serves: a + b n seconds.

Times are kept by batch size, in sizes that double, each as a running mean from which outliers (a pause of the machine)
are clipped; the line is fitted through those means. So hours of one player alone do not wash out what the start
measured for thirty-two. Rejected: one exponentially weighted regression (with one size it forgets the slope, and then
admits everybody).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import numpy as np

from gi_model.stepper import Sampling, Stepper

_MEMORY: Final = 0.05  # weight of a new time in its mean
_OUTLIER: Final = 3.0  # deviations from the mean beyond which a time is clipped
_FIRST_DEVIATION: Final = 0.25  # of the first time, until there are more
_RESOLUTION_S: Final = 1e-6  # what a clock can tell apart


@dataclass(slots=True)
class _Bucket:
    """Steps of similar size: running means of size, seconds, and absolute deviation."""

    size: float
    seconds: float
    deviation: float

    def observe(self, size: int, seconds: float) -> None:
        limit = _OUTLIER * self.deviation
        off = min(max(seconds - self.seconds, -limit), limit)
        self.size += _MEMORY * (size - self.size)
        self.seconds += _MEMORY * off
        self.deviation += _MEMORY * (min(abs(seconds - self.seconds), 2 * limit) - self.deviation)
        self.deviation = max(self.deviation, _RESOLUTION_S)


@dataclass(slots=True)
class StepTimes:
    """Seconds of a step by its number of players. Knows nothing, and answers 0, before the first `observe`."""

    _buckets: dict[int, _Bucket] = field(default_factory=dict)
    _line: tuple[float, float] | None = None

    def observe(self, size: int, seconds: float) -> None:
        """Learn that a step of `size` players took `seconds`."""
        key = (size - 1).bit_length()
        if (bucket := self._buckets.get(key)) is None:
            self._buckets[key] = _Bucket(size, seconds, _FIRST_DEVIATION * seconds)
        else:
            bucket.observe(size, seconds)
        self._line = None

    @property
    def is_known(self) -> bool:
        """Whether anything was observed."""
        return bool(self._buckets)

    @property
    def line(self) -> tuple[float, float]:
        """(a, b), neither below 0: least squares, each mean with the same say."""
        if self._line is None:
            self._line = _fit(list(self._buckets.values())) if self._buckets else (0.0, 0.0)
        return self._line

    @property
    def margin(self) -> float:
        """By what share a step may be expected to exceed the line: twice the mean deviation."""
        shares = [bucket.deviation / max(bucket.seconds, _RESOLUTION_S) for bucket in self._buckets.values()]
        return 2.0 * median(shares) if shares else 0.0

    def expect(self, size: int) -> float:
        """Seconds that a step of `size` players takes."""
        a, b = self.line
        return a + b * size


def _fit(buckets: list[_Bucket]) -> tuple[float, float]:
    """Least squares in plain Python: it runs with every step, for a handful of points."""
    size = sum(bucket.size for bucket in buckets) / len(buckets)
    seconds = sum(bucket.seconds for bucket in buckets) / len(buckets)
    spread = sum((bucket.size - size) ** 2 for bucket in buckets)
    slope = sum((bucket.size - size) * bucket.seconds for bucket in buckets) / spread if spread else 0.0
    if slope <= 0.0:
        return seconds, 0.0
    if (base := seconds - slope * size) >= 0.0:
        return base, slope
    return 0.0, sum(bucket.size * bucket.seconds for bucket in buckets) / sum(bucket.size**2 for bucket in buckets)


def measure(stepper: Stepper, *, seconds: float = 2.0, clock: Callable[[], float] = time.perf_counter) -> StepTimes:
    """Measure steps of 1, 2, 4, ... players, before the model serves; stops growing after `seconds`.

    It is the warm-up as well: each size runs once unmeasured. What the slots hold is lost.
    """
    times, size, began = StepTimes(), 1, clock()
    while size <= stepper.num_slots and clock() - began < seconds:
        for slot in range(size):
            stepper.open(slot, Sampling())
        frames = np.zeros((size, stepper.height, stepper.width, 3), np.uint8)
        for _ in range(4):
            started = clock()
            stepper.step(frames, list(range(size)))
            took = clock() - started
            if _ > 0:
                times.observe(size, took)
        size = size * 2 if size * 2 <= stepper.num_slots or size == stepper.num_slots else stepper.num_slots
    return times
