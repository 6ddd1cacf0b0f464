"""`WindowLog`: which windows each rank consumed in which step, one JSON line a step: what a test of resuming hashes.

Lines of steps after the last saved one appear again once a killed run goes on: of several, the last of a step counts.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from gi_model.batch import PADDING, Batch


class WindowLog:
    """Appends to `windows-RANK.jsonl` in the run's folder."""

    def __init__(self, out: Path, rank: int) -> None:
        self._file = (out / f"windows-{rank:05d}.jsonl").open("a", buffering=1)

    def write(self, step: int, parts: Sequence[Batch], *, world_size: int) -> None:
        """One step's windows, in order, as [clip key, start tick]."""
        windows = [list(window) for part in parts for window in part.windows if window != PADDING]
        row = {"step": step, "world_size": world_size, "parts": len(parts), "windows": windows}
        self._file.write("\n" + json.dumps(row))  # a line that a kill cut short stays alone

    def close(self) -> None:
        """Close the file."""
        self._file.write("\n")
        self._file.close()
