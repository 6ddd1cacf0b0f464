"""The result of a label study: scores of the three kinds of policy with intervals, as a table, JSON, and a chart.

Scores are normalised (random play 0, demonstrator 1). The interval of a condition resamples whole training seeds, and
episodes within them, and both baselines: runs of one recipe differ more than their episodes say.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.table import Table

from gi_data.storage import write_atomic
from gi_model.errors import ConfigError
from gi_train.chart import Palette, draw_png
from gi_train.episodes import ResultsFile
from gi_train.statistics import Interval

CONDITIONS: Final = ("labelled", "pseudo", "true")
LEGEND: Final = {"labelled": "labelled part", "pseudo": "it, and a model's labels", "true": "all true labels"}
RESAMPLES: Final = 4000

Scores = Mapping[str, Sequence[Sequence[float]]]  # by game: for each seed, its episodes


@dataclass(frozen=True)
class ConditionResult:
    """Normalised score of one condition; game "mean": over games. seeds: the mean of each training seed."""

    condition: str
    game: str
    score: Interval
    seeds: tuple[float, ...]
    num_episodes: int


def write_study(out: Path, *, settings: Mapping[str, Any], seeds: int) -> Table:
    """Write results.json and results.png of the first `seeds` seeds to `out`; return the table."""
    baselines = ResultsFile(out / "baselines.jsonl").read()
    games = tuple(sorted({result.game for result in baselines}))
    ends = {
        agent: {game: [r.score for r in baselines if (r.agent, r.game) == (agent, game)] for game in games}
        for agent in ("random", "demonstrator")
    }
    results = [
        one
        for condition in CONDITIONS
        for one in condition_results(
            condition, _read(out, condition, games, seeds), ends["random"], ends["demonstrator"]
        )
    ]
    facts = {"settings": dict(settings), "idm": _json(out / "idm.json"), "results": [asdict(one) for one in results]}
    write_atomic(out / "results.json", json.dumps(facts, indent=1, default=str).encode())
    write_atomic(out / "results.png", draw_png(lambda figure, palette: _draw(figure, palette, results), 7.0, 3.2))
    return _table(results)


def condition_results(
    condition: str, played: Scores, random: Mapping[str, Sequence[float]], demonstrator: Mapping[str, Sequence[float]]
) -> list[ConditionResult]:
    """Scores of each game and their mean. Raises ConfigError where the demonstrator is no better than random play."""
    rng = np.random.default_rng(0)
    games = sorted(played)
    means, draws, by_seed = [], [], []
    for game in games:
        zero, one = float(np.mean(random[game])), float(np.mean(demonstrator[game]))
        if one <= zero:
            raise ConfigError(f"cannot normalise {game}", got=(zero, one), expected="a demonstrator above random play")
        by_seed.append([(float(np.mean(episodes)) - zero) / (one - zero) for episodes in played[game]])
        means.append(float(np.mean(by_seed[-1])))
        draws.append(_draws(played[game], random[game], demonstrator[game], rng))
    found = [
        ConditionResult(condition, game, _interval(mean, draw), tuple(seeds), sum(map(len, played[game])))
        for game, mean, draw, seeds in zip(games, means, draws, by_seed, strict=True)
    ]
    total = sum(one.num_episodes for one in found)
    overall = _interval(float(np.mean(means)), np.mean(draws, axis=0))
    return [*found, ConditionResult(condition, "mean", overall, tuple(np.mean(by_seed, axis=0).tolist()), total)]


def _draws(
    seeds: Sequence[Sequence[float]], random: Sequence[float], demonstrator: Sequence[float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Resampled normalised scores (RESAMPLES,): seeds, episodes of each, and both baselines anew."""
    draws = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        chosen = rng.integers(len(seeds), size=len(seeds))
        played = np.mean([_resampled(seeds[seed], rng) for seed in chosen])
        zero, one = _resampled(random, rng), _resampled(demonstrator, rng)
        draws[number] = (played - zero) / (one - zero) if one > zero else np.nan
    return draws


def _resampled(values: Sequence[float], rng: np.random.Generator) -> float:
    sample = np.asarray(values, dtype=np.float64)
    return float(sample[rng.integers(len(sample), size=len(sample))].mean())


def _interval(mean: float, draws: NDArray[np.float64]) -> Interval:
    low, high = np.nanpercentile(draws, (2.5, 97.5))
    return Interval(mean, float(low), float(high))


def _read(out: Path, condition: str, games: Sequence[str], seeds: int) -> Scores:
    results = [ResultsFile(out / "played" / f"{condition}-{seed}.jsonl").read() for seed in range(seeds)]
    return {game: [[one.score for one in played if one.game == game] for played in results] for game in games}


def _json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def _table(results: Sequence[ConditionResult]) -> Table:
    table = Table("policy learned from", "game", "normalised score", "95 %", "seeds", "episodes")
    for one in results:
        bounds = f"{one.score.low:.2f} to {one.score.high:.2f}"
        seeds = " ".join(f"{seed:.2f}" for seed in one.seeds)
        table.add_row(one.condition, one.game, f"{one.score.mean:.2f}", bounds, seeds, str(one.num_episodes))
    return table


def _draw(figure: Figure, palette: Palette, results: Sequence[ConditionResult]) -> None:
    axes = figure.subplots()
    games = list(dict.fromkeys(one.game for one in results))
    for one in results:
        place = games.index(one.game) + 0.22 * (CONDITIONS.index(one.condition) - 1)
        colour = palette.series[CONDITIONS.index(one.condition)]
        name = LEGEND[one.condition] if one.game == games[0] else None
        axes.plot([place, place], [one.score.low, one.score.high], color=colour, linewidth=2)
        axes.plot(place, one.score.mean, "o", color=colour, label=name)
        axes.plot([place + 0.05] * len(one.seeds), one.seeds, "_", color=colour, markersize=9)
    axes.set_xticks(range(len(games)), games)
    axes.axhline(0, color=palette.line, linewidth=1)
    axes.axhline(1, color=palette.line, linewidth=1)
    axes.set_ylabel("normalised score")
    axes.legend(frameon=False, fontsize=8)
