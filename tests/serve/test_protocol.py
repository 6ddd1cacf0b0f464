"""Laws of the wire: what is sent is what arrives, and no bytes can raise anything but ProtocolError."""

import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, Gamepad, InputState
from gi_model.actions.inputs import MAX_COMMANDS
from gi_model.errors import ServeError
from gi_serve.command_plan import CommandPlan, pack_plan, plan_to_dict
from gi_serve.controls import RECORD_SIZE, pack_state, unpack_state
from gi_serve.protocol import (
    MAX_SEQ,
    MAX_STREAM_ID,
    ActionMessage,
    Codec,
    FrameMessage,
    ProtocolError,
    decode_action,
    decode_frame,
    encode_action,
    encode_frame,
)
from gi_serve.protocol_json import (
    MAX_EVENT_TEXT,
    action_from_event,
    action_to_text,
    frame_from_event,
    frame_to_event,
    parse_event,
)

seqs = st.integers(0, MAX_SEQ)
stream_ids = st.integers(0, MAX_STREAM_ID)
times = st.integers(-(2**63), 2**63 - 1)
u32 = st.integers(0, 2**32 - 1)
axes = st.floats(-1, 1, width=32)
triggers = st.floats(0, 1, width=32)


def subsets(names: tuple[str, ...], most: int) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(names), max_size=most)


gamepads = st.builds(
    Gamepad,
    subsets(GAMEPAD_BUTTONS, 17),
    st.tuples(axes, axes),
    st.tuples(axes, axes),
    st.tuples(triggers, triggers),
)
i16 = st.integers(-(2**15), 2**15 - 1)
states = st.builds(
    InputState,
    keys=subsets(KEYS, 8),
    buttons=subsets(MOUSE_BUTTONS, 5),
    motion=st.tuples(i16, i16),
    wheel=st.tuples(i16, i16),
    gamepad=st.none() | gamepads,
)


commands = st.floats(-(2.0**100), 2.0**100, width=32)
plans = st.integers(1, 3).map(lambda n: CommandPlan(np.full((n, 2), 0.5, np.float32), 200.0, np.zeros((2, 4), bool)))


@st.composite
def frame_messages(draw: st.DrawFn) -> FrameMessage:
    codec = draw(st.sampled_from([Codec.RAW, Codec.JPEG, Codec.PNG]))
    width, height, data = 0, 0, draw(st.binary(max_size=64))
    if codec == Codec.RAW:
        width, height = draw(st.integers(1, 6)), draw(st.integers(1, 6))
        data = draw(st.binary(min_size=width * height * 3, max_size=width * height * 3))
    return FrameMessage(draw(seqs), draw(times), codec, data, width, height, draw(stream_ids))


@st.composite
def action_messages(draw: st.DrawFn) -> ActionMessage:
    horizon, num_tokens, num_factors = draw(st.integers(1, 4)), draw(st.integers(0, 14)), draw(st.integers(0, 5))
    tokens = draw(st.lists(st.integers(0, 2**15 - 1), min_size=horizon * num_tokens, max_size=horizon * num_tokens))
    num_commands = draw(st.just(0) | st.integers(0, MAX_COMMANDS))
    rows = st.lists(commands, min_size=num_commands, max_size=num_commands).map(tuple)
    held = [replace(draw(states), commands=draw(rows)) for _ in range(horizon)]
    probs = draw(st.lists(triggers, min_size=horizon * num_factors, max_size=horizon * num_factors))
    return ActionMessage(
        seq=draw(seqs),
        capture_ns=draw(times),
        age_us=draw(u32),
        num_dropped=draw(u32),
        is_late=draw(st.booleans()),
        states=tuple(held),
        tokens=np.array(tokens, np.int64).reshape(horizon, num_tokens),
        confidence=np.array(probs, np.float32).reshape(horizon, num_factors),
        stream_id=draw(stream_ids),
        plan=draw(st.none() | plans),
    )


def fields_of(message: ActionMessage) -> dict[str, Any]:
    values = {name: getattr(message, name) for name in ActionMessage.__slots__}
    plan = None if message.plan is None else plan_to_dict(message.plan)
    return values | {"tokens": message.tokens.tolist(), "confidence": message.confidence.tolist(), "plan": plan}


@given(frame_messages())
def test_a_frame_arrives_as_it_was_sent(message: FrameMessage) -> None:
    assert decode_frame(encode_frame(message)) == message
    assert frame_from_event(parse_event(json.dumps(frame_to_event(message)))) == message


@given(action_messages())
def test_an_action_arrives_as_it_was_sent(message: ActionMessage) -> None:
    assert fields_of(decode_action(encode_action(message))) == fields_of(message)


@given(action_messages())
def test_commands_are_a_section_of_their_own_and_without_them_there_is_none(message: ActionMessage) -> None:
    """Who knows nothing of commands reads the bytes that there always were."""
    bare = replace(message, states=tuple(replace(state, commands=()) for state in message.states))
    data, plain = encode_action(message), encode_action(bare)
    assert not plain[3] & 4
    plan = b"" if message.plan is None else pack_plan(message.plan)
    rows = np.array([state.commands for state in message.states], "<f4")
    section = bytes([rows.shape[1]]) + rows.tobytes() if rows.size else b""
    assert data[3] == plain[3] | (4 if section else 0)
    assert data[4:] == plain[4 : len(plain) - len(plan)] + section + plan


