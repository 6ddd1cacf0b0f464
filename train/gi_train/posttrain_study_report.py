"""The result of a post-training study: score over demonstrations for each arm, as a table, JSON, and a chart.

Scores are normalised (random play 0, demonstrator 1). An interval resamples whole seeds, the episodes within them, and
both baselines (`label_study_report`): runs of one recipe differ more than their episodes say. Of an arm against
`scratch` the difference is taken seed by seed, for a seed's arms learned from the same demonstrations.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.figure import Figure
from rich.console import Group
from rich.table import Table

from gi_data.storage import write_atomic
from gi_train.chart import Palette, draw_png
from gi_train.episodes import EpisodeResult, ResultsFile
from gi_train.label_study_report import condition_results
from gi_train.run_files import RunPaths, read_rows
from gi_train.statistics import Interval

if TYPE_CHECKING:
    from gi_train.posttrain_study import PosttrainStudy

ARMS: Final = ("adapter", "full", "scratch", "random")
LEGEND: Final = {
    "adapter": "adapter, pretrained base",
    "full": "all weights, pretrained base",
    "scratch": "all weights, from scratch",
    "random": "adapter, untrained base",
}
CONTROL: Final = "scratch"
RESAMPLES: Final = 4000


@dataclass(frozen=True)
class Cell:
    """One arm at one number of demonstrations in one game.

    score: normalised. seeds: the mean of each. gain: over the control, None for the control itself. nats: held-out, the
    best a tick of each seed.
    """

    arm: str
    size: int
    game: str
    score: Interval
    seeds: tuple[float, ...]
    gain: Interval | None
    num_episodes: int
    nats: tuple[float, ...]


def write_study(study: "PosttrainStudy", settings: Mapping[str, Any]) -> Group:
    """Write results.json and results.png of what has been played so far to the study's folder; return the tables."""
    baselines = ResultsFile(study.baselines).read()
    cells = [cell for game in study.games for cell in _cells(study, baselines, game)]
    facts = {"settings": dict(settings), "cells": [asdict(cell) for cell in cells]}
    write_atomic(study.out / "results.json", json.dumps(facts, indent=1, default=str).encode())
    width = 0.8 + 4.2 * len(study.games)
    chart = draw_png(lambda figure, palette: _draw(figure, palette, cells), width, 3.6)
    write_atomic(study.out / "results.png", chart)
    return draw_tables(cells)


def _cells(study: "PosttrainStudy", baselines: Sequence[EpisodeResult], game: str) -> Iterator[Cell]:
    """Of every arm and size that some seed has played whole."""
    ends = {agent: _scores(baselines, game, agent) for agent in ("random", "demonstrator")}
    spread = float(np.mean(ends["demonstrator"]) - np.mean(ends["random"]))
    for size in study.sizes:
        played = {arm: _played(study, arm, size, game) for arm in study.arms}
        for arm, by_seed in played.items():
            if not by_seed:
                continue
            found = condition_results(arm, {game: list(by_seed.values())}, *({game: ends[e]} for e in ends))[0]
            control = played.get(CONTROL, {})
            both = [(by_seed[seed], control[seed]) for seed in by_seed if seed in control]
            gain = paired_gain(both, spread) if both and arm != CONTROL else None
            nats = tuple(_best_nats(RunPaths(study.run(arm, size, seed))) for seed in by_seed)
            yield Cell(arm, size, game, found.score, found.seeds, gain, found.num_episodes, nats)


def paired_gain(pairs: Sequence[tuple[Sequence[float], Sequence[float]]], spread: float) -> Interval:
    """How much better the first of each pair of runs scored, in units of `spread`; seeds and episodes resampled."""
    rng = np.random.default_rng(0)
    draws = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        chosen = rng.integers(len(pairs), size=len(pairs))
        draws[number] = np.mean([_resampled(a, rng) - _resampled(b, rng) for a, b in (pairs[i] for i in chosen)])
    mean = float(np.mean([np.mean(a) - np.mean(b) for a, b in pairs]))
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(mean / spread, float(low) / spread, float(high) / spread)


def _resampled(values: Sequence[float], rng: np.random.Generator) -> float:
    sample = np.asarray(values, dtype=np.float64)
    return float(sample[rng.integers(len(sample), size=len(sample))].mean())


def _played(study: "PosttrainStudy", arm: str, size: int, game: str) -> dict[int, list[float]]:
    """Scores of the seeds that have played all their episodes, by seed."""
    found = {}
    for seed in range(study.seeds):
        scores = _scores(ResultsFile(study.played(arm, size, seed)).read(), game)
        if len(scores) >= study.episodes:
            found[seed] = scores
    return found


def _scores(results: Sequence[EpisodeResult], game: str, agent: str | None = None) -> list[float]:
    return [one.score for one in results if one.game == game and agent in (None, one.agent)]


def _best_nats(paths: RunPaths) -> float:
    return min((row["nll"] for row in read_rows(paths.metrics) if row["kind"] == "val"), default=float("nan"))


def draw_tables(cells: Sequence[Cell]) -> Group:
    """A table a game, for a terminal of 80 columns: a row an arm and size."""
    tables = []
    for game in dict.fromkeys(cell.game for cell in cells):
        title = f"{game}: normalised score, 95 % (random = 0, demonstrator = 1)"
        table = Table("demos", "arm", "score", "over scratch", "held-out nats", title=title, title_justify="left")
        for cell in cells:
            if cell.game == game:
                nats = f"{np.mean(cell.nats):.2f}"
                table.add_row(str(cell.size), cell.arm, _words(cell.score), _words(cell.gain, sign="+"), nats)
        tables.append(table)
    return Group(*tables)


def _words(value: Interval | None, sign: str = "") -> str:
    if value is None:
        return "-"
    return f"{value.mean:{sign}.2f} ({value.low:{sign}.2f}..{value.high:{sign}.2f})"


def _draw(figure: Figure, palette: Palette, cells: Sequence[Cell]) -> None:
    games = list(dict.fromkeys(cell.game for cell in cells))
    sizes = sorted({cell.size for cell in cells})
    panels = figure.subplots(1, len(games), sharey=True, squeeze=False)[0]
    for axes, game in zip(panels, games, strict=True):
        for place, arm in enumerate(ARMS):
            mine = [cell for cell in cells if (cell.arm, cell.game) == (arm, game)]
            if not mine:
                continue
            along = [cell.size * 1.03 ** (place - 1.5) for cell in mine]  # side by side, so that whiskers can be told
            means = [cell.score.mean for cell in mine]
            reach = [[c.score.mean - c.score.low for c in mine], [c.score.high - c.score.mean for c in mine]]
            colour = palette.series[place]
            axes.errorbar(along, means, yerr=reach, fmt="o-", color=colour, label=LEGEND[arm], markersize=4)
        for level in (0, 1):
            axes.axhline(level, color=palette.line, linewidth=1)
        axes.set(xscale="log", xlabel="demonstrations", title=game)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
    panels[0].set_ylabel("normalised score")
    panels[0].legend(fontsize=8, loc="lower right")  # curves rise to the right
