"""What a sweep found: a chart of losses with the fitted law, a table, intervals, and what the runs leave open."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from gi_data.storage import write_atomic
from gi_train.chart import Palette, draw_png, draw_svg
from gi_train.plain_page import Section, draw_facts, draw_table, render_page
from gi_train.scaling_law import ScalingLaw
from gi_train.sweep import Outcome, Sweep, describe

HEADS = ("size", "parameters", "hours", "ticks", "steps", "loss", "fitted")
_SIZE = (11, 4.4)


def write_sweep(sweep: Sweep, outcomes: Sequence[Outcome], law: ScalingLaw) -> None:
    """Write sweep.json, sweep.png, and sweep.html into the sweep's folder."""
    chart = Chart(outcomes, law, sweep.metric)
    facts = {"law": asdict(law), "runs": list(describe(outcomes)), "epochs": sweep.epochs, "metric": sweep.metric}
    write_atomic(sweep.out / "sweep.json", json.dumps(facts, indent=1).encode())
    write_atomic(sweep.out / "sweep.png", draw_png(chart.draw, *_SIZE))
    page = render_page(
        "A scaling law from small runs",
        f"Held-out {sweep.metric} of {law.num_runs} runs: {len(set(sweep.sizes))} sizes of preset {sweep.preset}, "
        f"{len(set(sweep.hours))} amounts of play. Fitted: L = E + A / N^alpha + B / D^beta.",
        list_boxes(law),
        [
            Section("Losses and the law", [draw_svg(chart.draw, *_SIZE)]),
            Section("What these runs leave open", [draw_facts(name_doubts(law))]),
            Section("The law", [draw_facts(name_parts(law))]),
            Section("The runs", [draw_table(HEADS, list_rows(outcomes, law))]),
        ],
    )
    write_atomic(sweep.out / "sweep.html", page.encode())


def name_parts(law: ScalingLaw) -> dict[str, str]:
    """The law's numbers with their intervals, by what they mean."""
    return {
        "E, the floor": str(law.floor),
        "A": str(law.a),
        "alpha, of parameters": str(law.alpha),
        "B": str(law.b),
        "beta, of ticks": str(law.beta),
        "best size grows with compute to the power": str(law.growth),
        "median error of the fit": f"{law.error:.2%}",
    }


def name_doubts(law: ScalingLaw) -> dict[str, str]:
    """What is not determined; one line if all is."""
    fine = {"nothing": "all intervals are narrow enough to mean something, inside the range of these runs"}
    return law.doubts or fine


def list_boxes(law: ScalingLaw) -> list[tuple[str, str]]:
    """The exponents and the floor, large; what is open is not shown as a number."""
    shown = [(name, getattr(law, name)) for name in ("alpha", "beta", "floor")]
    return [
        ("open" if name in law.doubts else f"{of.value:.2f}", f"{name}, 95 % interval {of.low:.2f} to {of.high:.2f}")
        for name, of in shown
    ]


def list_rows(outcomes: Sequence[Outcome], law: ScalingLaw) -> list[tuple[str, ...]]:
    """Cells under HEADS."""
    rows: list[tuple[str, ...]] = []
    for outcome in outcomes:
        point = outcome.point
        fitted = float(law.predict(float(outcome.parameters), float(point.ticks)))
        words = (point.size, f"{outcome.parameters:,}", f"{point.hours:.3g}", f"{point.ticks:,}", f"{point.steps:,}")
        rows.append((*words, f"{outcome.loss:.3f}", f"{fitted:.3f}"))
    return rows


class Chart:
    """Loss over data, a colour a size, with the law's curves; and measured against fitted."""

    def __init__(self, outcomes: Sequence[Outcome], law: ScalingLaw, metric: str) -> None:
        self._outcomes, self._law, self._metric = outcomes, law, metric
        self._sizes = sorted({(outcome.parameters, outcome.point.size) for outcome in outcomes})

    def draw(self, figure: Figure, colours: Palette) -> None:
        """Both panels."""
        left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
        self._draw_curves(left, colours)
        self._draw_agreement(right, colours)

    def _draw_curves(self, axes: Axes, colours: Palette) -> None:
        ticks = [outcome.point.ticks for outcome in self._outcomes]
        along = np.geomspace(min(ticks), max(ticks), 60)
        for (parameters, size), colour in zip(self._sizes, _shades(colours, len(self._sizes)), strict=True):
            mine = [(o.point.ticks, o.loss) for o in self._outcomes if o.point.size == size]
            label = f"{size}, {parameters / 1e6:.2g} M" if parameters >= 1e5 else f"{size}, {parameters / 1e3:.0f} k"
            axes.plot(*zip(*mine, strict=True), "o", color=colour, label=label)
            axes.plot(along, self._law.predict(float(parameters), along), color=colour, linewidth=1.3)
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="ticks of play to learn from",
            ylabel=f"held-out {self._metric}, nats a tick",
        )
        axes.set_title("Dots: runs. Lines: the fitted law")
        _plain(axes.xaxis, "{x:,.0f}")
        _plain(axes.yaxis)
        axes.legend(title="size, parameters")

    def _draw_agreement(self, axes: Axes, colours: Palette) -> None:
        measured = [outcome.loss for outcome in self._outcomes]
        fitted = [float(self._law.predict(float(o.parameters), float(o.point.ticks))) for o in self._outcomes]
        ends = (min(measured + fitted) * 0.97, max(measured + fitted) * 1.03)
        axes.plot(ends, ends, color=colours.line, linewidth=1.5)
        axes.plot(fitted, measured, "o", color=colours.accent)
        axes.set(
            xscale="log", yscale="log", xlabel="fitted", ylabel="measured", title=f"Median error {self._law.error:.1%}"
        )
        _plain(axes.xaxis)
        _plain(axes.yaxis)


def _shades(colours: Palette, num: int) -> list[str]:
    return [colours.series[index % len(colours.series)] for index in range(num)]


def _plain(axis: Any, words: str = "{x:g}") -> None:
    """Numbers as people write them on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axis.set_major_formatter(words)
    axis.set_minor_formatter(NullFormatter())
