"""The report of a run: reads what the stages left (results, metrics, traces, facts) and writes one HTML file.

Films are drawn in processes beside each other, one a core: they are most of the work.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

from gi_data.storage import write_atomic
from gi_model import __version__
from gi_model.errors import ConfigError
from gi_train.episodes import EpisodeResult
from gi_train.overlay import write_film
from gi_train.report_charts import draw_accuracy, draw_latency, draw_loss
from gi_train.report_page import Film, Page, render
from gi_train.report_table import BASELINES, Scoreboard
from gi_train.run_files import Row
from gi_train.statistics import summarise_latency
from gi_train.trace import Trace

BUDGET_MS = 25.0
_VERSIONS = ("torch", "vizdoom", "gymnasium", "av", "numpy")


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made of; all but results may be missing. facts: shown above the machine's own."""

    results: Sequence[EpisodeResult]
    board: Scoreboard
    metrics: Sequence[Row] = ()
    traces: Sequence[Path] = ()
    facts: Mapping[str, str] | None = None
    title: str = "gi-model: a policy plays"


def write_report(inputs: ReportInputs, path: Path) -> None:
    """Write the report to `path` (.html), whole or not at all.

    Raises GameError on a damaged trace, CorpusError on a full disk.
    """
    played = [result for result in inputs.results if result.agent not in BASELINES]
    latency_ms = [time for result in played for time in result.latency_ms]
    page = Page(
        title=inputs.title,
        board=inputs.board,
        latency=summarise_latency(latency_ms),
        films=make_films(inputs.traces),
        charts={
            "training": [draw_loss(inputs.metrics), draw_accuracy(inputs.metrics)],
            "latency": [draw_latency(latency_ms, budget_ms=BUDGET_MS)],
        },
        facts={**(inputs.facts or {}), **machine_facts()},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, render(page).encode())


def make_films(traces: Sequence[Path]) -> list[Film]:
    """Draw a film beside each trace."""
    if not traces:
        return []
    with ProcessPoolExecutor(min(len(traces), os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
        return list(pool.map(make_film, traces))


def make_film(source: Path) -> Film:
    """Draw the film of the trace in `source` into an .mp4 of the same name."""
    trace = Trace.read(source)
    path = source.with_suffix(".mp4")
    write_film(trace, path)
    caption = f"{trace.game}, seed {trace.seed}, played by {trace.agent}"
    return Film(caption, path.read_bytes())


def machine_facts() -> dict[str, str]:
    """This machine and the versions of what matters."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0.0
    facts = {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "gi-model": __version__,
    }
    for name in _VERSIONS:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            continue
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def read_facts(path: Path) -> dict[str, str]:
    """A flat JSON object. Raises ConfigError if it is none."""
    try:
        facts = json.loads(path.read_text())
        return {str(name): str(value) for name, value in facts.items()}
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{path} holds no facts", got=error, expected="a JSON object of names and values") from error
