"""`Labels`: the input states of a clip with their times: JSON lines while recording, a Parquet table in shards.

Lines can be appended and survive a kill; a table is small and can be queried in place. One row a tick in both.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, Gamepad, InputColumns, InputState
from gi_model.actions.columns import CONTROL_IDS, CONTROLS
from gi_model.actions.inputs import LARGEST_COMMAND, MAX_COMMANDS
from gi_model.errors import ActionError, ClipError

_AXES = ("left_x", "left_y", "right_x", "right_y", "trigger_left", "trigger_right")
_GAMEPAD = pa.struct([("buttons", pa.list_(pa.string())), *((axis, pa.float64()) for axis in _AXES)])
SCHEMA = pa.schema(
    [
        pa.field("t_ns", pa.int64(), nullable=False),
        pa.field("known", pa.bool_(), nullable=False),
        pa.field("keys", pa.list_(pa.string()), nullable=False),
        pa.field("buttons", pa.list_(pa.string()), nullable=False),
        *(pa.field(name, pa.int32(), nullable=False) for name in ("dx", "dy", "wheel_x", "wheel_y")),
        *(pa.field(name, pa.float64()) for name in ("cursor_x", "cursor_y")),
        pa.field("gamepad", _GAMEPAD),
        pa.field("commands", pa.list_(pa.float64())),
    ]
)
OPTIONAL = tuple(field.name for field in SCHEMA if field.nullable)


@dataclass(frozen=True)
class Labels:
    """inputs: T states; t_ns int64 (T,); known bool (T,), False: not the player's."""

    inputs: tuple[InputState, ...]
    t_ns: NDArray[np.int64]
    known: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.inputs)

    def to_parquet(self) -> bytes:
        """One row a tick, columns of `SCHEMA` but for optional ones that hold nothing: each costs every reader."""
        columns: dict[str, Any] = {"t_ns": self.t_ns, "known": self.known}
        columns["keys"] = [sorted(state.keys) for state in self.inputs]
        columns["buttons"] = [sorted(state.buttons) for state in self.inputs]
        for name, pairs in (("d{}", "motion"), ("wheel_{}", "wheel"), ("cursor_{}", "cursor")):
            for index, axis in enumerate("xy"):
                values = (getattr(state, pairs) for state in self.inputs)
                columns[name.format(axis)] = [pair[index] if pair is not None else None for pair in values]
        columns["gamepad"] = [_gamepad_row(state.gamepad) for state in self.inputs]
        columns["commands"] = [state.commands or None for state in self.inputs]
        table = pa.table(columns, schema=SCHEMA)
        empty = [name for name in OPTIONAL if table[name].null_count == len(table)]
        sink = io.BytesIO()
        pq.write_table(table.drop_columns(empty), sink, compression="snappy")  # zstd opens slowly, for each column
        return sink.getvalue()

    @classmethod
    def from_parquet(cls, content: bytes, name: str) -> Self:
        """Inverse of `to_parquet`. Raises ClipError naming clip `name`."""
        columns = LabelColumns.from_parquet(content, name)
        try:
            return cls(columns.inputs.states(), columns.t_ns, columns.known)
        except ActionError as error:
            raise _unreadable(name, error) from error

    @classmethod
    def from_lines(cls, content: bytes, name: str, *, cut_off: bool = False) -> Self:
        """Read the lines that `line` wrote; where `cut_off`, stop at the first incomplete one. Raises ClipError."""
        rows: list[tuple[InputState, int, bool]] = []
        num_commands = 0
        for text in content.splitlines(keepends=True):
            try:
                if not text.endswith(b"\n"):
                    raise ValueError("the last line is incomplete")
                row = _read_line(text)
                num_commands = _count_commands(row[0], num_commands)
                rows.append(row)
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


@dataclass(frozen=True)
class LabelColumns:
    """The same as `Labels`, in arrays: what reads many clips builds no object a tick."""

    inputs: InputColumns
    t_ns: NDArray[np.int64]  # (T,)
    known: NDArray[np.bool_]  # (T,)

    def __getitem__(self, ticks: slice) -> Self:
        return type(self)(self.inputs[ticks], self.t_ns[ticks], self.known[ticks])

    @classmethod
    def from_parquet(cls, content: bytes, name: str) -> Self:
        """Read what `Labels.to_parquet` wrote. Raises ClipError naming clip `name`."""
        try:
            table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False).combine_chunks()
            if not table.schema.equals(pa.schema([SCHEMA.field(name) for name in _columns_of(table)])):
                raise ValueError(f"other columns: {table.schema.names}")
            t_ns, known = table["t_ns"].to_numpy(), table["known"].to_numpy()
            return cls(_input_columns(table), t_ns.astype(np.int64), known.astype(bool))
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise _unreadable(name, error) from error


def line(state: InputState, *, t_ns: int, known: bool) -> bytes:
    """One tick as a line of JSON."""
    return json.dumps({"t_ns": t_ns, "known": known} | state.to_dict(), separators=(",", ":")).encode() + b"\n"