def commanded(*rows: tuple[float, ...]) -> bytes:
    held = tuple(InputState(commands=row) for row in rows)
    tokens, confidence = np.zeros((len(rows), 0), np.int64), np.zeros((len(rows), 0), np.float32)
    return encode_action(ActionMessage(0, 0, 0, 0, False, held, tokens, confidence))


def test_impossible_commands_are_refused() -> None:
    with pytest.raises(ProtocolError, match="other numbers of commands"):
        commanded((1.0,), (1.0, 2.0))
    with pytest.raises(ServeError, match="does not fit"):
        commanded((), (1.0,))
    good = commanded((1.0, 2.0))
    for bad, said in (
        (good[:-8], "no commands|wrong size"),
        (good[:-9] + b"\x00", "no commands"),
        (good[:-9], "wrong size|no commands"),
        (good + b"\x00", "wrong size"),
        (good[:-4] + struct.pack("<f", float("nan")), "impossible commands"),
        (good[:-9] + bytes([33]) + bytes(33 * 4), "impossible commands"),
        (good[:3] + b"\x08" + good[4:], "flags"),
    ):
        with pytest.raises(ProtocolError, match=said):
            decode_action(bad)


@given(action_messages())
def test_an_action_arrives_as_it_was_sent_in_json(message: ActionMessage) -> None:
    arrived = action_from_event(parse_event(action_to_text(message)))
    assert np.allclose(arrived.confidence, message.confidence, atol=1e-6)
    assert fields_of(arrived) | {"confidence": 0} == fields_of(message) | {"confidence": 0}


@given(states)
def test_a_state_has_one_record(state: InputState) -> None:
    record = pack_state(state)
    assert len(record) == RECORD_SIZE
    assert unpack_state(record) == state


@given(st.binary(min_size=RECORD_SIZE, max_size=RECORD_SIZE))
def test_any_record_is_a_state_or_refused(record: bytes) -> None:
    try:
        state = unpack_state(record)
    except ServeError:
        return
    assert pack_state(state) == record


def test_what_a_record_cannot_hold_is_refused() -> None:
    for state in (
        InputState(keys=frozenset(KEYS[:9])),
        InputState(cursor=(0.5, 0.5)),
        InputState(commands=(0.5,)),
        InputState(motion=(40_000, 0)),
    ):
        with pytest.raises(ServeError):
            pack_state(state)


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    for decode in (decode_frame, decode_action):
        with pytest.raises(ProtocolError):
            decode(data)


@given(st.one_of(frame_messages().map(encode_frame), action_messages().map(encode_action)), st.data())
def test_damaged_messages_raise_only_protocol_errors(data: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(data)
    for at in draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
        damaged[at] = draw.draw(st.integers(0, 255))
    cut = bytes(damaged[: draw.draw(st.integers(0, len(damaged)))])
    for broken in (bytes(damaged), cut):
        for decode in (decode_frame, decode_action):
            try:
                decode(broken)
            except ProtocolError:
                continue


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("type", "stream_id", "seq", "capture_ns", "codec", "width", "height", "data", "actions", "tokens")


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), json_values, max_size=8))
def test_wrong_json_raises_only_protocol_errors(event: dict[str, Any]) -> None:
    for read in (frame_from_event, action_from_event):
        try:
            read(event)
        except ProtocolError:
            continue


@given(st.text(max_size=60) | json_values.map(json.dumps))
def test_text_is_an_event_or_refused(text: str) -> None:
    try:
        event = parse_event(text)
    except ProtocolError:
        return
    assert isinstance(event["type"], str)


def test_deep_json_is_refused() -> None:
    with pytest.raises(ProtocolError):
        parse_event("[" * 100_000)


def test_the_header_is_what_the_document_says() -> None:
    message = FrameMessage(7, -9, Codec.RAW, b"abcdef", 2, 1, stream_id=5)
    assert encode_frame(message) == struct.pack("<BBBBIQqHH", 1, 1, 1, 0, 5, 7, -9, 2, 1) + b"abcdef"


def test_messages_of_another_version_are_refused() -> None:
    data = bytearray(encode_frame(FrameMessage(0, 0, Codec.PNG, b"x")))
    data[1] = 2
    with pytest.raises(ProtocolError, match="version"):
        decode_frame(bytes(data))


@pytest.mark.parametrize("number", [-1, MAX_SEQ * 4])
def test_fields_that_do_not_fit_are_refused(number: int) -> None:
    with pytest.raises(ProtocolError):
        encode_frame(FrameMessage(number, 0, Codec.PNG, b"x"))


def test_long_text_is_a_frame_or_is_refused_unparsed() -> None:
    frame = FrameMessage(1, 2, Codec.JPEG, bytes(3 * 1024 * 1024 - 1024))
    assert frame_from_event(parse_event(json.dumps(frame_to_event(frame)))) == frame
    for text in (
        json.dumps(frame_to_event(FrameMessage(1, 2, Codec.JPEG, bytes(3 * 1024 * 1024)))),
        json.dumps({"type": "clock.sync", "client_ns": [0] * MAX_EVENT_TEXT}),
        '{"type": "frame", "data": ' + "[" * MAX_EVENT_TEXT,
    ):
        with pytest.raises(ProtocolError, match="too long"):
            parse_event(text)
