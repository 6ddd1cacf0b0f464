"""Charts of the corpus card, as SVG files: on a white ground, so that they can be read on pages light and dark.

Names are a stranger's text: matplotlib must not read them as mathematics, and long ones are cut.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gi_data.card_facts import Facts, Play, Tally
from gi_data.index import MOTION_EDGES

INK, FAINT, LINE, ACCENT, WARM, GROUND = "#1b2230", "#6a7383", "#dfe3e8", "#0f8f6b", "#d1663a", "#ffffff"
_SERIES = (ACCENT, WARM, "#3f6fb5", "#a15bb0", "#b39a1f", FAINT)
MAX_BARS, MAX_CONTROLS, MAX_NAME = 16, 16, 34
_WIDTH = 9.0
_STYLE: Any = {  # the typed names of matplotlib settings are 300 literals
    "svg.fonttype": "none",
    "svg.hashsalt": "gi",  # the same chart gives the same bytes
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.facecolor": GROUND,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}


def draw_all(facts: Facts) -> dict[str, bytes]:
    """SVG by name of each chart that has something to show."""
    charts = {
        "hours_by_game": _draw_hours(facts),
        "hours_by_player": _draw_players(facts.by_player),
        "controls": _draw_controls(facts.plays),
        "motion": _draw_motion(facts.plays),
        "idle": _draw_idle(facts.by_game),
        "clip_lengths": _draw_lengths(facts),
    }
    return {name: svg for name, svg in charts.items() if svg}


def _draw_hours(facts: Facts) -> bytes:
    games = [group.names[0] for group in facts.by_game[:MAX_BARS]]
    scale, unit = _unit(facts.by_game)
    spent = {group.names: group.hours * scale for group in facts.by_game_and_split}
    splits = sorted({group.names[1] for group in facts.by_game_and_split})
    with _bars("Hours by game and split", games, len(facts.by_game) - len(games)) as (axes, svg):
        left = np.zeros(len(games))
        for split, colour in zip(splits, _SERIES, strict=False):
            lengths = np.array([spent.get((game, split), 0.0) for game in games])
            axes.barh(range(len(games)), lengths, left=left, color=colour, label=split, height=0.7)
            left += lengths
        _label_ends(axes, left, [f"{value:.3g}" for value in left])
        axes.set_xlabel(unit)
        axes.legend(loc="lower right")
    return svg.getvalue()


def _draw_players(groups: Sequence[Tally]) -> bytes:
    shown = groups[:MAX_BARS]
    names = [" · ".join(group.names) for group in shown]
    with _bars("Hours by source and player", names, len(groups) - len(shown)) as (axes, svg):
        scale, unit = _unit(groups)
        spent = np.array([group.hours * scale for group in shown])
        axes.barh(range(len(shown)), spent, color=ACCENT, height=0.7)
        _label_ends(axes, spent, [f"{value:.3g}" for value in spent])
        axes.set_xlabel(unit)
    return svg.getvalue()


def _draw_idle(groups: Sequence[Tally]) -> bytes:
    shown = groups[:MAX_BARS]
    with _bars("Idle: nothing held, nothing moved", [g.names[0] for g in shown], len(groups) - len(shown)) as chart:
        axes, svg = chart
        shares = np.array([100 * group.null_ratio for group in shown])
        axes.barh(range(len(shown)), shares, color=ACCENT, height=0.7)
        _label_ends(axes, shares, [f"{value:.1f} %" for value in shares])
        axes.set(xlabel="share of ticks, %", xlim=(0, 108))
    return svg.getvalue()


def _draw_controls(plays: Sequence[Play]) -> bytes:
    """A row a game, a column a control, the most held first."""
    most: dict[str, float] = {}
    for play in plays:
        for control, share in play.held.items():
            most[control] = max(most.get(control, 0.0), share)
    controls = sorted(most, key=lambda control: (-most[control], control))[:MAX_CONTROLS]
    if not controls:
        return b""
    shares = np.array([[100 * play.held.get(control, 0.0) for control in controls] for play in plays])
    colours = LinearSegmentedColormap.from_list("shares", [GROUND, ACCENT])
    with _chart(_WIDTH, 1.5 + 0.36 * len(plays)) as (figure, svg):
        axes = figure.subplots()
        axes.pcolormesh(shares, cmap=colours, vmin=0, vmax=100, edgecolors=LINE, linewidth=0.5)
        for (row, column), share in np.ndenumerate(shares):
            text = f"{share:.0f}" if share >= 1 else (f"{share:.1f}" if share >= 0.05 else "")
            colour = GROUND if share > 60 else INK
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8.5, color=colour)
        axes.set_yticks(np.arange(len(plays)) + 0.5, [_cut(play.game) for play in plays])
        axes.set_xticks(np.arange(len(controls)) + 0.5, controls, rotation=35, ha="right", rotation_mode="anchor")
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title("Controls: share of ticks held, %")
    return svg.getvalue()


def _draw_motion(plays: Sequence[Play]) -> bytes:
    moving = [play for play in plays if play.motion[1:].sum()]
    if not moving:
        return b""
    shown = moving[: len(_SERIES)]
    last = max(int(np.flatnonzero(play.motion)[-1]) for play in shown) + 1
    names = [f"{low}" if high == low + 1 else f"{low} to {high - 1}" for low, high in pairwise(MOTION_EDGES)]
    names[-1] = f"{MOTION_EDGES[-2]} up"
    with _chart(_WIDTH, 3.4) as (figure, svg):
        axes = figure.subplots()
        for play, colour in zip(shown, _SERIES, strict=False):
            shares = 100 * play.motion / play.motion.sum()
            axes.plot(shares[:last], color=colour, linewidth=2, marker="o", markersize=3.5, label=_cut(play.game))
        axes.set_xticks(range(last), names[:last], rotation=35, ha="right", rotation_mode="anchor")
        axes.set(title="Mouse motion", xlabel="|dx| + |dy| a tick, counts", ylabel="share of ticks, %")
        axes.set_ylim(bottom=0)
        axes.legend()
    return svg.getvalue()


def _draw_lengths(facts: Facts) -> bytes:
    seconds = facts.clip_seconds
    with _chart(_WIDTH, 2.8) as (figure, svg):
        axes = figure.subplots()
        axes.hist(seconds, bins=min(60, max(10, len(seconds) // 5)), color=ACCENT)
        axes.axvline(float(np.median(seconds)), color=WARM, linewidth=1.5, label=f"median {np.median(seconds):.1f} s")
        axes.set(title="Clip lengths", xlabel="seconds", ylabel="clips")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(left=0)
        axes.legend()
    return svg.getvalue()


def _unit(groups: Sequence[Tally]) -> tuple[float, str]:
    """What hours are multiplied with, and the unit that gives."""
    return (1.0, "hours") if groups[0].hours >= 1 else (60.0, "minutes")


@contextmanager
def _bars(title: str, names: Sequence[str], num_more: int) -> Iterator[tuple[Axes, io.BytesIO]]:
    """A chart with a bar a name, the first on top; says how many names are not shown."""
    with _chart(_WIDTH, 1.3 + 0.34 * len(names)) as (figure, svg):
        axes = figure.subplots()
        yield axes, svg
        axes.set_yticks(range(len(names)), [_cut(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_title(f"{title} ({num_more} more not shown)" if num_more else title)


def _label_ends(axes: Axes, ends: np.ndarray[Any, np.dtype[np.float64]], labels: Sequence[str]) -> None:
    axes.set_xlim(0, max(1e-9, float(ends.max()) * 1.12))
    for row, (end, label) in enumerate(zip(ends, labels, strict=True)):
        beside: Any = {"xytext": (4, 0), "textcoords": "offset points"}
        axes.annotate(label, (end, row), va="center", fontsize=9, color=FAINT, **beside)


def _cut(name: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in name)
    return printable if len(printable) <= MAX_NAME else printable[: MAX_NAME - 1] + "…"


@contextmanager
def _chart(width: float, height: float) -> Iterator[tuple[Figure, io.BytesIO]]:
    """A figure to draw on; leaving the context writes its SVG."""
    svg = io.BytesIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # text stays text: the browser has the glyph
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, svg
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