def _read_line(text: bytes) -> tuple[InputState, int, bool]:
    row = json.loads(text)
    t_ns, known = int(row.pop("t_ns")), bool(row.pop("known"))
    return InputState.from_dict(row), t_ns, known


def _count_commands(state: InputState, before: int) -> int:
    """How many commands the ticks of a clip have, where `before` said so of earlier ones; 0: none had any."""
    if state.commands and before and len(state.commands) != before:
        raise ValueError(f"{len(state.commands)} commands after ticks with {before}")
    return len(state.commands) or before


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


def _columns_of(table: pa.Table) -> list[str]:
    """What a table of these labels has to have: all of `SCHEMA` but optional columns that it lacks."""
    return [name for name in SCHEMA.names if name not in OPTIONAL or name in table.schema.names]


def _input_columns(table: pa.Table) -> InputColumns:
    num = len(table)
    held = np.zeros((num, len(CONTROLS)), dtype=bool)
    _hold(held, table["keys"], KEYS)
    _hold(held, table["buttons"], MOUSE_BUTTONS)
    has_cursor, cursor = _cursor(table)
    has_gamepad, axes = _gamepad(table, held)
    return InputColumns(
        held=held,
        motion=np.stack([table[name].to_numpy() for name in ("dx", "dy")], axis=1).astype(np.int64),
        wheel=np.stack([table[name].to_numpy() for name in ("wheel_x", "wheel_y")], axis=1).astype(np.int64),
        has_cursor=has_cursor,
        cursor=cursor,
        has_gamepad=has_gamepad,
        axes=axes,
        commands=_commands(table),
    )


def _cursor(table: pa.Table) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """bool (T,): whether there is one; float (T, 2): where."""
    if not {"cursor_x", "cursor_y"} <= set(table.schema.names):
        return np.zeros(len(table), dtype=bool), np.zeros((len(table), 2), dtype=np.float64)
    position = np.stack([_floats(table[name]) for name in ("cursor_x", "cursor_y")], axis=1)
    return table["cursor_x"].is_valid().to_numpy(), position


def _gamepad(table: pa.Table, held: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """bool (T,): whether there is one; float (T, 6): its axes. Marks its buttons in `held`."""
    if "gamepad" not in table.schema.names or not len(table):
        return np.zeros(len(table), dtype=bool), np.zeros((len(table), 6), dtype=np.float64)
    pads = table["gamepad"].combine_chunks()
    _hold(held, pc.struct_field(pads, "buttons"), GAMEPAD_BUTTONS)
    axes = np.stack([_floats(pc.struct_field(pads, axis)) for axis in _AXES], axis=1)
    if (np.abs(axes) > 1).any() or (axes[:, 4:] < 0).any():
        raise ValueError("a stick or a trigger is out of range")
    return table["gamepad"].is_valid().to_numpy(), axes


def _commands(table: pa.Table) -> NDArray[np.float64]:
    """float (T, A), NaN in ticks without. Raises ValueError on other numbers of them, and on what is no number."""
    if "commands" not in table.schema.names:
        return np.zeros((len(table), 0))
    lists = table["commands"].combine_chunks()
    has_some = lists.is_valid().to_numpy(zero_copy_only=False)
    counts = np.unique(pc.list_value_length(lists.drop_null()).to_numpy())
    count = int(counts[0]) if len(counts) else 0
    values = _floats(pc.list_flatten(lists), null=np.nan)
    if len(counts) > 1 or count > MAX_COMMANDS or not (np.abs(values) <= LARGEST_COMMAND).all():
        expected = f"one number of commands, at most {MAX_COMMANDS}, all finite"
        raise ValueError(f"commands of {counts.tolist()} numbers, expected {expected}")
    commands = np.full((len(table), count), np.nan)
    commands[has_some] = values.reshape(-1, count)
    return commands


def _hold(held: NDArray[np.bool_], lists: pa.ChunkedArray | pa.Array, known: Sequence[str]) -> None:
    """Mark what lists of control names, one a tick, name. Raises ValueError on a name that is not `known`."""
    names = pc.list_flatten(lists)
    names = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
    if not len(names):
        return
    coded = names.dictionary_encode()
    if unknown := set(distinct := coded.dictionary.to_pylist()) - set(known):
        raise ValueError(f"unknown control {sorted(map(str, unknown))[0]!r}")
    ids = np.array([CONTROL_IDS[name] for name in distinct])
    held[pc.list_parent_indices(lists).to_numpy(), ids[coded.indices.to_numpy()]] = True


def _floats(column: pa.ChunkedArray | pa.Array, *, null: float = 0.0) -> NDArray[np.float64]:
    values: NDArray[np.float64] = pc.fill_null(column, null).to_numpy(zero_copy_only=False)
    return values


def _unreadable(name: str, error: Exception) -> ClipError:
    do = "Record the clip again, or leave it out with --skip-damaged."
    return ClipError(f"labels of clip {name} cannot be read", got=str(error)[:200], expected="one row a tick", do=do)
