"""`Labels`: the input states of a clip with their times: JSON lines while recording, a Parquet table in shards.

Lines can be appended and survive a kill; a table is small and can be queried in place. One row a tick in both.
"""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gi_model.actions import Gamepad, InputState
from gi_model.errors import ActionError, ClipError

_GAMEPAD = pa.struct(
    [("buttons", pa.list_(pa.string()))]
    + [(f"{stick}_{axis}", pa.float64()) for stick in ("left", "right") for axis in "xy"]
    + [("trigger_left", pa.float64()), ("trigger_right", pa.float64())]
)
SCHEMA = pa.schema(
    [
        pa.field("t_ns", pa.int64(), nullable=False),
        pa.field("known", pa.bool_(), nullable=False),
        pa.field("keys", pa.list_(pa.string()), nullable=False),
        pa.field("buttons", pa.list_(pa.string()), nullable=False),
        *(pa.field(name, pa.int32(), nullable=False) for name in ("dx", "dy", "wheel_x", "wheel_y")),
        *(pa.field(name, pa.float64()) for name in ("cursor_x", "cursor_y")),
        pa.field("gamepad", _GAMEPAD),
    ]
)


@dataclass(frozen=True)
class Labels:
    """inputs: T states; t_ns int64 (T,); known bool (T,), False: not the player's."""

    inputs: tuple[InputState, ...]
    t_ns: NDArray[np.int64]
    known: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.inputs)

    def to_parquet(self) -> bytes:
        """One row a tick, columns of `SCHEMA`."""
        columns: dict[str, Any] = {"t_ns": self.t_ns, "known": self.known}
        columns["keys"] = [sorted(state.keys) for state in self.inputs]
        columns["buttons"] = [sorted(state.buttons) for state in self.inputs]
        for name, pairs in (("d{}", "motion"), ("wheel_{}", "wheel"), ("cursor_{}", "cursor")):
            for index, axis in enumerate("xy"):
                values = (getattr(state, pairs) for state in self.inputs)
                columns[name.format(axis)] = [pair[index] if pair is not None else None for pair in values]
        columns["gamepad"] = [_gamepad_row(state.gamepad) for state in self.inputs]
        sink = io.BytesIO()
        pq.write_table(pa.table(columns, schema=SCHEMA), sink, compression="zstd")
        return sink.getvalue()

    @classmethod
    def from_parquet(cls, content: bytes, name: str) -> Self:
        """Inverse of `to_parquet`. Raises ClipError naming clip `name`."""
        try:
            columns = pq.read_table(pa.BufferReader(content), schema=SCHEMA).to_pydict()
            rows = zip(*(columns[field] for field in SCHEMA.names[2:]), strict=True)
            states = tuple(_state(row) for row in rows)
        except (pa.ArrowException, ActionError, OSError, KeyError) as error:
            raise _unreadable(name, error) from error
        return cls(states, np.array(columns["t_ns"], dtype=np.int64), np.array(columns["known"], dtype=bool))

    @classmethod
    def from_lines(cls, content: bytes, name: str, *, cut_off: bool = False) -> Self:
        """Read the lines that `line` wrote; where `cut_off`, stop at the first incomplete one. Raises ClipError."""
        rows: list[tuple[InputState, int, bool]] = []
        for text in content.splitlines(keepends=True):
            try:
                if not text.endswith(b"\n"):
                    raise ValueError("the last line is incomplete")
                rows.append(_read_line(text))
            except (ValueError, KeyError, TypeError, AttributeError, ActionError) as error:
                if cut_off:
                    break
                raise _unreadable(name, error) from error
        return cls.of(rows)

    @classmethod
    def of(cls, rows: Sequence[tuple[InputState, int, bool]]) -> Self:
        """Join rows of (state, t_ns, known)."""
        return cls(
            tuple(state for state, _, _ in rows),
            np.array([t_ns for _, t_ns, _ in rows], dtype=np.int64),
            np.array([known for _, _, known in rows], dtype=bool),
        )


def line(state: InputState, *, t_ns: int, known: bool) -> bytes:
    """One tick as a line of JSON."""
    return json.dumps({"t_ns": t_ns, "known": known} | state.to_dict(), separators=(",", ":")).encode() + b"\n"


def _read_line(text: bytes) -> tuple[InputState, int, bool]:
    row = json.loads(text)
    t_ns, known = int(row.pop("t_ns")), bool(row.pop("known"))
    return InputState.from_dict(row), t_ns, known


def _gamepad_row(pad: Gamepad | None) -> dict[str, Any] | None:
    if pad is None:
        return None
    return {
        "buttons": sorted(pad.buttons),
        "left_x": pad.left_stick[0],
        "left_y": pad.left_stick[1],
        "right_x": pad.right_stick[0],
        "right_y": pad.right_stick[1],
        "trigger_left": pad.triggers[0],
        "trigger_right": pad.triggers[1],
    }


def _state(row: Iterable[Any]) -> InputState:
    keys, buttons, dx, dy, wheel_x, wheel_y, cursor_x, cursor_y, pad = row
    cursor = None if cursor_x is None else (cursor_x, cursor_y)
    return InputState(frozenset(keys), frozenset(buttons), (dx, dy), (wheel_x, wheel_y), cursor, _gamepad(pad))


def _gamepad(row: dict[str, Any] | None) -> Gamepad | None:
    if row is None:
        return None
    return Gamepad(
        frozenset(row["buttons"]),
        (row["left_x"], row["left_y"]),
        (row["right_x"], row["right_y"]),
        (row["trigger_left"], row["trigger_right"]),
    )


def _unreadable(name: str, error: Exception) -> ClipError:
    do = "Record the clip again, or leave it out with --skip-damaged."
    return ClipError(f"labels of clip {name} cannot be read", got=str(error)[:200], expected="one row a tick", do=do)
