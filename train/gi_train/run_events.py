"""What befell a run, one JSON line each in events.jsonl: started, resumed, stopped, failed, finished, and with what.

Apart from metrics.jsonl, whose rows past a resumed step are dropped: what happened, happened. Whoever reads a run later
(`gi report run`) finds settings, machine, and interruptions here.
"""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from gi_train.run_files import Row

EventKind = Literal["start", "resume", "stop", "fail", "finish", "straggler"]


def append_event(path: Path, kind: EventKind, *, step: int, **facts: Any) -> None:
    """Add one event to `path`; facts: JSON values, shown as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    event = {"kind": kind, "step": step, "time": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
    with path.open("a") as file:
        file.write("\n" + json.dumps(event) + "\n")  # a line that a kill cut short stays alone


def read_events(path: Path) -> list[Row]:
    """Events in order, without lines that a kill cut short; none of a run that wrote none."""
    events: list[Row] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        with suppress(ValueError):
            events.append(json.loads(line))
    return events
