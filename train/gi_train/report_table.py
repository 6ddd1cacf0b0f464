"""The score table: every agent in every game, with intervals, scaled so that random play is 0, the demonstrator 1."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gi_train.episodes import EpisodeResult, select
from gi_train.statistics import Interval, Latency, bootstrap_mean, mean_interval, normalised_score, summarise_latency

ZERO, ONE = "random", "demonstrator"
BASELINES = ("idle", ZERO, "marginal", ONE)  # in the order they are shown


@dataclass(frozen=True, slots=True)
class Cell:
    """One agent in one game. normalised: None without both ends of the scale, or where the two ends do not differ."""

    game: str
    agent: str
    num_episodes: int
    realtime: bool
    score: Interval
    normalised: Interval | None
    latency: Latency
    late: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Scoreboard:
    """All cells; `mean_normalised` over the games, for every agent that has a normalised score in all of them."""

    cells: tuple[Cell, ...]
    mean_normalised: dict[str, Interval]

    @property
    def games(self) -> list[str]:
        """By name."""
        return sorted({cell.game for cell in self.cells})

    @property
    def agents(self) -> list[str]:
        """Baselines first."""
        names = list(dict.fromkeys(cell.agent for cell in self.cells))
        known = [name for name in BASELINES if name in names]
        return known + [name for name in names if name not in BASELINES]

    @property
    def players(self) -> list[str]:
        """Agents that are no baseline: what is being measured."""
        return [name for name in self.agents if name not in BASELINES]

    def cell(self, game: str, agent: str) -> Cell | None:
        """The cell of `agent` in `game`, if it played there."""
        return next((cell for cell in self.cells if (cell.game, cell.agent) == (game, agent)), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        means = {name: asdict(interval) for name, interval in self.mean_normalised.items()}
        return {"schema": 1, "mean_normalised": means, "cells": [asdict(cell) for cell in self.cells]}


def make_scoreboard(results: Sequence[EpisodeResult]) -> Scoreboard:
    """Summarise `results`, every game and agent in them."""
    pairs = sorted({(result.game, result.agent) for result in results})
    cells = tuple(_make_cell(results, game, agent) for game, agent in pairs)
    means: dict[str, Interval] = {}
    num_games = len({cell.game for cell in cells})
    for agent in dict.fromkeys(cell.agent for cell in cells):
        scaled = [cell.normalised for cell in cells if cell.agent == agent and cell.normalised]
        if len(scaled) == num_games:
            means[agent] = mean_interval(scaled)
    return Scoreboard(cells, means)


def draw_table(board: Scoreboard) -> Table:
    """The scoreboard for a terminal of 80 columns: a row a game, a column an agent, then normalised scores."""
    title = "Mean score, 95 % interval below; normalised: random = 0, demonstrator = 1"
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left", box=SIMPLE_HEAD)
    table.pad_edge, table.padding = False, (0, 1)
    table.caption = "\n".join(filter(None, (_latency_line(board, player) for player in board.players)))
    table.show_footer = bool(board.players and board.mean_normalised)
    table.add_column("game", footer="mean", no_wrap=True)
    for agent in board.agents:
        table.add_column(agent, justify="right")
    for agent in board.players:
        footer = _show(board.mean_normalised.get(agent), digits=2)
        table.add_column("normalised", justify="right", style="bold green", footer=footer)
    for game in board.games:
        cells = [board.cell(game, agent) for agent in board.agents]
        scaled = [cell.normalised if cell else None for cell in (board.cell(game, name) for name in board.players)]
        scores = [_show(cell.score if cell else None) for cell in cells]
        table.add_row(_fold(game), *scores, *(_show(value, digits=2) for value in scaled))
    return table


def _fold(name: str, width: int = 17) -> str:
    """Break a game's name after / and _ so that it leaves room for the scores."""
    lines = textwrap.wrap(name.replace("/", "/ ").replace("_", "_ "), width)
    return "\n".join(line.replace("/ ", "/").replace("_ ", "_") for line in lines)


def _show(value: Interval | None, digits: int | None = None) -> str:
    """Mean over interval, to about three digits."""
    if value is None:
        return "-"
    digits = (0 if abs(value.mean) >= 100 else 1) if digits is None else digits
    return f"{value.mean:.{digits}f}\n{value.low:.{digits}f}..{value.high:.{digits}f}"


def _latency_line(board: Scoreboard, player: str) -> str:
    cells = [cell for game in board.games if (cell := board.cell(game, player)) and cell.realtime]
    if not cells:
        return ""
    frames = sum(cell.latency.count for cell in cells)
    p95 = max(cell.latency.p95_ms for cell in cells)
    late, dropped = (sum(getattr(cell, name) for cell in cells) / max(1, frames) for name in ("late", "dropped"))
    return f"{player} in real time: p95 {p95:.1f} ms a frame at most, {late:.2%} late, {dropped:.2%} dropped"


def _make_cell(results: Sequence[EpisodeResult], game: str, agent: str) -> Cell:
    chosen = select(results, game=game, agent=agent)
    return Cell(
        game=game,
        agent=agent,
        num_episodes=len(chosen),
        realtime=chosen[0].realtime,
        score=bootstrap_mean([result.score for result in chosen]),
        normalised=_normalise(results, chosen, game),
        latency=summarise_latency([time for result in chosen for time in result.latency_ms]),
        late=sum(result.late for result in chosen),
        dropped=sum(result.dropped for result in chosen),
    )


def _normalise(results: Sequence[EpisodeResult], chosen: Sequence[EpisodeResult], game: str) -> Interval | None:
    zero, one = ([result.score for result in select(results, game=game, agent=name)] for name in (ZERO, ONE))
    if not zero or not one or sum(one) / len(one) <= sum(zero) / len(zero):
        return None
    return normalised_score([result.score for result in chosen], random=zero, demonstrator=one)
