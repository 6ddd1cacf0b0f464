"""What a handful of episodes says: means with bootstrap intervals, normalised scores, latency percentiles.

Intervals are percentile bootstraps with a fixed seed, so a report is the same each time it is made. The normalised
score's interval resamples the two baselines as well: they were measured over episodes too, and a noisy demonstrator
must widen it. Rejected: mean +- 1.96 standard errors (game scores are skewed and bounded), and pairing by seed (the
agents' games part ways at the first tick).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gi_model.errors import ConfigError

NUM_RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap_mean(values: ArrayLike, *, seed: int = 0) -> Interval:
    """Mean of `values` (N,) with its percentile bootstrap interval. Raises ConfigError when there are none."""
    sample = _as_sample(values)
    return _interval(float(sample.mean()), _resampled_means(sample, np.random.default_rng(seed)))


def normalised_score(scores: ArrayLike, *, random: ArrayLike, demonstrator: ArrayLike, seed: int = 0) -> Interval:
    """Mean of `scores` on the scale where random play is 0 and the demonstrator 1, all three resampled.

    Raises ConfigError when the demonstrator does not beat random play: then the scale means nothing.
    """
    samples = [_as_sample(values) for values in (scores, random, demonstrator)]
    means = [float(sample.mean()) for sample in samples]
    if means[2] <= means[1]:
        got = f"demonstrator {means[2]:.2f}, random {means[1]:.2f}"
        raise ConfigError("cannot normalise: the demonstrator is no better than random play", got=got)
    generator = np.random.default_rng(seed)
    played, zero, one = (_resampled_means(sample, generator) for sample in samples)
    spread = one - zero
    draws = np.divide(played - zero, spread, out=np.full_like(spread, np.nan), where=spread > 0)
    return _interval((means[0] - means[1]) / (means[2] - means[1]), draws[np.isfinite(draws)])


def mean_interval(draws_of: Sequence[Interval]) -> Interval:
    """Mean over independent estimates, each with its own interval; half-widths add in quadrature."""
    if not draws_of:
        raise ConfigError("no estimates to average", got=0, expected="at least one")
    mean = float(np.mean([estimate.mean for estimate in draws_of]))
    below = float(np.linalg.norm([estimate.mean - estimate.low for estimate in draws_of])) / len(draws_of)
    above = float(np.linalg.norm([estimate.high - estimate.mean for estimate in draws_of])) / len(draws_of)
    return Interval(mean, mean - below, mean + above)


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of frame-to-action times, in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    count: int


def summarise_latency(latency_ms: ArrayLike) -> Latency:
    """Percentiles of `latency_ms` (N,); zeros when nothing was measured."""
    times = np.asarray(latency_ms, dtype=np.float64).ravel()
    if not times.size:
        return Latency(0.0, 0.0, 0.0, 0.0, 0)
    p50, p95, p99 = (float(value) for value in np.percentile(times, (50, 95, 99)))
    return Latency(p50, p95, p99, float(times.max()), int(times.size))


def _as_sample(values: ArrayLike) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64).ravel()
    if not sample.size or not np.isfinite(sample).all():
        raise ConfigError("not a sample of scores", got=sample[:4].tolist(), expected="one finite number or more")
    return np.sort(sample)  # the order episodes finished in must not move the interval


def _resampled_means(sample: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    picks = generator.integers(0, sample.size, (NUM_RESAMPLES, sample.size))
    means: NDArray[np.float64] = sample[picks].mean(axis=1)
    return means


def _interval(mean: float, draws: NDArray[np.float64]) -> Interval:
    tail = 50.0 * (1.0 - LEVEL)
    low, high = np.percentile(draws, (tail, 100.0 - tail))
    return Interval(mean, float(low), float(high))
