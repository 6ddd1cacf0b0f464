"""A plan survives both wire forms; nothing else passes for one; messages without one are as they were."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_model.actions import NEUTRAL
from gi_model.errors import ServeError
from gi_serve.command_plan import CAUSES, CommandPlan, pack_plan, plan_from_dict, plan_to_dict, unpack_plan
from gi_serve.protocol import ActionMessage, ProtocolError, decode_action, encode_action
from gi_serve.protocol_json import action_from_event, action_to_event


@st.composite
def plans(draw: st.DrawFn) -> CommandPlan:
    steps, actuators = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=steps * actuators, max_size=steps * actuators)
    flags = st.lists(st.booleans(), min_size=actuators * 4, max_size=actuators * 4)
    return CommandPlan(
        np.array(draw(numbers), np.float32).reshape(steps, actuators),
        draw(st.floats(0.5, 10_000, width=32)),
        np.array(draw(flags), bool).reshape(actuators, 4),
        draw(st.sampled_from(CAUSES)),
    )


def same(a: CommandPlan, b: CommandPlan | None) -> bool:
    assert b is not None
    np.testing.assert_array_equal(a.commands, b.commands)
    np.testing.assert_array_equal(a.clamps, b.clamps)
    return (a.command_hz, a.cause, a.is_stopped) == (b.command_hz, b.cause, b.is_stopped)


def answer(plan: CommandPlan | None) -> ActionMessage:
    tokens, confidence = np.zeros((1, 14), np.int64), np.full((1, 4), 0.5, np.float32)
    return ActionMessage(3, 77, 10, 0, False, (NEUTRAL,), tokens, confidence, plan=plan)


@given(plan=plans())
def test_what_is_packed_is_unpacked(plan: CommandPlan) -> None:
    assert same(plan, unpack_plan(pack_plan(plan)))
    assert same(plan, plan_from_dict(plan_to_dict(plan)))
    assert same(plan, decode_action(encode_action(answer(plan))).plan)
    assert same(plan, action_from_event(action_to_event(answer(plan))).plan)


@given(plan=plans())
def test_the_section_comes_last_and_is_flagged(plan: CommandPlan) -> None:
    with_plan, without = encode_action(answer(plan)), encode_action(answer(None))
    assert with_plan[3] == 2
    assert without[3] == 0
    assert with_plan[4 : len(without)] == without[4:]
    assert with_plan[len(without) :] == pack_plan(plan)
    assert "plan" not in action_to_event(answer(None))


@given(data=st.binary(max_size=60))
def test_other_bytes_are_refused_or_read_back_alike(data: bytes) -> None:
    try:
        plan = unpack_plan(data)
    except ServeError:
        return
    assert same(plan, unpack_plan(pack_plan(plan)))


def test_a_plan_that_is_cut_or_has_no_numbers_is_refused() -> None:
    plan = CommandPlan(np.ones((3, 2), np.float32), 200.0, np.zeros((2, 4), bool))
    packed, message = pack_plan(plan), encode_action(answer(plan))
    for length in range(len(packed)):
        with pytest.raises(ServeError):
            unpack_plan(packed[:length])
    for bad in (message[:-1], message + b"\0"):
        with pytest.raises(ProtocolError, match="plan"):
            decode_action(bad)
    unflagged = bytearray(message)
    unflagged[3] = 0
    with pytest.raises(ProtocolError, match="wrong size"):
        decode_action(bytes(unflagged))
    for broken in (
        replace(plan, commands=np.array([[np.nan, 0.0]], np.float32)),
        replace(plan, commands=np.array([[0.0, np.inf]], np.float32)),
        replace(plan, command_hz=0.0),
        replace(plan, command_hz=float("nan")),
    ):
        with pytest.raises(ServeError, match="no number"):
            unpack_plan(pack_plan(broken))


@pytest.mark.parametrize(
    "changes",
    [
        {"commands": []},
        {"commands": [[1.0], [1.0, 2.0]]},
        {"commands": [["fast"]]},
        {"clamps": [[]]},
        {"clamps": None},
        {"cause": "whim"},
        {"command_hz": None},
        {"command_hz": "NaN"},
    ],
)
def test_other_json_is_refused(changes: dict[str, Any]) -> None:
    data = plan_to_dict(CommandPlan(np.ones((3, 2), np.float32), 200.0, np.zeros((2, 4), bool)))
    with pytest.raises(ServeError):
        plan_from_dict(data | changes)
