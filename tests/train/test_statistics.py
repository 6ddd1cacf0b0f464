"""Laws of the statistics: intervals cover what they claim, and nothing depends on order, shift, or scale."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_model.errors import ConfigError
from gi_train.statistics import Interval, bootstrap_mean, mean_interval, normalised_score, summarise_latency

scores = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_intervals_cover_the_true_mean_about_95_times_in_100(draw: str) -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        values = generator.normal(1.0, 2.0, 40) if draw == "normal" else generator.exponential(1.0, 40)
        interval = bootstrap_mean(values)
        covered += interval.low <= 1.0 <= interval.high
    assert 176 <= covered <= 199  # 0.88 to 0.995: the bootstrap is a little narrow at n = 40


@settings(max_examples=20, deadline=None)
@given(scores, st.randoms())
def test_the_order_of_episodes_changes_nothing(values: list[float], shuffler: Random) -> None:
    shuffled = list(values)
    shuffler.shuffle(shuffled)
    assert bootstrap_mean(values) == bootstrap_mean(shuffled)


@settings(max_examples=20, deadline=None)
@given(scores)
def test_the_interval_holds_the_mean_and_stays_within_the_sample(values: list[float]) -> None:
    interval = bootstrap_mean(values)
    slack = 1e-9
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack
    assert interval.mean == pytest.approx(np.mean(values))


def test_more_episodes_narrow_the_interval() -> None:
    generator = np.random.default_rng(0)
    few, many = (bootstrap_mean(generator.normal(size=n)) for n in (20, 320))
    assert many.high - many.low < 0.5 * (few.high - few.low)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 20), st.floats(-50, 50))
def test_normalised_scores_ignore_the_unit_of_the_score(scale: float, shift: float) -> None:
    generator = np.random.default_rng(2)
    played, zero, one = generator.normal(8, 1, 20), generator.normal(2, 1, 20), generator.normal(10, 1, 20)
    plain = normalised_score(played, random=zero, demonstrator=one)
    moved = normalised_score(played * scale + shift, random=zero * scale + shift, demonstrator=one * scale + shift)
    assert (moved.mean, moved.low, moved.high) == pytest.approx((plain.mean, plain.low, plain.high), rel=1e-6)


def test_random_scores_0_and_the_demonstrator_1() -> None:
    zero, one = [1.0, 2.0, 3.0], [10.0, 11.0, 12.0]
    assert normalised_score(zero, random=zero, demonstrator=one).mean == pytest.approx(0.0)
    assert normalised_score(one, random=zero, demonstrator=one).mean == pytest.approx(1.0)


def test_a_noisy_demonstrator_widens_the_normalised_interval() -> None:
    generator = np.random.default_rng(3)
    played, zero = generator.normal(8, 0.1, 30), np.full(30, 2.0)
    sure, unsure = (
        normalised_score(played, random=zero, demonstrator=10 + noise * np.linspace(-1, 1, 30)) for noise in (0, 6)
    )
    assert unsure.high - unsure.low > 2 * (sure.high - sure.low)


def test_normalised_intervals_cover_the_truth() -> None:
    generator = np.random.default_rng(4)
    covered = 0
    for _ in range(150):
        played, zero, one = (generator.normal(mean, 3, 40) for mean in (8, 2, 10))
        interval = normalised_score(played, random=zero, demonstrator=one)
        covered += interval.low <= 0.75 <= interval.high
    assert 133 <= covered <= 149


def test_a_demonstrator_no_better_than_random_has_no_scale() -> None:
    with pytest.raises(ConfigError, match="no better than random"):
        normalised_score([1.0], random=[2.0, 2.0], demonstrator=[2.0, 2.0])


@pytest.mark.parametrize("values", [[], [float("nan")], [1.0, float("inf")]])
def test_no_scores_no_interval(values: list[float]) -> None:
    with pytest.raises(ConfigError, match="sample of scores"):
        bootstrap_mean(values)


def test_the_mean_of_equal_intervals_is_narrower_by_root_n() -> None:
    one = Interval(1.0, 0.8, 1.4)
    mean = mean_interval([one] * 4)
    assert (mean.mean, mean.low, mean.high) == pytest.approx((1.0, 0.9, 1.2))


def test_latency_percentiles_are_those_of_the_pooled_frames() -> None:
    latency = summarise_latency(np.arange(101.0))
    assert (latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms, latency.count) == (50, 95, 99, 100, 101)
    assert summarise_latency([]).count == 0
