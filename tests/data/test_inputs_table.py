import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_data.inputs_table import OPTIONAL, SCHEMA, LabelColumns, Labels, line
from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, Gamepad, InputColumns, InputState
from gi_model.actions.inputs import LARGEST_COMMAND, MAX_COMMANDS
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
Row = tuple[InputState, int, bool]


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Ticks of one clip: of any player, or of a body some of whose actuators are direct."""
    count = draw(st.sampled_from([0, 0, 1, 3, MAX_COMMANDS]))
    commands = st.just(()) | st.tuples(*[st.floats(-LARGEST_COMMAND, LARGEST_COMMAND)] * count)
    ticks = st.tuples(states, commands, st.integers(0, 2**62), st.booleans())
    return [
        (replace(state, commands=own), t_ns, known) for state, own, t_ns, known in draw(st.lists(ticks, max_size=12))
    ]


def same(a: Labels, b: Labels) -> bool:
    return a.inputs == b.inputs and np.array_equal(a.t_ns, b.t_ns) and np.array_equal(a.known, b.known)


@given(rows())
@settings(max_examples=40, deadline=None)
def test_a_table_holds_every_input_state_exactly(ticks: list[Row]) -> None:
    labels = Labels.of(ticks)
    assert same(Labels.from_parquet(labels.to_parquet(), "clip"), labels)


def test_what_nobody_used_costs_nothing() -> None:
    """Neither a gamepad, nor a cursor, nor commands: no column for them."""
    names = pq.read_schema(io.BytesIO(Labels.of([(InputState(), 0, True)]).to_parquet())).names
    assert names == ["t_ns", "known", "keys", "buttons", "dx", "dy", "wheel_x", "wheel_y"]


@given(rows())
@settings(max_examples=40, deadline=None)
def test_arrays_hold_what_the_states_hold(ticks: list[Row]) -> None:
    labels = Labels.of(ticks)
    columns, expected = LabelColumns.from_parquet(labels.to_parquet(), "clip").inputs, InputColumns.of(labels.inputs)
    for name, column in vars(expected).items():
        np.testing.assert_array_equal(getattr(columns, name), column)


@given(rows())
@settings(max_examples=40, deadline=None)
def test_lines_hold_every_input_state_exactly(ticks: list[Row]) -> None:
    lines = b"".join(line(state, t_ns=t_ns, known=known) for state, t_ns, known in ticks)
    assert same(Labels.from_lines(lines, "clip"), Labels.of(ticks))


@given(rows(), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_lines_cut_anywhere_give_the_complete_ones(ticks: list[Row], share: float) -> None:
    lines = b"".join(line(state, t_ns=t_ns, known=known) for state, t_ns, known in ticks)
    cut = lines[: int(share * len(lines))]
    assert same(Labels.from_lines(cut, "clip", cut_off=True), Labels.of(ticks[: cut.count(b"\n")]))


@pytest.mark.parametrize(
    "content", [b"{}\n", b"nonsense\n", b'{"t_ns": 1, "known": true, "keys": ["Nope"]}\n', b"[]\n", b'{"t']
)
def test_lines_that_say_nothing_are_an_error_that_names_the_clip(content: bytes) -> None:
    with pytest.raises(ClipError, match="a1f3"):
        Labels.from_lines(content, "a1f3")


def test_lines_with_other_numbers_of_commands_are_of_no_one_body() -> None:
    one, two = (line(InputState(commands=(0.5,) * num), t_ns=num, known=True) for num in (1, 2))
    idle = line(InputState(), t_ns=0, known=True)
    with pytest.raises(ClipError, match=r"a1f3.*1 commands after ticks with 2"):
        Labels.from_lines(two + idle + one, "a1f3")
    assert len(Labels.from_lines(two + idle + one, "a1f3", cut_off=True)) == 2


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
        {"commands": [[1.0, math.nan]]},
        {"commands": [[1.0, None]]},
        {"commands": [[1.0, 1e39]]},
        {"commands": [[0.0] * (MAX_COMMANDS + 1)]},
        {"commands": [[1.0], [1.0, 2.0], None]},
        {"commands": [[], [1.0], [2.0]]},
    ],
)
def test_a_table_that_holds_no_input_states_is_an_error_that_names_the_clip(change: dict[str, Any]) -> None:
    """Whatever reads it: arrays must not let through what objects refuse."""
    row: dict[str, Any] = {"t_ns": [0], "known": [True], "keys": [[]], "buttons": [[]]}
    row |= {name: [0] for name in ("dx", "dy", "wheel_x", "wheel_y")} | {name: [None] for name in OPTIONAL}
    num_ticks = len(next(iter(change.values())))
    sink = io.BytesIO()
    pq.write_table(pa.table({name: values * num_ticks for name, values in row.items()} | change, schema=SCHEMA), sink)
    for read in (Labels.from_parquet, LabelColumns.from_parquet):
        with pytest.raises(ClipError, match="a1f3"):
            read(sink.getvalue(), "a1f3")
