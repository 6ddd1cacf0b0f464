"""The report of one training run, while it runs or after: everything its folder tells, as one HTML file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from gi_data.storage import write_atomic
from gi_model.errors import ConfigError
from gi_train.plain_page import Section, draw_facts, draw_table, render_page
from gi_train.report import machine_facts
from gi_train.report_charts import draw_accuracy, draw_loss
from gi_train.run_charts import draw_copying, draw_descent, draw_factors, draw_parts, draw_speed
from gi_train.run_events import read_events
from gi_train.run_files import Row, RunPaths, read_rows

CONFIG = "config.json"  # of a policy checkpoint
_KNOWN = ("kind", "step", "time", "policy", "train", "machine")


def write_run_page(run: Path, out: Path) -> None:
    """Write the report of the run in folder `run` to `out`, whole or not at all. Raises ConfigError if it is none."""
    paths = RunPaths(run)
    if not paths.metrics.exists():
        do = "Name the folder given to gi pretrain --out."
        raise ConfigError("no training run here", got=run, expected=f"a folder with {paths.metrics.name}", do=do)
    rows, events = read_rows(paths.metrics), read_events(paths.events)
    sections = [
        Section("Learning", [draw_loss(rows), draw_factors(rows), draw_accuracy(rows)], note=LEARNING),
        Section("Copying itself", [draw_copying(rows)]),
        Section("The descent", [draw_descent(rows)]),
        Section("Speed", [draw_speed(rows), draw_parts(rows)]),
        Section("What was read", [draw_table(("corpus and game", "share of windows"), list_shares(rows))]),
        Section("What befell it", [draw_table(("event", "step", "time", "facts"), list_events(events))]),
        Section("Settings", [draw_facts(list_settings(paths, events))]),
        Section("This machine, which wrote the report", [draw_facts(machine_facts())]),
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    page = render_page(f"Training run {run.resolve().name}", describe(rows, events), list_boxes(rows), sections)
    write_atomic(out, page.encode())


LEARNING = (
    "Marginals only: the loss of a player who knows how often each value occurs and nothing else. Majority: always "
    "the commonest value. Repeat: the value of the tick before."
)


def describe(rows: Sequence[Row], events: Sequence[Row]) -> str:
    """In a sentence: how far it is, how often it was interrupted."""
    train = [row for row in rows if row["kind"] == "train"]
    if not train:
        return "No step was logged yet."
    last = events[-1]["kind"] if events else ""
    state = {"finish": "finished", "stop": "stopped", "fail": "failed"}.get(last, "at")
    resumed = sum(event["kind"] == "resume" for event in events)
    times = {0: "", 1: ", resumed once"}.get(resumed, f", resumed {resumed} times")
    return (
        f"{state.capitalize()} step {train[-1]['step']:,}{times}. Losses are nats a tick on clips held out of training."
    )


def list_boxes(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The figures to see first."""
    boxes = []
    if held_out := [row for row in rows if row["kind"] == "val"]:
        last = held_out[-1]
        marginal = f"; knowing only the marginals {last['marginal']:.2f}" if "marginal" in last else ""
        boxes.append((f"{last['nll']:.2f}", f"nats a tick, held out, at step {last['step']:,}{marginal}"))
    train = [row for row in rows if row["kind"] == "train"]
    for name, show, label in FIGURES:
        if values := [row[name] for row in train if name in row]:
            boxes.append((show.format(median(values)), label))
    return boxes


FIGURES = (
    ("frames_per_s", "{:,.0f}", "frames a second, median"),
    ("mfu", "{:.1%}", "MFU, median: of the fastest matrix product measured on the device"),
    ("data_wait", "{:.1%}", "of the time waiting for data, median"),
)


def list_shares(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Of the newest row about data."""
    shares = [row for row in rows if row["kind"] == "data"]
    found = shares[-1] if shares else {}
    return [(name.partition("/")[2], f"{value:.1%}") for name, value in found.items() if name.startswith("share/")]


def list_events(events: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """A line each, in order."""
    return [(event["kind"], f"{event['step']:,}", event["time"], "; ".join(_rest(event).values())) for event in events]


def list_settings(paths: RunPaths, events: Sequence[Row]) -> dict[str, str]:
    """Policy and training as the run last began, and where it ran; the policy from its checkpoint if nothing says."""
    begun = [event for event in events if event["kind"] in ("start", "resume")]
    event: Mapping[str, Any] = begun[-1] if begun else {}
    settings: dict[str, str] = {}
    for part in ("train", "policy", "machine"):
        settings |= {f"{part}: {name}": str(value) for name, value in event.get(part, {}).items()}
    if "policy" not in event:
        settings |= {f"policy: {name}": str(value) for name, value in _read_policy(paths).items()}
    return settings


def _read_policy(paths: RunPaths) -> dict[str, Any]:
    """The config of the newest checkpoint that is whole, if there is one."""
    folders = [paths.checkpoint, *sorted(paths.steps.glob("[0-9]*"), reverse=True)]
    for folder in folders:
        try:
            return dict(json.loads((folder / CONFIG).read_text()))
        except (OSError, ValueError):
            continue
    return {}


def _rest(event: Row) -> dict[str, str]:
    """What else an event says; what ran is of interest where it began."""
    begins = event["kind"] in ("start", "resume")
    shown = {name: str(value) for name, value in event.items() if name not in (*_KNOWN, "run")}
    facts = {name: f"{name} {value}" for name, value in shown.items()}
    return ({"run": str(event["run"])} if begins and "run" in event else {}) | facts
