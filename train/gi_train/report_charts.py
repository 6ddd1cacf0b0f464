"""Charts of the report: loss, accuracy of each factor, latency; SVG in the page's colours (`chart`)."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from gi_train.chart import Palette, draw_svg
from gi_train.run_files import Row
from gi_train.statistics import summarise_latency

Points = Sequence[tuple[float, float]]


def draw_loss(rows: Sequence[Row]) -> str:
    """Training loss and the held-out loss over steps. Empty if nothing was logged."""
    train, held_out = (series(rows, kind, "loss") for kind in ("train", "val"))
    if not train:
        return ""

    def draw(figure: Figure, colours: Palette) -> None:
        axes = figure.subplots()
        axes.plot(*zip(*train, strict=True), color=colours.line, linewidth=1)
        axes.plot(*zip(*smooth(train), strict=True), color=colours.accent, linewidth=2, label="training")
        if held_out:
            style: Any = {"linewidth": 2, "marker": "o", "markersize": 4}
            axes.plot(*zip(*held_out, strict=True), color=colours.warm, label="held out", **style)
        axes.set(xlabel="optimiser step", ylabel="loss, nats a tick", title="Loss")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend()

    return draw_svg(draw, 11, 3.3)


def draw_accuracy(rows: Sequence[Row]) -> str:
    """Held-out accuracy of each factor beside the trivial players. Empty if nothing was logged."""
    held_out = [row for row in rows if row.get("kind") == "val"]
    names = used_factors(held_out)
    if not names:
        return ""

    def draw(figure: Figure, colours: Palette) -> None:
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            _draw_factor(axes, held_out, name, colours)
        panels[0].set_ylabel("accuracy, held out")
        panels[-1].legend(loc="lower right")

    return draw_svg(draw, 11, 3.1)


def draw_latency(latency_ms: Sequence[float], *, budget_ms: float) -> str:
    """Histogram of frame-to-action times with their percentiles. Empty if nothing was measured."""
    if not latency_ms:
        return ""
    summary = summarise_latency(latency_ms)
    end = max(budget_ms * 1.2, summary.p99_ms * 1.1)

    def draw(figure: Figure, colours: Palette) -> None:
        axes = figure.subplots()
        axes.hist([min(time, end) for time in latency_ms], bins=80, range=(0.0, end), color=colours.accent)
        for name, value in (("p50", summary.p50_ms), ("p95", summary.p95_ms), ("p99", summary.p99_ms)):
            axes.axvline(value, color=colours.ink, linewidth=1)
            beside: Any = {"xycoords": ("data", "axes fraction"), "xytext": (4, 0), "textcoords": "offset points"}
            axes.annotate(f"{name} {value:.1f}", (value, 0.97), va="top", **beside)
        axes.axvline(budget_ms, color=colours.warm, linewidth=1.5, linestyle="--", label=f"budget {budget_ms:.0f} ms")
        axes.set(xlabel="milliseconds from frame to action", ylabel="frames", title="Latency", xlim=(0, end))
        axes.legend(loc="center right")

    return draw_svg(draw, 11, 3.1)


def used_factors(held_out: Sequence[Row]) -> list[str]:
    """Names of the factors that the held-out rows score, without those that nobody uses."""
    last = held_out[-1] if held_out else {}
    names = [key.partition("/")[2] for key in last if key.startswith("accuracy/")]
    return [name for name in names if last.get(f"majority/{name}", 0.0) < 0.9999]


def series(rows: Sequence[Row], kind: str, name: str) -> list[tuple[float, float]]:
    """(step, value) of every row of `kind` that has `name`."""
    return [(row["step"], row[name]) for row in rows if row.get("kind") == kind and name in row]


def smooth(points: Points) -> list[tuple[float, float]]:
    """Running mean over a twentieth of the points."""
    width = max(1, len(points) // 20)
    values = [value for _, value in points]
    return [
        (step, sum(values[max(0, i - width + 1) : i + 1]) / len(values[max(0, i - width + 1) : i + 1]))
        for i, (step, _) in enumerate(points)
    ]


def _draw_factor(axes: Axes, held_out: Sequence[Row], name: str, colours: Palette) -> None:
    curve = [(row["step"], row[f"accuracy/{name}"]) for row in held_out if f"accuracy/{name}" in row]
    axes.plot(*zip(*curve, strict=True), color=colours.accent, linewidth=2, marker="o", markersize=4, label="policy")
    last = held_out[-1]
    for kind, style in (("majority", ":"), ("repeat", "--")):
        if f"{kind}/{name}" in last:
            axes.axhline(last[f"{kind}/{name}"], color=colours.faint, linestyle=style, linewidth=1.2, label=kind)
    axes.set(title=name, xlabel="step", ylim=(0, 1.02))
