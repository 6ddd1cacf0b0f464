"""Laws of input states, bindings, and the action space."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_model.actions import (
    KEYS,
    MOTION,
    MOUSE_BUTTONS,
    NEUTRAL,
    ActionSpace,
    AxisBinding,
    Bindings,
    Gamepad,
    InputColumns,
    InputState,
    merge,
)
from gi_model.errors import ActionError, CheckpointError, ConfigError
from tests.model.strategies import commands, gamepads, keyboards, states

SPACE = ActionSpace()


@given(states)
def test_decode_inverts_encode(state: InputState) -> None:
    lost: Counter[str] = Counter()
    assert SPACE.decode(SPACE.encode(state, lost)) == state
    assert lost.total() == 0


@given(states)
def test_encoding_is_legal_and_unique(state: InputState) -> None:
    tokens = SPACE.encode(state)
    device = int(tokens[0] == SPACE.gamepad_id)
    assert SPACE.legal[device, np.arange(SPACE.num_tokens), tokens].all()
    assert (SPACE.encode(SPACE.decode(tokens)) == tokens).all()


@given(st.lists(st.integers(0, SPACE.vocabulary_size - 1), min_size=14, max_size=14))
def test_any_tokens_decode_to_their_own_state_or_to_a_typed_error(tokens: list[int]) -> None:
    try:
        state = SPACE.decode(tokens)
    except ActionError:
        return
    assert SPACE.encode(state).tolist() == tokens


@given(st.tuples(st.integers(-2000, 2000), st.integers(-2000, 2000)))
def test_motion_is_kept_within_three_percent(motion: tuple[int, int]) -> None:
    decoded = SPACE.decode(SPACE.encode(InputState(motion=motion))).motion
    for got, expected in zip(decoded, motion, strict=True):
        assert abs(got - expected) <= (0.03 * abs(expected) if abs(expected) > 16 else 0)


@given(st.lists(st.integers(-3000, 3000), min_size=2, max_size=20))
def test_motion_codec_is_odd_and_monotone(motion: list[int]) -> None:
    values = np.array(sorted(motion))
    decoded = MOTION.decode(MOTION.encode(values))
    assert (np.diff(decoded) >= 0).all()
    assert (MOTION.decode(MOTION.encode(-values)) == -decoded).all()


def test_sizes_stay_within_their_budget() -> None:
    assert SPACE.num_tokens <= 14
    assert SPACE.vocabulary_size <= 640
    assert len(set(SPACE.vocabulary)) == SPACE.vocabulary_size


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (InputState(keys=frozenset(KEYS[:10])), "more held than slots"),
        (InputState(motion=(99_999, 0)), "motion beyond range"),
        (InputState(wheel=(0, 12)), "wheel beyond range"),
        (InputState(cursor=(0.5, 0.5)), "cursor"),
        (InputState(keys=frozenset({"KeyW"}), gamepad=Gamepad()), "keyboard or mouse beside a gamepad"),
    ],
)
def test_what_cannot_be_expressed_is_counted(state: InputState, name: str) -> None:
    lost: Counter[str] = Counter()
    SPACE.decode(SPACE.encode(state, lost))
    assert lost[name] >= 1
    assert +lost == Counter({name: lost[name]})


def test_action_space_of_another_vocabulary_is_refused() -> None:
    data = SPACE.to_dict()
    assert ActionSpace.from_dict(data) == SPACE
    with pytest.raises(CheckpointError, match="another action space"):
        ActionSpace.from_dict({**data, "fingerprint": "0" * 64})


@given(states, commands)
def test_json_form_is_an_inverse_pair(state: InputState, commands: tuple[float, ...]) -> None:
    state = dataclasses.replace(state, commands=commands)
    assert InputState.from_dict(state.to_dict()) == state


@pytest.mark.parametrize(
    "data",
    [
        {"keys": ["w"]},
        {"keys": 3},
        {"motion": [1]},
        {"motion": [0.5, 0]},
        {"speed": 1},
        {"gamepad": {"triggers": [2, 0]}},
        {"gamepad": []},
        {"gamepad": "pad"},
        {"gamepad": {"left_stick": 1}},
        {"gamepad": {"triggers": [float("nan"), 0]}},
        {"motion": [float("inf"), 0]},
        {"wheel": [0, float("nan")]},
        {"cursor": [10**400, 0]},
        {"keys": [["KeyW"]]},
        {"keys": [None, "KeyW", 7]},
        {"commands": "12"},
        {"commands": [True]},
        {"commands": [1e300]},
        {"commands": [float("nan")]},
        {"commands": [0.0] * 33},
        {"commands": {"x": 1}},
        ["keys"],
        "keys",
        None,
        7,
    ],
)
def test_malformed_json_states_give_a_typed_error(data: Any) -> None:
    with pytest.raises(ActionError):
        InputState.from_dict(data)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["KeyW", "MouseLeft"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["buttons", "triggers", "x"]), inner),
    max_leaves=5,
)
fields_of_states = st.sampled_from(["keys", "buttons", "motion", "wheel", "cursor", "gamepad", "commands", "x"])


@given(st.dictionaries(fields_of_states, json_values, max_size=4) | json_values)
def test_any_json_is_a_state_or_a_typed_error(data: Any) -> None:
    try:
        state = InputState.from_dict(data)
    except ActionError:
        return
    assert InputState.from_dict(state.to_dict()) == state


@given(st.lists(keyboards, max_size=5))
def test_merge_keeps_every_tap_and_all_motion(samples: list[InputState]) -> None:
    merged = merge(samples)
    assert merged.held == frozenset().union(*(sample.held for sample in samples))
    assert merged.motion == (sum(s.motion[0] for s in samples), sum(s.motion[1] for s in samples))


@given(keyboards, keyboards)
def test_events_are_the_difference_of_held_states(before: InputState, after: InputState) -> None:
    assert (before.held | after.presses(before)) - after.releases(before) == after.held


BINDINGS = Bindings(
    {"move_forward": "KeyW", "use": "KeyE", "attack": "MouseLeft"}, {"turn": AxisBinding("motion.x", 0.25)}
)


@given(st.frozensets(st.sampled_from(list(BINDINGS.digital))), st.integers(-500, 500))
def test_bindings_press_and_read_are_inverse(actions: frozenset[str], turned: int) -> None:
    state = BINDINGS.press(actions, {"turn": turned * 0.25})
    assert BINDINGS.actions(state) == actions
    assert BINDINGS.amount(state, "turn") == turned * 0.25
    assert BINDINGS.restrict(state) == state


@given(keyboards)
def test_restricting_drops_exactly_what_is_unbound(state: InputState) -> None:
    kept = BINDINGS.restrict(state)
    assert kept.held == state.held & frozenset(BINDINGS.digital.values())
    assert kept.motion == (state.motion[0], 0)
    assert BINDINGS.actions(kept) == BINDINGS.actions(state)


PAD_BINDINGS = Bindings(
    {"jump": "GamepadSouth"}, {"walk": AxisBinding("left_stick.y", -0.5, "m/s"), "gas": AxisBinding("triggers.y", 1.0)}
)


@given(gamepads)
def test_gamepads_are_bound_axis_by_axis(state: InputState) -> None:
    pad, kept = state.gamepad, PAD_BINDINGS.restrict(state).gamepad
    assert pad is not None
    assert kept == Gamepad(pad.buttons & {"GamepadSouth"}, (0.0, pad.left_stick[1]), (0.0, 0.0), (0.0, pad.triggers[1]))
    amounts = {name: PAD_BINDINGS.amount(state, name) for name in PAD_BINDINGS.analogue}
    assert PAD_BINDINGS.press(PAD_BINDINGS.actions(state), amounts).gamepad == kept


def test_a_cursor_enters_only_where_the_game_points() -> None:
    state = InputState(cursor=(0.25, 0.5))
    assert Bindings().restrict(state).cursor is None
    assert Bindings(cursor=True).restrict(state) == state
    assert Bindings.from_dict(Bindings(cursor=True).to_dict()) == Bindings(cursor=True)


def test_bindings_refuse_unknown_and_doubled_controls() -> None:
    assert Bindings.from_dict(BINDINGS.to_dict()) == BINDINGS
    with pytest.raises(ConfigError, match="unknown control"):
        Bindings({"jump": "w"})
    with pytest.raises(ConfigError, match="two actions"):
        Bindings({"jump": "Space", "fly": "Space"})


@pytest.mark.parametrize(
    ("binding", "what"),
    [
        ({"scale": "abc"}, "scale; got 'abc'; expected a number"),
        ({"scale": None}, "scale; got None"),
        ({"scale": True}, "scale; got True"),
        ({"scale": [0.25]}, "scale; got"),
        ({"scale": 0}, "scale 0; got motion.x"),
        ({"scale": float("nan")}, "scale; got nan; expected a finite number"),
        ({"scale": float("-inf")}, "scale; got -inf; expected a finite number"),
        ({"scale": 10**400}, "scale; got 1000"),
        ({"scale": 0.25, "unit": ["x"]}, "unit; got .*; expected text"),
        ({"scale": 0.25, "unit": None}, "unit; got None"),
        ({"scale": 0.25, "axis": ["motion.x"]}, "unknown axis"),
    ],
)
def test_axes_refuse_scales_that_are_no_numbers_and_units_that_are_no_text(binding: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Bindings.from_dict({"analogue": {"turn": {"axis": "motion.x"} | binding}})


def test_neutral_is_null() -> None:
    assert NEUTRAL.is_null
    assert not InputState(wheel=(0, 1)).is_null


anything = st.builds(
    lambda state, keyboard, cursor: dataclasses.replace(
        keyboard, gamepad=state.gamepad, cursor=cursor, motion=(keyboard.motion[0] * 200, keyboard.motion[1])
    ),
    states,
    st.builds(
        InputState,
        keys=st.frozensets(st.sampled_from(KEYS), max_size=12),
        buttons=st.frozensets(st.sampled_from(MOUSE_BUTTONS)),
        motion=st.tuples(st.integers(-16, 16), st.integers(-3000, 3000)),
        wheel=st.tuples(st.integers(-12, 12), st.integers(-12, 12)),
    ),
    st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)),
)


@given(
    st.lists(anything, max_size=8), st.lists(st.just(()) | st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=8)
)
def test_columns_are_encoded_as_their_states_are(some: list[InputState], commanded: list[tuple[float, ...]]) -> None:
    some = [dataclasses.replace(state, commands=row) for state, row in zip(some, commanded, strict=False)]
    space, one_by_one, at_once = ActionSpace(), Counter[str](), Counter[str]()
    columns = InputColumns.of(some)
    assert columns.states() == tuple(some)
    expected = [space.encode(state, one_by_one).tolist() for state in some]
    assert space.encode_columns(columns, at_once).tolist() == expected
    assert +at_once == +one_by_one
    assert columns.is_null.tolist() == [state.is_null for state in some]
    assert columns[2:5].states() == tuple(some[2:5])


def test_ticks_with_other_numbers_of_commands_are_no_columns() -> None:
    with pytest.raises(ActionError, match=r"got \[1, 2\]"):
        InputColumns.of([InputState(commands=(0.0,)), InputState(), InputState(commands=(0.0, 1.0))])
