"""Charts of one run: loss by factor beside what the marginals give, copying, schedule, gradient, speed, waiting."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gi_train.chart import Palette, draw_svg
from gi_train.report_charts import series, smooth, used_factors
from gi_train.run_files import Row

PARTS = ("fetch", "forward", "backward", "step")
Points = Sequence[tuple[float, float]]


def draw_factors(rows: Sequence[Row]) -> str:
    """Nll of each factor, training and held out, and its marginal's. Empty if nothing was held out."""
    held_out = [row for row in rows if row.get("kind") == "val"]
    names = used_factors(held_out)
    if not names:
        return ""

    def draw(figure: Figure, colours: Palette) -> None:
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            _draw_curves(axes, rows, f"nll/{name}", colours)
            if f"marginal/{name}" in held_out[-1]:
                style: Any = {"linestyle": ":", "linewidth": 1.4}
                axes.axhline(held_out[-1][f"marginal/{name}"], color=colours.faint, label="marginals only", **style)
                _limit(axes, rows, f"nll/{name}", held_out[-1][f"marginal/{name}"])
            axes.set(title=name, xlabel="step", ylim=(0, axes.get_ylim()[1]))
        panels[0].set_ylabel("nats a tick")
        panels[-1].legend(loc="upper right")

    return draw_svg(draw, 11, 3.1)


def draw_copying(rows: Sequence[Row]) -> str:
    """How often the policy answers the old value just when the player changed it; and F1 of keys. Empty without."""
    held_out = [row for row in rows if row.get("kind") == "val"]
    names = [name for name in used_factors(held_out) if any(f"copycat/{name}" in row for row in held_out)]
    if not names:
        return ""

    panels = {
        "Copycat score: repeats what the player just left": [(name, f"copycat/{name}") for name in names],
        "F1 of held keys, and of presses and releases": [(which, f"f1/{which}") for which in ("keys", "transitions")],
    }
    panels = {title: curves for title, curves in panels.items() if any(series(rows, "val", key) for _, key in curves)}

    def draw(figure: Figure, colours: Palette) -> None:
        each = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, curves) in zip(each, panels.items(), strict=True):
            for (label, key), colour in zip(curves, colours.series, strict=False):
                points = series(rows, "val", key) or [(0, float("nan"))]
                axes.plot(*zip(*points, strict=True), "o-", color=colour, label=label, linewidth=2, markersize=4)
            axes.set(title=title, xlabel="step", ylim=(0, 1.02))
            axes.legend()

    return draw_svg(draw, 11, 3.1)


def draw_descent(rows: Sequence[Row]) -> str:
    """Learning rate and gradient norm over steps. Empty if nothing was logged."""
    panels = {"Learning rate": ("lr", False), "Gradient norm": ("norm", True)}
    return _draw_panels(rows, panels)


def draw_speed(rows: Sequence[Row]) -> str:
    """Frames a second, MFU, and the share of time that training waits for data. Empty if nothing was logged."""
    panels = {"Frames a second": ("frames_per_s", True), "MFU": ("mfu", True), "Waiting for data": ("data_wait", True)}
    return _draw_panels(rows, panels, from_zero=True)


def draw_parts(rows: Sequence[Row]) -> str:
    """Where a step's time goes: bars of the median milliseconds of each part. Empty if no part was timed."""
    times = {name: [value for _, value in series(rows, "train", f"seconds/{name}")] for name in PARTS}
    middles = {name: 1000 * median(values) for name, values in times.items() if values}
    if not middles:
        return ""

    def draw(figure: Figure, colours: Palette) -> None:
        axes = figure.subplots()
        left = 0.0
        for (name, value), colour in zip(middles.items(), colours.series, strict=False):
            axes.barh(0, value, left=left, color=colour, height=0.5, label=f"{name} {value:.1f}")
            left += value
        axes.set(yticks=[], xlabel="milliseconds", title="A step, median", xlim=(0, left), ylim=(-0.3, 0.3))
        axes.spines["left"].set_visible(False)
        figure.legend(ncols=len(middles), loc="outside lower left")

    return draw_svg(draw, 11, 1.9)


def _draw_panels(rows: Sequence[Row], panels: dict[str, tuple[str, bool]], *, from_zero: bool = False) -> str:
    """A panel a figure of the training rows: title -> (name, whether it is noisy)."""
    found = {title: (series(rows, "train", name), noisy) for title, (name, noisy) in panels.items()}
    found = {title: (points, noisy) for title, (points, noisy) in found.items() if points}
    if not found:
        return ""

    def draw(figure: Figure, colours: Palette) -> None:
        each = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, (title, (points, noisy)) in zip(each, found.items(), strict=True):
            if noisy:
                axes.plot(*zip(*points, strict=True), color=colours.line, linewidth=1)
            smoothed = smooth(points) if noisy else points
            axes.plot(*zip(*smoothed, strict=True), color=colours.accent, linewidth=2)
            axes.set(title=title, xlabel="step")
            if from_zero:
                axes.set_ylim(0, 1.1 * max([1e-9, *(value for _, value in points)]))

    return draw_svg(draw, 11, 2.7)


def _draw_curves(axes: Axes, rows: Sequence[Row], name: str, colours: Palette) -> None:
    if train := series(rows, "train", name):
        axes.plot(*zip(*smooth(train), strict=True), color=colours.accent, linewidth=1.6, label="training")
    held_out = series(rows, "val", name)
    axes.plot(*zip(*held_out, strict=True), color=colours.warm, linewidth=2, marker="o", markersize=4, label="held out")


def _limit(axes: Axes, rows: Sequence[Row], name: str, marginal: float) -> None:
    """Leave the first steps out of sight, which are worse than any guess."""
    highest = max(value for _, value in series(rows, "val", name))
    axes.set_ylim(0, 1.25 * max(marginal, highest))
