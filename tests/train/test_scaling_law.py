"""Laws of the fit: it finds the law that made the losses, its intervals hold it, and it admits what it cannot know."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_model.errors import ConfigError
from gi_train.scaling_law import Trained, check_grid, fit_law

SIZES, AMOUNTS = np.geomspace(5e4, 5e6, 5), np.geomspace(5e3, 5e5, 5)


def make_runs(
    alpha: float, beta: float, floor: float, *, noise: float = 0.0, seed: int = 0, size_term: float = 1.5
) -> list[Trained]:
    """A grid whose losses follow a law; terms of comparable size in the middle of it."""
    generator = np.random.default_rng(seed)
    return [
        Trained(
            n,
            d,
            (floor + size_term * (5e5 / n) ** alpha + 1.5 * (5e4 / d) ** beta) * np.exp(noise * generator.normal()),
        )
        for n in SIZES
        for d in AMOUNTS
    ]


@settings(deadline=None, max_examples=6)
@given(alpha=st.floats(0.15, 0.7), beta=st.floats(0.15, 0.7), floor=st.floats(1, 4))
def test_the_law_that_made_the_losses_is_found(alpha: float, beta: float, floor: float) -> None:
    law = fit_law(make_runs(alpha, beta, floor), num_resamples=20)
    assert law.alpha.value == pytest.approx(alpha, rel=0.02)
    assert law.beta.value == pytest.approx(beta, rel=0.02)
    assert law.floor.value == pytest.approx(floor, rel=0.05)
    assert law.growth.value == pytest.approx(beta / (alpha + beta), rel=0.02)
    assert float(law.predict(1e7, 1e6)) == pytest.approx(
        floor + 1.5 * (5e5 / 1e7) ** alpha + 1.5 * (5e4 / 1e6) ** beta, rel=0.02
    )


def test_intervals_hold_the_truth_and_widen_with_noise() -> None:
    """95 % intervals from few runs are a little short: 9 of 12 true values must lie inside."""
    held, widths = 0, []
    for noise in (0.002, 0.01):
        for seed in (1, 2):
            law = fit_law(make_runs(0.4, 0.3, 2.0, noise=noise, seed=seed), seed=seed, num_resamples=100)
            for estimate, truth in ((law.alpha, 0.4), (law.beta, 0.3), (law.floor, 2.0)):
                held += estimate.low <= truth <= estimate.high
            widths.append(law.alpha.high - law.alpha.low)
    assert held >= 9
    assert max(widths[:2]) < min(widths[2:])


def test_one_run_that_went_wrong_pulls_little() -> None:
    runs = make_runs(0.4, 0.3, 2.0)
    runs[7] = Trained(runs[7].parameters, runs[7].ticks, runs[7].loss * 1.5)
    law = fit_law(runs, num_resamples=20)
    assert law.alpha.value == pytest.approx(0.4, rel=0.1)
    assert law.beta.value == pytest.approx(0.3, rel=0.1)


def test_what_the_runs_leave_open_is_said() -> None:
    """Where size makes no difference nobody can say how fast loss falls with it."""
    law = fit_law(make_runs(0.4, 0.4, 2.0, noise=0.01, size_term=0.0), num_resamples=60)
    assert "do not determine alpha" in law.doubts["alpha"]
    assert "beta" not in law.doubts
    assert fit_law(make_runs(0.4, 0.4, 2.0, noise=0.001), num_resamples=60).doubts == {}


def test_the_same_runs_give_the_same_intervals() -> None:
    runs = make_runs(0.4, 0.3, 2.0, noise=0.01)
    assert fit_law(runs, num_resamples=20) == fit_law(runs, num_resamples=20)


@pytest.mark.parametrize("keep", [7, 2, 0])
def test_too_few_runs_are_refused(keep: int) -> None:
    with pytest.raises(ConfigError, match="too few runs"):
        fit_law(make_runs(0.4, 0.3, 2.0)[:keep])


def test_two_sizes_never_bend() -> None:
    runs = [run for run in make_runs(0.4, 0.3, 2.0) if run.parameters < 2e5]
    assert len(runs) >= 8
    with pytest.raises(ConfigError, match="2 sizes"):
        fit_law(runs)
    with pytest.raises(ConfigError, match="2 sizes"):
        check_grid(2, 9)


@pytest.mark.parametrize("loss", [0.0, -1.0, float("nan")])
def test_losses_that_have_no_logarithm_are_refused(loss: float) -> None:
    runs = make_runs(0.4, 0.3, 2.0)
    with pytest.raises(ConfigError, match="positive"):
        fit_law([*runs, Trained(1e6, 1e5, loss)])
