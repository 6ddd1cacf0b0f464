"""The report's page: one HTML file with everything in it (styles, charts, films as data), which loads nothing.

Values are escaped here, where they meet HTML. The template is plain `string.Template`: one page needs no engine.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

from gi_train.report_table import Cell, Scoreboard
from gi_train.statistics import Interval, Latency

SCALE_END = 1.25  # normalised score at the right end of a bar


@dataclass(frozen=True)
class Film:
    """A video of one episode (mp4) and what it shows."""

    caption: str
    video: bytes


@dataclass(frozen=True)
class Page:
    """What the report shows. charts: SVG by section ("training", "latency"), each section a list."""

    title: str
    board: Scoreboard
    latency: Latency
    films: Sequence[Film]
    charts: Mapping[str, Sequence[str]]
    facts: Mapping[str, str]


def render(page: Page) -> str:
    """The whole HTML document."""
    return fill_page(
        "report_page.html",
        title=escape(page.title),
        lead="Pixels in, keys and mouse out. Scores are means over episodes on seeds that were never recorded.",
        headline=_headline(page),
        table=_table(page.board),
        note=_note(page.board),
        films=_films(page.films),
        training=_section("Training", page.charts.get("training", ())),
        latency=_section("Frame to action", page.charts.get("latency", ())),
        facts="".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in page.facts.items()),
    )


def fill_page(template: str, **parts: str) -> str:
    """A page of this package with its `parts` (HTML) and the style that all pages share."""
    folder = files(__package__ or "gi_train")
    style = folder.joinpath("report_style.css").read_text()
    return Template(folder.joinpath(template).read_text()).substitute(style=style, **parts)


def draw_boxes(boxes: Sequence[tuple[str, str]]) -> str:
    """Large figures and what they say, side by side."""
    drawn = "".join(f"<div><b>{escape(value)}</b><span>{escape(label)}</span></div>" for value, label in boxes)
    return f'<div class="headline">{drawn}</div>' if boxes else ""


def _headline(page: Page) -> str:
    cards = [
        (f"{mean.mean:.2f}", f"mean normalised score of {player}, 95 % interval {mean.low:.2f} to {mean.high:.2f}")
        for player in page.board.players
        if (mean := page.board.mean_normalised.get(player))
    ]
    if worst := _worst(page.board):
        assert worst.normalised is not None
        cards.append((f"{worst.normalised.mean:.2f}", f"lowest normalised score of a game: {worst.game}"))
    if page.latency.count:
        cards.append((f"{page.latency.p95_ms:.1f} ms", f"p95 frame to action over {page.latency.count:,} frames"))
    return draw_boxes(cards)


def _worst(board: Scoreboard) -> Cell | None:
    scored = [cell for cell in board.cells if cell.agent in board.players and cell.normalised]
    return min(scored, key=lambda cell: cell.normalised.mean if cell.normalised else 0.0, default=None)


def _table(board: Scoreboard) -> str:
    heads = ["game", *board.agents, *(f"{player}, normalised" for player in board.players)]
    rows = "".join(_row(board, game) for game in board.games)
    return f"<table><tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr>{rows}</table>"


def _row(board: Scoreboard, game: str) -> str:
    scores = "".join(_score(board.cell(game, agent), agent in board.players) for agent in board.agents)
    players = [board.cell(game, player) for player in board.players]
    scaled = [cell.normalised if cell else None for cell in players]
    bars = "".join(f"<td class=main>{_bar(value)}</td>" if value else "<td>-</td>" for value in scaled)
    return f"<tr><td>{escape(game)}</td>{scores}{bars}</tr>"


def _score(cell: Cell | None, is_main: bool) -> str:
    if cell is None:
        return "<td>-</td>"
    return f"<td{' class=main' if is_main else ''}>{_with_interval(cell.score)}</td>"


def _with_interval(value: Interval) -> str:
    digits = 0 if abs(value.mean) >= 100 else 2
    return f"{value.mean:.{digits}f}<small>{value.low:.{digits}f} to {value.high:.{digits}f}</small>"


def _bar(value: Interval) -> str:
    low, mean, high = (100 * min(1.0, max(0.0, x / SCALE_END)) for x in (value.low, value.mean, value.high))
    return (
        f'<div class="scaled"><span>{_with_interval(value)}</span>'
        '<div class="scale"><i class="track"></i>'
        f'<i class="fill" style="left:0;width:{mean:.1f}%"></i>'
        f'<i class="one" style="left:{100 / SCALE_END:.1f}%" title="demonstrator"></i>'
        f'<i class="whisker" style="left:{low:.1f}%;width:{high - low:.1f}%"></i></div></div>'
    )


def _note(board: Scoreboard) -> str:
    counts = sorted({cell.num_episodes for cell in board.cells})
    episodes = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    modes = {cell.agent: "in real time" if cell.realtime else "in lock-step" for cell in board.cells}
    played = "; ".join(f"{agent} {modes[agent]}" for agent in board.agents)
    return escape(
        f"{episodes} episodes a game and agent; 95 % percentile bootstrap intervals. Normalised: random play is 0 "
        f"(left end), the demonstrator 1 (upright mark); its interval includes their uncertainty. Played: {played}."
    )


def _films(films: Sequence[Film]) -> str:
    if not films:
        return ""
    note = "The first test episode of each game, not a chosen one: the first seconds, at the speed it was played."
    figures = "".join(map(_film, films))
    return f'<h2>The policy playing</h2><p class="note">{note}</p><div class="films">{figures}</div>'


def _film(film: Film) -> str:
    data = base64.b64encode(film.video).decode()
    source = f"data:video/mp4;base64,{data}"
    video = f'<video src="{source}" controls autoplay muted loop playsinline></video>'
    return f"<figure>{video}<figcaption>{escape(film.caption)}</figcaption></figure>"


def _section(title: str, charts: Sequence[str]) -> str:
    cards = "".join(f'<div class="card">{chart}</div>' for chart in charts if chart)
    return f"<h2>{escape(title)}</h2>{cards}" if cards else ""
