"""openpi's messages: what is read of a stranger's bytes, what is refused, and what the answers mean."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_model.actions import Gamepad, InputState
from gi_model.errors import ServeError
from gi_serve.command_plan import CommandPlan
from gi_serve.openpi_messages import ACTION_NAMES, action_values, find_frame, pack_map, read_observation
from gi_serve.protocol import ActionMessage

FRAME = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)


def answer(*states: InputState, plan: CommandPlan | None = None) -> ActionMessage:
    tokens, confidence = np.zeros((len(states), 2), np.int64), np.zeros((len(states), 1), np.float32)
    return ActionMessage(0, 0, 0, 0, False, states, tokens, confidence, plan=plan)


def array_of(data: bytes, dtype: Any, shape: Any) -> bytes:
    return pack_map({"image": {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}})


def nested(depth: int) -> bytes:
    """A picture in so many maps in a map, each of them {"m": ...}."""
    return b"\x81\xa1m" * depth + pack_map({"image": FRAME})


def test_an_observation_comes_back_as_it_was_packed() -> None:
    packed = pack_map({"observation/image": FRAME, "nested": {"state": np.ones(3)}, "prompt": "go"})
    found = read_observation(packed)
    assert np.array_equal(found["observation/image"], FRAME)
    assert np.array_equal(found["nested"]["state"], np.ones(3))
    assert found["prompt"] == "go"


def test_the_first_picture_is_the_frame() -> None:
    other = np.zeros_like(FRAME)
    found = find_frame(read_observation(pack_map({"state": np.ones(3), "images": {"front": FRAME, "wrist": other}})))
    assert np.array_equal(found, FRAME)


def test_a_picture_may_have_its_channels_first() -> None:
    found = find_frame(read_observation(pack_map({"image": np.ascontiguousarray(np.moveaxis(FRAME, -1, 0))})))
    assert np.array_equal(found, FRAME)


@pytest.mark.parametrize(
    "many",
    [
        {f"{outer}": {f"{inner}": 0 for inner in range(250)} for outer in range(250)},
        {f"{outer}": [{}] * 100 for outer in range(50)},  # empty ones count, too
        {f"{outer}": [[]] * 100 for outer in range(50)},
        {f"{outer}": [0] * 1000 for outer in range(5)},
        {"state": [0] * 1025},
    ],
)
def test_many_small_values_are_refused_before_they_are_all_read(many: dict[str, Any]) -> None:
    with pytest.raises(ServeError, match=r"more than 4096 values|exceeds max_array_len"):
        read_observation(pack_map(many | {"image": FRAME}))


def test_a_rich_observation_is_far_below_the_limit() -> None:
    cameras = {f"camera_{number}": FRAME for number in range(32)}
    rich = {"images": cameras, "state": [0.5] * 1000, "joints": {f"joint_{number}": 0.0 for number in range(200)}}
    assert np.array_equal(find_frame(read_observation(pack_map(rich))), FRAME)


def test_a_picture_is_found_in_maps_within_reason() -> None:
    assert np.array_equal(find_frame(read_observation(nested(16))), FRAME)


@pytest.mark.parametrize("dtype", ["|b1", "|u1", "<u2", ">i4", "=i8", "<f2", "f4", "<f8"])
def test_plain_numbers_are_read_as_numpy_writes_them(dtype: str) -> None:
    values = np.array([[0, 1, 1]], dtype)
    found = read_observation(array_of(values.tobytes(), dtype, [1, 3]))["image"]
    assert found.dtype == values.dtype
    assert np.array_equal(found, values)


@given(st.text(max_size=12), st.integers(0, 8))
def test_no_dtype_gets_past_with_anything_but_an_array_or_a_refusal(dtype: str, num_bytes: int) -> None:
    try:
        found = read_observation(array_of(bytes(num_bytes), dtype, [1]))["image"]
    except ServeError:
        return
    assert found.dtype.kind in "buif"


@pytest.mark.parametrize(
    "observation", [{}, {"state": np.ones(3)}, {"image": FRAME.astype(np.float32)}, {"image": b"x"}]
)
def test_an_observation_without_a_picture_is_refused_by_the_names_it_has(observation: dict[str, Any]) -> None:
    with pytest.raises(ServeError, match="no picture in the observation") as caught:
        find_frame(read_observation(pack_map(observation)))
    assert all(name in str(caught.value) for name in observation)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x93\x01\x02\x03",
        b"\x01",
        b"\xdd\xff\xff\xff\xff",  # an array of four thousand million
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 5000,
        b"\x81\x91\x01\x02",  # a list as a key
        b"\x81\xc4\x01a\xc1",
        pack_map({"image": FRAME})[:-1],
        pack_map({"image": FRAME}) + b"\x01",
        array_of(b"abc", "|u1", [1, 1, 4]),
        array_of(b"", "|u1", [2**62, 2**62, 0]),
        array_of(b"", "|O", [0]),
        array_of(b"abcdefgh", "|O", [1]),
        array_of(b"ab", "V2", [1]),
        array_of(b"abc", "nonsense", [3]),
        array_of(b"abc", 7, [3]),
        array_of(b"abc", "|u1", 3),
        array_of(b"abc", "|u1", [-3]),
        array_of(b"abc", "|u1", [3.0]),
        array_of(b"a", "|u1", [1] * 5),
        array_of("abc", "|u1", [3]),  # type: ignore[arg-type]
        array_of(b"abcd", ",", [1]),  # numpy parses these three, and raises SyntaxError
        array_of(b"abcd", "(01,)f4", [1]),
        array_of(b"abcd", "i4,,", [1]),
        array_of(b"abc", "|u1\n", [3]),
        array_of(b"abcd", "i4,i4", [1]),
        array_of(b"", "|u1", [2**64 - 1, 0]),
        nested(17),
        nested(1010),  # as deep as msgpack goes; Python itself does not recurse so deep
        nested(5000),
    ],
)
def test_bytes_that_are_no_observation_are_refused(data: bytes) -> None:
    with pytest.raises(ServeError):
        find_frame(read_observation(data))


@given(st.binary(max_size=200))
def test_no_bytes_get_past_with_anything_but_a_frame_or_a_refusal(data: bytes) -> None:
    try:
        frame = find_frame(read_observation(data))
    except ServeError:
        return
    assert frame.dtype == np.uint8
    assert frame.shape[2] == 3


def test_actions_are_named_columns() -> None:
    pad = Gamepad(frozenset({"GamepadSouth"}), (0.5, -1.0), (0.0, 0.25), (0.0, 1.0))
    state = InputState(frozenset({"KeyW"}), frozenset({"MouseLeft"}), (3, -4), (0, 1), None, pad)
    values = action_values(answer(state, InputState()))
    assert values.shape == (2, len(ACTION_NAMES))
    assert values.dtype == np.float32
    row = dict(zip(ACTION_NAMES, values[0].tolist(), strict=True))
    busy = {name: value for name, value in row.items() if value}
    sticks = {"gamepad.left_stick.x": 0.5, "gamepad.left_stick.y": -1.0, "gamepad.right_stick.y": 0.25}
    held = {"KeyW": 1.0, "MouseLeft": 1.0, "GamepadSouth": 1.0, "gamepad.right_trigger": 1.0}
    assert busy == {**held, **sticks, "motion.x": 3.0, "motion.y": -4.0, "wheel.y": 1.0}
    assert not values[1].any()


def test_a_robot_gets_its_commands_inside_the_envelope() -> None:
    commands = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], np.float32)
    plan = CommandPlan(commands, 50.0, np.zeros((2, 4), bool))
    assert np.array_equal(action_values(answer(InputState(), plan=plan)), commands)
