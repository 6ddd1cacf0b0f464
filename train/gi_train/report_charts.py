"""Charts for the report, as SVG that takes its colours and fonts from the page, so that light and dark both work.

Matplotlib draws with stand-in colours, which become CSS variables afterwards; text stays text.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from gi_train.run_files import Row
from gi_train.statistics import summarise_latency

# Stand-in colour -> CSS variable of the page.
COLOURS = {"#010101": "--ink", "#020202": "--faint", "#030303": "--line", "#040404": "--accent", "#050505": "--warm"}
INK, FAINT, LINE, ACCENT, WARM = COLOURS
_STYLE: Any = {  # the typed names of matplotlib settings are 300 literals
    "svg.fonttype": "none",
    "svg.hashsalt": "gi",  # the same chart gives the same bytes
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "grid.color": LINE,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}


def draw_loss(rows: Sequence[Row]) -> str:
    """Training loss and the held-out loss over steps. Empty if nothing was logged."""
    train, held_out = (_series(rows, kind, "loss") for kind in ("train", "val"))
    if not train:
        return ""
    with _chart(11, 3.3) as (figure, svg):
        axes = figure.subplots()
        axes.plot(*zip(*train, strict=True), color=LINE, linewidth=1)
        axes.plot(*zip(*_smooth(train), strict=True), color=ACCENT, linewidth=2, label="training")
        if held_out:
            axes.plot(*zip(*held_out, strict=True), color=WARM, linewidth=2, marker="o", markersize=4, label="held out")
        axes.set(xlabel="optimiser step", ylabel="loss, nats a tick", title="Loss")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend()
    return svg.getvalue()


def draw_accuracy(rows: Sequence[Row]) -> str:
    """Held-out accuracy of each factor beside the trivial players. Empty if nothing was logged."""
    held_out = [row for row in rows if row.get("kind") == "val"]
    names = [key.partition("/")[2] for key in (held_out[-1] if held_out else {}) if key.startswith("accuracy/")]
    names = [name for name in names if held_out[-1].get(f"majority/{name}", 0.0) < 0.9999]  # a factor nobody uses
    if not names:
        return ""
    with _chart(11, 3.1) as (figure, svg):
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            _draw_factor(axes, held_out, name)
        panels[0].set_ylabel("accuracy, held out")
        panels[-1].legend(loc="lower right")
    return svg.getvalue()


def draw_latency(latency_ms: Sequence[float], *, budget_ms: float) -> str:
    """Histogram of frame-to-action times with their percentiles. Empty if nothing was measured."""
    if not latency_ms:
        return ""
    summary = summarise_latency(latency_ms)
    end = max(budget_ms * 1.2, summary.p99_ms * 1.1)
    with _chart(11, 3.1) as (figure, svg):
        axes = figure.subplots()
        axes.hist([min(time, end) for time in latency_ms], bins=80, range=(0.0, end), color=ACCENT)
        for name, value in (("p50", summary.p50_ms), ("p95", summary.p95_ms), ("p99", summary.p99_ms)):
            axes.axvline(value, color=INK, linewidth=1)
            beside: Any = {"xycoords": ("data", "axes fraction"), "xytext": (4, 0), "textcoords": "offset points"}
            axes.annotate(f"{name} {value:.1f}", (value, 0.97), va="top", **beside)
        axes.axvline(budget_ms, color=WARM, linewidth=1.5, linestyle="--", label=f"budget {budget_ms:.0f} ms")
        axes.set(xlabel="milliseconds from frame to action", ylabel="frames", title="Latency", xlim=(0, end))
        axes.legend(loc="center right")
    return svg.getvalue()


def _draw_factor(axes: Axes, held_out: Sequence[Row], name: str) -> None:
    curve = [(row["step"], row[f"accuracy/{name}"]) for row in held_out if f"accuracy/{name}" in row]
    axes.plot(*zip(*curve, strict=True), color=ACCENT, linewidth=2, marker="o", markersize=4, label="policy")
    last = held_out[-1]
    for kind, style in (("majority", ":"), ("repeat", "--")):
        if f"{kind}/{name}" in last:
            axes.axhline(last[f"{kind}/{name}"], color=FAINT, linestyle=style, linewidth=1.2, label=kind)
    axes.set(title=name, xlabel="step", ylim=(0, 1.02))


def _series(rows: Sequence[Row], kind: str, name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in rows if row.get("kind") == kind and name in row]


def _smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Running mean over a twentieth of the points."""
    width = max(1, len(points) // 20)
    values = [value for _, value in points]
    return [
        (step, sum(values[max(0, i - width + 1) : i + 1]) / len(values[max(0, i - width + 1) : i + 1]))
        for i, (step, _) in enumerate(points)
    ]


@contextmanager
def _chart(width: float, height: float) -> Iterator[tuple[Figure, io.StringIO]]:
    """A figure to draw on; leaving the context writes its SVG."""
    svg = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, svg
        raw = io.StringIO()
        figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg.write(_adopt(raw.getvalue()))


def _adopt(svg: str) -> str:
    """Make matplotlib's SVG part of the page: no prologue, the page's colours and fonts, any width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    for stand_in, variable in COLOURS.items():
        svg = svg.replace(stand_in, f"var({variable})")
    return svg
