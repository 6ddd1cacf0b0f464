"""The chart of a race: held-out loss over seconds and over steps, a line a run."""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gi_train.bench_optimizer import Run

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red")  # of optimisers; a run's length and rate by its line
STYLES = ("-", "--", ":", "-.")


def draw_race(runs: Sequence[Run]) -> bytes:
    """A PNG of all runs."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    by_seconds, by_steps = figure.subplots(1, 2, sharey=True)
    _draw(by_seconds, runs, "seconds", "seconds of training (CPU time of one thread, or GPU)")
    _draw(by_steps, runs, "step", "optimiser step")
    by_seconds.set_ylabel("held-out loss, nats a tick")
    by_seconds.legend(fontsize=7, frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()


def _draw(axes: Axes, runs: Sequence[Run], over: str, label: str) -> None:
    optimizers = sorted({run.optimizer for run in runs})
    lrs = sorted({run.lr for run in runs})
    for run in runs:
        x, y = [getattr(point, over) for point in run.points], [point.loss for point in run.points]
        colour, style = COLOURS[optimizers.index(run.optimizer) % 4], STYLES[lrs.index(run.lr) % 4]
        longest = run.steps == max(other.steps for other in runs if other.optimizer == run.optimizer)
        name = f"{run.name}, {run.steps} steps, seed {run.seed}"
        axes.plot(x, y, color=colour, linestyle=style, linewidth=2 if longest else 1, label=name)
    lowest = min(point.loss for run in runs for point in run.points)
    axes.set(xlabel=label, ylim=(0.97 * lowest, 2 * lowest))  # where runs start is of no interest
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
