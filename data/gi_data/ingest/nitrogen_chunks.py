"""The chunks of one NitroGen video: `metadata.json` and a table of one row a frame, checked and put in order of time.

Columns: 17 buttons (0 or 1), `j_left` and `j_right` (x, y in [-1, 1], x right and y down like ours; whole numbers in
some chunks). Triggers are buttons here, and pull our analogue ones, too. The model's four further buttons (`right_up`
and so on) push the right stick. Row i of n was on the screen i / n of the way from `start_time` to `end_time`.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gi_data.ingest.events import Event, state_events
from gi_data.ingest.limits import MAX_RECORDING_S, check_file
from gi_model.actions import NEUTRAL, Gamepad, InputState
from gi_model.errors import ClipError

CHUNK_NAME: Final = re.compile(r"(?P<video>.+)_chunk_(?P<number>\d{1,9})")
PAD_BUTTONS: Final = {
    "south": "GamepadSouth",
    "east": "GamepadEast",
    "west": "GamepadWest",
    "north": "GamepadNorth",
    "left_shoulder": "GamepadLeftBumper",
    "right_shoulder": "GamepadRightBumper",
    "left_trigger": "GamepadLeftTrigger",
    "right_trigger": "GamepadRightTrigger",
    "back": "GamepadSelect",
    "start": "GamepadStart",
    "guide": "GamepadHome",
    "left_thumb": "GamepadLeftStick",
    "right_thumb": "GamepadRightStick",
    **{f"dpad_{side}": f"Gamepad{side.capitalize()}" for side in ("up", "down", "left", "right")},
}
PUSHES: Final = {
    "right_up": (0.0, -1.0),
    "right_bottom": (0.0, 1.0),
    "right_left": (-1.0, 0.0),
    "right_right": (1.0, 0.0),
}
STICKS: Final[tuple[str, ...]] = ("j_left", "j_right")
TABLES: Final = {"processed": "actions_processed.parquet", "raw": "actions_raw.parquet"}
MAX_ROWS: Final = 100_000  # of a chunk: 20 s at 60 Hz are 1,200
MAX_CHUNK_S: Final = 600
SMALLEST_GAP_NS: Final = 50_000_000  # less between two chunks is rounding
_MAX_JSON_BYTES: Final = 2**20
_MAX_TABLE_BYTES: Final = 64 * 2**20


class Pixels(NamedTuple):
    """A part of the picture, as shares of its sides."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Chunk:
    """Labels of a stretch of video: states (T,) at start_ns + i / T of its length; a state is None where unreadable."""

    game: str
    url: str
    table: str
    start_ns: int
    end_ns: int
    overlay: Pixels | None
    states: tuple[InputState | None, ...]

    @property
    def fps(self) -> float:
        """Rows a second, a whole number where it nearly is one: times in the files are rounded."""
        fps = len(self.states) * 1e9 / (self.end_ns - self.start_ns)
        return float(round(fps)) if abs(fps - round(fps)) < 0.05 and round(fps) else fps

    def time_of(self, row: int) -> int:
        """When row `row` was on the screen, in ns."""
        return self.start_ns + (self.end_ns - self.start_ns) * row // len(self.states)


def read_chunks(folder: Path) -> tuple[list[Chunk], Counter[str]]:
    """The chunks of a video in order of time, none overlapping, and counts of what was left out. Raises ClipError."""
    paths = sorted(path for path in folder.iterdir() if CHUNK_NAME.fullmatch(path.name) and path.is_dir())
    table = "processed" if any((path / TABLES["processed"]).exists() for path in paths) else "raw"
    unknown: Counter[str] = Counter()
    chunks: list[Chunk] = []
    for path in paths:
        if (path / TABLES[table]).exists():
            chunks.append(_read_chunk(path, table, unknown))
        else:
            unknown[f"chunk without {TABLES[table]}"] += 1
    if not chunks:
        raise ClipError(f"no labels of {folder.name}", expected=TABLES["raw"], do="Download its chunks again.")
    kept = _without_overlaps(sorted(chunks, key=lambda chunk: chunk.start_ns), unknown)
    return kept, +unknown  # without the zeros


