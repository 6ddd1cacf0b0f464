"""`fit_law`: L(N, D) = E + A / N^alpha + B / D^beta through the losses of some runs, with intervals that admit doubt.

Approach 3 of Hoffmann et al. 2022 (Training Compute-Optimal Large Language Models, section 3.3): a Huber loss on
log L, so that a run that went wrong pulls little, minimised from many starts, because the surface has many valleys.
Levenberg-Marquardt with Huber's weights takes the place of L-BFGS: it is made for sums of squares, and all starts of
all resamples go down at once in one array. Intervals: 95 % percentiles over resampled runs. A grid of small runs often
leaves an exponent open; then `doubts` says so, instead of three digits that mean nothing.

P problems (a start on a resample each), R runs. Parameters: log A, log B, log E, alpha, beta.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gi_model.errors import ConfigError

Floats = NDArray[np.float64]
DELTA: Final = 1e-3  # of the Huber loss, in log L (Hoffmann et al.)
NUM_LEVELS: Final = 3  # sizes, and amounts of data, that a curve needs at least: two never bend
NUM_RUNS: Final = 8  # for five parameters
NUM_RESAMPLES: Final = 400
NUM_KEPT: Final = 3  # optima of the full fit from which each resample starts
MAX_EXPONENT: Final = 3.0
MAX_ROUNDS: Final = 16
STEPS_A_ROUND: Final = 25


@dataclass(frozen=True)
class Trained:
    """One finished run: parameters, ticks of play it learned from, and its held-out loss in nats a tick."""

    parameters: float
    ticks: float
    loss: float


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class ScalingLaw:
    """L = floor + a / N^alpha + b / D^beta. growth: N_opt ~ compute^growth. doubts: what the runs leave open."""

    floor: Estimate
    a: Estimate
    b: Estimate
    alpha: Estimate
    beta: Estimate
    growth: Estimate
    error: float  # median |predicted / measured - 1|
    num_runs: int
    doubts: dict[str, str]  # by name of what is open

    def predict(self, parameters: Floats | float, ticks: Floats | float) -> Floats:
        """Held-out loss of a model of so many parameters that learned from so many ticks."""
        by_size = self.a.value / np.power(parameters, self.alpha.value)
        by_data = self.b.value / np.power(ticks, self.beta.value)
        return np.asarray(self.floor.value + by_size + by_data, dtype=np.float64)


def fit_law(runs: Sequence[Trained], *, seed: int = 0, num_resamples: int = NUM_RESAMPLES) -> ScalingLaw:
    """Fit the law to `runs`. Raises ConfigError on too few runs, sizes, or amounts of data, or a loss below 0."""
    table = np.array([(run.parameters, run.ticks, run.loss) for run in runs], dtype=np.float64).reshape(-1, 3)
    _check(table)
    centre = np.log(table[:, :2]).mean(0)  # exponents and factors are far less entangled around the middle
    x = np.log(table[:, :2]) - centre
    y = np.log(table[:, 2])
    starts = _starts(y)
    best, scores = _descend(starts, np.tile(x, (len(starts), 1, 1)), np.tile(y, (len(starts), 1)))
    kept = best[np.argsort(scores)[:NUM_KEPT]]
    resampled = _resample(kept, x, y, np.random.default_rng(seed), num_resamples)
    point, many = _named(kept[:1], centre), _named(resampled, centre)
    estimates = {
        name: Estimate(float(point[name][0]), *(float(q) for q in np.percentile(many[name], (2.5, 97.5))))
        for name in point
    }
    fitted = np.exp(_predict(kept[:1], x[None])[0])
    error = float(np.median(np.abs(fitted / table[:, 2] - 1)))
    return ScalingLaw(**estimates, error=error, num_runs=len(table), doubts=_doubts(estimates))


def check_grid(num_sizes: int, num_amounts: int, num_seeds: int = 1) -> None:
    """Raise ConfigError if a grid can not determine a law, before anybody trains it."""
    _check_counts(num_sizes * num_amounts * num_seeds, num_sizes, num_amounts)


def _check_counts(num_runs: int, num_sizes: int, num_amounts: int) -> None:
    if num_runs < NUM_RUNS or min(num_sizes, num_amounts) < NUM_LEVELS:
        got = f"{num_runs} runs, {num_sizes} sizes, {num_amounts} amounts of data"
        expected = f"at least {NUM_RUNS} runs, {NUM_LEVELS} sizes, {NUM_LEVELS} amounts"
        raise ConfigError("too few runs for a scaling law", got=got, expected=expected, do="Run a larger grid.")


def _check(table: Floats) -> None:
    _check_counts(len(table), len(set(table[:, 0])), len(set(table[:, 1])))
    if not (np.isfinite(table).all() and (table > 0).all()):
        raise ConfigError("a scaling law needs positive numbers", got=table[~(table > 0).all(1)].tolist()[:1])


def _doubts(estimates: dict[str, Estimate]) -> dict[str, str]:
    """What the intervals leave open, in words."""
    doubts = {}
    for name, of in (("alpha", "size"), ("beta", "data")):
        estimate = estimates[name]
        if estimate.high - estimate.low > estimate.value or estimate.low <= 0.02 or estimate.high >= MAX_EXPONENT:
            doubts[name] = f"these runs do not determine {name}, how fast loss falls with {of}: {estimate}"
    floor = estimates["floor"]
    if len(doubts) == 2 or floor.high - floor.low > 0.5 * floor.high:
        doubts["floor"] = f"these runs do not determine the loss that no size and no data get below: {floor}"
    return doubts


# ---------------------------------------------------------------------- many fits at once


def _starts(y: Floats) -> Floats:
    """(P, 5): exponents and shares of the mean loss on a grid."""
    level = float(np.exp(y.mean()))
    grid = product((0.15, 0.4, 0.9), (0.15, 0.4, 0.9), (0.3, 0.7), (0.3, 0.7))
    return np.array(
        [
            (np.log(level * (1 - e) * s), np.log(level * (1 - e) * (1 - s)), np.log(level * e), alpha, beta)
            for alpha, beta, e, s in grid
        ]
    )


def _resample(kept: Floats, x: Floats, y: Floats, generator: np.random.Generator, num: int) -> Floats:
    """(num, 5): the best fit to each of `num` draws of runs with replacement that still hold enough levels."""
    draws: list[NDArray[np.int64]] = []
    while len(draws) < num:
        draw = generator.integers(0, len(y), len(y))
        if min(len(set(column)) for column in x[draw].T) >= NUM_LEVELS:
            draws.append(draw)
    rows = np.repeat(np.stack(draws), len(kept), axis=0)
    best, scores = _descend(np.tile(kept, (num, 1)), x[rows], y[rows])
    chosen = scores.reshape(num, len(kept)).argmin(1)
    picked: Floats = best.reshape(num, len(kept), 5)[np.arange(num), chosen]
    return picked


def _descend(theta: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Minimise each problem: theta (P, 5), x (P, R, 2), y (P, R) -> optima (P, 5), Huber losses (P,)."""
    theta, damping = theta.copy(), np.full(len(theta), 1e-2)
    loss = _huber(_predict(theta, x) - y)
    active = np.arange(len(theta))
    for _ in range(MAX_ROUNDS):
        before = loss[active]
        theta[active], damping[active], loss[active] = _round(theta[active], damping[active], x[active], y[active])
        active = active[before - loss[active] > 1e-6 * before + 1e-15]  # the rest has arrived
        if not len(active):
            break
    return theta, loss


