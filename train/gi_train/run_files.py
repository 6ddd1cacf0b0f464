"""What a training run keeps on disk, and how to read its rows; light, so that reports need no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]  # "kind": train or val, "step", and figures by name


@dataclass(frozen=True)
class RunPaths:
    """Where a run keeps what it makes."""

    out: Path

    @property
    def metrics(self) -> Path:
        """One JSON object a line: train and val rows."""
        return self.out / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """What befell the run: one JSON object a line."""
        return self.out / "events.jsonl"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's events."""
        return self.out / "tensorboard"

    @property
    def steps(self) -> Path:
        """Resumable checkpoints, one folder a saved step."""
        return self.out / "steps"

    @property
    def checkpoint(self) -> Path:
        """The finished policy."""
        return self.out / "checkpoint"

    @property
    def adapter(self) -> Path:
        """What post-training adds to its base."""
        return self.out / "adapter"

    @property
    def demonstrations(self) -> Path:
        """The view of what post-training learns from."""
        return self.out / "demonstrations"


def read_rows(path: Path) -> list[Row]:
    """Rows of a metrics.jsonl; a last line cut by a kill is left out."""
    rows: list[Row] = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
