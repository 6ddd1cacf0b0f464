import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_data.inputs_table import SCHEMA, LabelColumns, Labels, line
from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, Gamepad, InputState
from gi_model.errors import ClipError

counts = st.integers(-(2**31), 2**31 - 1)
unit = st.floats(0, 1)
stick = st.tuples(st.floats(-1, 1), st.floats(-1, 1))
gamepads = st.builds(
    Gamepad,
    buttons=st.frozensets(st.sampled_from(GAMEPAD_BUTTONS)),
    left_stick=stick,
    right_stick=stick,
    triggers=st.tuples(unit, unit),
)
states = st.builds(
    InputState,
    keys=st.frozensets(st.sampled_from(KEYS), max_size=8),
    buttons=st.frozensets(st.sampled_from(MOUSE_BUTTONS)),
    motion=st.tuples(counts, counts),
    wheel=st.tuples(counts, counts),
    cursor=st.none() | st.tuples(unit, unit),
    gamepad=st.none() | gamepads,
)
rows = st.lists(st.tuples(states, st.integers(0, 2**62), st.booleans()), max_size=12)


def same(a: Labels, b: Labels) -> bool:
    return a.inputs == b.inputs and np.array_equal(a.t_ns, b.t_ns) and np.array_equal(a.known, b.known)


@given(rows)
@settings(max_examples=40, deadline=None)
def test_a_table_holds_every_input_state_exactly(ticks: list[tuple[InputState, int, bool]]) -> None:
    labels = Labels.of(ticks)
    assert same(Labels.from_parquet(labels.to_parquet(), "clip"), labels)


def test_what_nobody_used_costs_nothing() -> None:
    """Neither a gamepad nor a cursor: no column for them."""
    names = pq.read_schema(io.BytesIO(Labels.of([(InputState(), 0, True)]).to_parquet())).names
    assert names == ["t_ns", "known", "keys", "buttons", "dx", "dy", "wheel_x", "wheel_y"]


@given(rows)
@settings(max_examples=40, deadline=None)
def test_lines_hold_every_input_state_exactly(ticks: list[tuple[InputState, int, bool]]) -> None:
    lines = b"".join(line(state, t_ns=t_ns, known=known) for state, t_ns, known in ticks)
    assert same(Labels.from_lines(lines, "clip"), Labels.of(ticks))


@given(rows, st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_lines_cut_anywhere_give_the_complete_ones(ticks: list[tuple[InputState, int, bool]], share: float) -> None:
    lines = b"".join(line(state, t_ns=t_ns, known=known) for state, t_ns, known in ticks)
    cut = lines[: int(share * len(lines))]
    assert same(Labels.from_lines(cut, "clip", cut_off=True), Labels.of(ticks[: cut.count(b"\n")]))


@pytest.mark.parametrize(
    "content", [b"{}\n", b"nonsense\n", b'{"t_ns": 1, "known": true, "keys": ["Nope"]}\n', b"[]\n", b'{"t']
)
def test_lines_that_say_nothing_are_an_error_that_names_the_clip(content: bytes) -> None:
    with pytest.raises(ClipError, match="a1f3"):
        Labels.from_lines(content, "a1f3")


@pytest.mark.parametrize("content", [b"", b"PAR1", bytes(100)])
def test_what_is_no_table_is_an_error_that_names_the_clip(content: bytes) -> None:
    with pytest.raises(ClipError, match="a1f3"):
        Labels.from_parquet(content, "a1f3")


@pytest.mark.parametrize(
    "change",
    [
        {"keys": [["Nope"]]},
        {"keys": [["MouseLeft"]]},
        {"gamepad": [{"buttons": [], "left_x": 1.5}]},
        {"gamepad": [{"buttons": [], "trigger_left": -0.5}]},
        {"gamepad": [{"buttons": ["KeyW"]}]},
    ],
)
def test_a_table_that_holds_no_input_states_is_an_error_that_names_the_clip(change: dict[str, Any]) -> None:
    """Whatever reads it: arrays must not let through what objects refuse."""
    row: dict[str, Any] = {"t_ns": [0], "known": [True], "keys": [[]], "buttons": [[]], "gamepad": [None]}
    row |= {name: [0] for name in ("dx", "dy", "wheel_x", "wheel_y")} | {"cursor_x": [None], "cursor_y": [None]}
    sink = io.BytesIO()
    pq.write_table(pa.table(row | change, schema=SCHEMA), sink)
    for read in (Labels.from_parquet, LabelColumns.from_parquet):
        with pytest.raises(ClipError, match="a1f3"):
            read(sink.getvalue(), "a1f3")