def _round(theta: Floats, damping: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """A few steps downhill: parameters, damping, losses."""
    residual = _predict(theta, x) - y
    loss = _huber(residual)
    for _ in range(STEPS_A_ROUND):
        weight = np.minimum(1.0, DELTA / np.maximum(np.abs(residual), 1e-12))
        slopes = _slopes(theta, x)  # (P, R, 5)
        weighted = slopes * weight[..., None]
        curvature = np.swapaxes(weighted, 1, 2) @ slopes
        gradient = (weighted * residual[..., None]).sum(1)
        scale = np.einsum("pii->pi", curvature).max(1) + 1e-12
        damped = curvature + (damping * scale)[:, None, None] * np.eye(5)
        trial = theta - np.linalg.solve(damped, gradient[..., None])[..., 0]
        trial[:, 3:] = trial[:, 3:].clip(0.0, MAX_EXPONENT)
        trial[:, :3] = trial[:, :3].clip(-30.0, 30.0)
        trial_residual = _predict(trial, x) - y
        trial_loss = _huber(trial_residual)
        better = trial_loss < loss
        theta[better], residual[better], loss[better] = trial[better], trial_residual[better], trial_loss[better]
        damping = np.where(better, damping / 3, damping * 2).clip(1e-12, 1e6)
    return theta, damping, loss


def _terms(theta: Floats, x: Floats) -> Floats:
    """Logarithms of the three terms: (P, R, 3)."""
    by_size = theta[:, None, 0] - theta[:, None, 3] * x[..., 0]
    by_data = theta[:, None, 1] - theta[:, None, 4] * x[..., 1]
    return np.stack([by_size, by_data, np.broadcast_to(theta[:, None, 2], by_size.shape)], axis=-1)


def _predict(theta: Floats, x: Floats) -> Floats:
    """log L: (P, R)."""
    total: Floats = np.logaddexp.reduce(_terms(theta, x), axis=-1)
    return total


def _slopes(theta: Floats, x: Floats) -> Floats:
    """d log L / d theta: (P, R, 5)."""
    terms = _terms(theta, x)
    share = np.exp(terms - np.logaddexp.reduce(terms, axis=-1)[..., None])
    return np.concatenate([share, -share[..., :2] * x], axis=-1)


def _huber(residual: Floats) -> Floats:
    """Sum over runs: (P, R) -> (P,)."""
    size = np.abs(residual)
    losses: Floats = np.where(size <= DELTA, 0.5 * residual**2, DELTA * (size - 0.5 * DELTA)).sum(-1)
    return losses


def _named(theta: Floats, centre: Floats) -> dict[str, Floats]:
    """Fits (P, 5) around `centre` as the fields of a ScalingLaw, (P,) each."""
    alpha, beta = theta[:, 3], theta[:, 4]
    return {
        "floor": np.exp(theta[:, 2]),
        "a": np.exp(theta[:, 0] + alpha * centre[0]),
        "b": np.exp(theta[:, 1] + beta * centre[1]),
        "alpha": alpha,
        "beta": beta,
        "growth": beta / np.maximum(alpha + beta, 1e-9),
    }