def chunk_events(chunks: Sequence[Chunk]) -> Iterator[Event]:
    """The labels as events; between chunks, and in rows that cannot be read, they are not known."""
    return state_events(_rows(chunks), end_ns=chunks[-1].end_ns)


def gaps(chunks: Sequence[Chunk]) -> list[tuple[int, int]]:
    """Stretches between chunks, (from, until) in ns."""
    between = ((a.end_ns, b.start_ns) for a, b in pairwise(chunks))
    return [(start_ns, end_ns) for start_ns, end_ns in between if end_ns - start_ns >= SMALLEST_GAP_NS]


def _rows(chunks: Sequence[Chunk]) -> Iterator[tuple[int, InputState, bool]]:
    unlabelled = {end_ns: start_ns for start_ns, end_ns in gaps(chunks)}
    for chunk in chunks:
        if chunk.start_ns in unlabelled:
            yield unlabelled[chunk.start_ns], NEUTRAL, False
        for row, state in enumerate(chunk.states):
            yield chunk.time_of(row), state or NEUTRAL, state is not None


def _read_chunk(path: Path, table: str, unknown: Counter[str]) -> Chunk:
    metadata = _read_metadata(path)
    columns, num_rows = _read_table(path / TABLES[table])
    claimed = metadata.get("chunk_size")
    if isinstance(claimed, int) and abs(claimed - num_rows) > max(1, num_rows // 100):
        raise ClipError(f"chunk {path.name} has lost rows", got=num_rows, expected=claimed, do="Download it again.")
    video = metadata.get("original_video")
    start_s, end_s = (_seconds(video, name, path.name) for name in ("start_time", "end_time"))
    if not 0 < end_s - start_s <= MAX_CHUNK_S:
        raise ClipError(f"chunk {path.name} has an absurd length", got=f"{start_s} s to {end_s} s")
    return Chunk(
        game=str(metadata.get("game") or "unknown")[:100],
        url=str(video.get("url") or "")[:500] if isinstance(video, dict) else "",
        table=table,
        start_ns=round(start_s * 1e9),
        end_ns=round(end_s * 1e9),
        overlay=_overlay(metadata, video, path.name),
        states=_states(columns, num_rows, unknown),
    )


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(check_file(path / "metadata.json", "metadata", max_bytes=_MAX_JSON_BYTES).read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise ClipError(
            f"metadata of chunk {path.name} cannot be read", got=str(error)[:200], expected="JSON"
        ) from error
    if not isinstance(data, dict):
        raise ClipError(f"metadata of chunk {path.name} is no object", got=type(data).__name__)
    return data


def _seconds(video: object, name: str, chunk: str) -> float:
    value = video.get(name) if isinstance(video, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_RECORDING_S:
        expected = f"original_video.{name} in seconds, at most {MAX_RECORDING_S}"
        raise ClipError(f"chunk {chunk} does not say where it lies", got=repr(value)[:100], expected=expected)
    return float(value)


def _overlay(metadata: dict[str, Any], video: object, chunk: str) -> Pixels | None:
    """Where the controller is drawn: `bbox_controller_overlay` (x, y, w, h) of `resolution` (h, w)."""
    box = metadata.get("bbox_controller_overlay")
    if box is None:
        return None
    size = video.get("resolution") if isinstance(video, dict) else None
    try:
        (x, y, w, h), (height, width) = map(float, box), map(float, size or ())
        pixels = Pixels(x / width, y / height, (x + w) / width, (y + h) / height)
        if not all(math.isfinite(side) for side in pixels) or w < 0 or h < 0:
            raise ValueError("no box")
    except (TypeError, ValueError, ZeroDivisionError) as error:
        do = "Labels of a visible controller cannot be used without knowing where it is."
        raise ClipError(
            f"chunk {chunk} has no sound box of its controller", got=repr((box, size))[:200], do=do
        ) from error
    return pixels


def _read_table(path: Path) -> tuple[dict[str, pa.ChunkedArray], int]:
    """Columns in lower case, and how many rows they have."""
    check_file(path, "table", max_bytes=_MAX_TABLE_BYTES)
    try:
        with pq.ParquetFile(path) as file:
            if not 0 < file.metadata.num_rows <= MAX_ROWS:
                got = f"{file.metadata.num_rows} rows"
                raise ClipError(f"table {path} has an absurd length", got=got, expected=f"1 to {MAX_ROWS}")
            table = file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ClipError(f"table {path} cannot be read", got=str(error)[:200], expected="Parquet") from error
    return {name.lower(): column for name, column in zip(table.column_names, table.columns, strict=True)}, len(table)


def _states(columns: dict[str, pa.ChunkedArray], num_rows: int, unknown: Counter[str]) -> tuple[InputState | None, ...]:
    values = {name: _numbers(columns[name], name) for name in (*PAD_BUTTONS, *PUSHES) if name in columns}
    sticks = {name: _pairs(columns[name], name) for name in STICKS if name in columns}
    for name in columns.keys() - values.keys() - sticks.keys():
        unknown[f"column {name[:60]}"] += num_rows
    if not values and not sticks:
        raise ClipError(
            "no column has a name we know", got=sorted(columns)[:20], expected="south, dpad_up, j_left, ..."
        )
    sound = np.isfinite(np.stack([*values.values(), *(pair.sum(axis=1) for pair in sticks.values())])).all(axis=0)
    unknown.update({"row with a value that is no number": int((~sound).sum())})
    return tuple(_state(values, sticks, row) if sound[row] else None for row in range(num_rows))


def _numbers(column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    """float64 (T,); NaN where there is no value."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)):
        raise ClipError(f"column {name} is no number", got=column.type, expected="0 or 1")
    values = column.to_numpy(zero_copy_only=False)
    return np.array([np.nan if value is None else value for value in values.tolist()], dtype=np.float64)


def _pairs(column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    """float64 (T, 2), clipped to [-1, 1]; NaN where there is no pair."""
    rows = column.to_pylist()
    out = np.full((len(rows), 2), np.nan)
    try:
        for row, pair in enumerate(rows):
            if pair is not None and len(pair) == 2 and None not in pair:
                out[row] = pair
    except (TypeError, ValueError) as error:
        raise ClipError(f"column {name} is no pair of numbers", got=column.type, expected="[x, y]") from error
    clipped: NDArray[np.float64] = np.where(np.isfinite(out), np.clip(out, -1.0, 1.0), np.nan)
    return clipped


def _state(values: dict[str, NDArray[np.float64]], sticks: dict[str, NDArray[np.float64]], row: int) -> InputState:
    held = {name for name, column in values.items() if column[row] > 0.5}
    left, right = ((float(sticks[n][row, 0]), float(sticks[n][row, 1])) if n in sticks else (0.0, 0.0) for n in STICKS)
    if right == (0.0, 0.0):
        pushes = [PUSHES[name] for name in held & PUSHES.keys()]
        right = (sum(x for x, _ in pushes), sum(y for _, y in pushes))
    triggers = (float("left_trigger" in held), float("right_trigger" in held))
    buttons = frozenset(PAD_BUTTONS[name] for name in held & PAD_BUTTONS.keys())
    return InputState(gamepad=Gamepad(buttons, left, right, triggers))


def _without_overlaps(chunks: list[Chunk], unknown: Counter[str]) -> list[Chunk]:
    """Of chunks that overlap, the later one begins where the earlier one ends; one that lies inside another goes."""
    kept: list[Chunk] = []
    for chunk in chunks:
        begin_ns = kept[-1].end_ns if kept else chunk.start_ns
        skip = sum(chunk.time_of(row) < begin_ns for row in range(len(chunk.states)))
        if skip:
            unknown["row that overlaps the chunk before"] += skip
        if skip < len(chunk.states):
            start_ns = chunk.time_of(skip)
            kept.append(replace(chunk, start_ns=start_ns, states=chunk.states[skip:]))
    return kept
