"""The messages of a stream, and their binary form (`gi.v1.bin`): frames in, actions out. numpy only; docs/protocol.md.

Every binary message opens with one fixed little-endian header of 24 bytes, so that an engine's client reads it with
one struct in any language:

    kind u8 · version u8 · codec u8 · flags u8 · stream id u32 · seq u64 · capture time ns i64

An action answers one frame: it repeats that frame's seq and capture time (the client subtracts it from its own clock,
so ages need no clock sync), and carries the input state twice: as decoded fields that any client can press, and as
action tokens for those that share the codec. Rejected: protobuf and msgpack (a dependency in every engine), JSON
floats (slow), and anything that unpickles.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import InputState
from gi_model.errors import ActionError, ServeError
from gi_serve.command_plan import CommandPlan, pack_plan, unpack_plan
from gi_serve.controls import RECORD_SIZE, pack_state, unpack_state

VERSION: Final = 1
BINARY: Final = "gi.v1.bin"
JSON: Final = "gi.v1.json"
MAX_IMAGE_BYTES: Final = 16 * 1024 * 1024
MAX_STREAM_ID: Final = 2**32 - 1
MAX_SEQ: Final = 2**63 - 1  # one less bit than the field: JSON and SQL clients have signed integers

_HEADER: Final = struct.Struct("<BBBBIQq")
_SIZE: Final = struct.Struct("<HH")  # width, height
_ANSWER: Final = struct.Struct("<IIHBB")  # age us, frames dropped, tokens a tick, horizon, factors
_LATE: Final = 1
_PLANNED: Final = 2
_COMMANDED: Final = 4
_MAX_U32: Final = 2**32 - 1


class ProtocolError(ServeError):
    """Bytes or JSON that are not a message of the protocol."""


class Kind(IntEnum):
    """What a binary message is."""

    FRAME = 1
    ACTION = 2


class Codec(IntEnum):
    """How the pixels of a frame are coded. RAW: uint8 RGB, row by row from the top left. H264: an access unit."""

    NONE = 0
    RAW = 1
    JPEG = 2
    PNG = 3
    H264 = 4


_CODECS: Final = {codec.value: codec for codec in Codec if codec is not Codec.NONE}


class FrameMessage(NamedTuple):  # a frozen dataclass takes three times as long to make
    """One frame on its way to the server. width, height: of raw pixels; 0 for the others, which say it themselves."""

    seq: int
    capture_ns: int  # the client's own clock; echoed by the answer
    codec: Codec
    data: bytes
    width: int = 0
    height: int = 0
    stream_id: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ActionMessage:
    """The answer to frame `seq`: `action_horizon` ticks, the first of them to hold now."""

    seq: int
    capture_ns: int
    age_us: int  # received -> answered, on the server's clock
    num_dropped: int  # frames of this stream that were never answered since the last answer
    is_late: bool  # answered after the session's deadline
    states: tuple[InputState, ...]  # (horizon,), all with as many commands
    tokens: NDArray[np.int64]  # (horizon, K)
    confidence: NDArray[np.float32]  # (horizon, F): the probability of each factor as chosen
    stream_id: int = 0
    plan: CommandPlan | None = None  # where the session drives a robot


# ---------------------------------------------------------------------- frames


def encode_frame(message: FrameMessage) -> bytes:
    """Bytes of a frame message. Raises ProtocolError on a field that does not fit."""
    header = _pack_header(Kind.FRAME, message, codec=message.codec)
    try:
        return b"".join((header, _SIZE.pack(message.width, message.height), message.data))
    except struct.error as error:
        raise ProtocolError("frame size does not fit", got=(message.width, message.height)) from error


def decode_frame(data: bytes) -> FrameMessage:
    """Inverse of `encode_frame`; the pixels are not decoded. Raises ProtocolError on anything else."""
    codec, flags, stream_id, seq, capture_ns = _unpack_header(data, Kind.FRAME)
    if len(data) < _HEADER.size + _SIZE.size:
        raise ProtocolError("frame is cut short", got=f"{len(data)} bytes", expected=_HEADER.size + _SIZE.size)
    if flags:
        raise ProtocolError("frame has unknown flags", got=flags, expected=0)
    width, height = _SIZE.unpack_from(data, _HEADER.size)
    body = data[_HEADER.size + _SIZE.size :]
    return check_frame_message(FrameMessage(seq, capture_ns, _codec(codec), body, width, height, stream_id))


def check_frame_message(message: FrameMessage) -> FrameMessage:
    """Return `message` if its size, codec, and bytes agree. Raises ProtocolError otherwise."""
    width, height, num_bytes = message.width, message.height, len(message.data)
    if message.codec == Codec.RAW:
        if not width or not height or num_bytes != width * height * 3:
            expected = f"{width} x {height} x 3 = {width * height * 3} bytes, both sides above 0"
            raise ProtocolError("raw frame of the wrong size", got=f"{num_bytes} bytes", expected=expected)
    elif width or height:
        do = "JPEG, PNG, and H.264 say their size themselves: send width and height 0."
        raise ProtocolError("coded frame with a size", got=(width, height), expected=(0, 0), do=do)
    return message


# ---------------------------------------------------------------------- actions


def encode_action(message: ActionMessage) -> bytes:
    """Bytes of an action message. Raises ProtocolError on a field that does not fit."""
    horizon, num_tokens = message.tokens.shape
    num_factors = message.confidence.shape[1]
    flags, commands, states = _LATE * message.is_late | _PLANNED * (message.plan is not None), b"", message.states
    if states[0].commands:  # else pack_state refuses those of a later tick
        flags, commands = flags | _COMMANDED, _pack_commands(states)
        states = tuple(replace(state, commands=()) for state in states)
    header = _pack_header(Kind.ACTION, message, flags=flags)
    age_us, num_dropped = min(message.age_us, _MAX_U32), min(message.num_dropped, _MAX_U32)
    try:
        answer = _ANSWER.pack(age_us, num_dropped, num_tokens, horizon, num_factors)
        records = [pack_state(state) for state in states]
    except struct.error as error:
        raise ProtocolError("action does not fit the binary form", got=message.states, do=str(error)) from error
    tokens, confidence = message.tokens.astype("<i2").tobytes(), message.confidence.astype("<f4").tobytes()
    plan = b"" if message.plan is None else pack_plan(message.plan)
    return b"".join((header, answer, *records, tokens, confidence, commands, plan))


def decode_action(data: bytes) -> ActionMessage:
    """Inverse of `encode_action`. Raises ProtocolError on anything else."""
    codec, flags, stream_id, seq, capture_ns = _unpack_header(data, Kind.ACTION)
    if codec or flags & ~(_LATE | _PLANNED | _COMMANDED):
        raise ProtocolError("action has an unknown codec or flags", got=(codec, flags), expected="0 and 0 to 7")
    first = _HEADER.size + _ANSWER.size
    if len(data) < first:
        raise ProtocolError("action is cut short", got=f"{len(data)} bytes", expected=f"at least {first}")
    age_us, num_dropped, num_tokens, horizon, num_factors = _ANSWER.unpack_from(data, _HEADER.size)
    after_states = first + horizon * RECORD_SIZE
    after_tokens = after_states + horizon * num_tokens * 2
    after_confidence = after_tokens + horizon * num_factors * 4
    count = data[after_confidence] if flags & _COMMANDED and len(data) > after_confidence else 0
    end = after_confidence + (1 + horizon * count * 4 if flags & _COMMANDED else 0)
    if not horizon or not (len(data) == end or (flags & _PLANNED and len(data) > end)):
        expected = f"{horizon} ticks of {num_tokens} tokens and {num_factors} factors"
        raise ProtocolError("action of the wrong size", got=f"{len(data)} bytes", expected=expected)
    tokens = np.frombuffer(data, "<i2", horizon * num_tokens, after_states).reshape(horizon, num_tokens)
    confidence = np.frombuffer(data, "<f4", horizon * num_factors, after_tokens).reshape(horizon, num_factors)
    states = _unpack_states(data[first:after_states])
    if flags & _COMMANDED:
        states = _unpack_commands(data[after_confidence + 1 : end], states)
    return ActionMessage(
        seq=seq,
        capture_ns=capture_ns,
        age_us=age_us,
        num_dropped=num_dropped,
        is_late=bool(flags & _LATE),
        states=states,
        tokens=tokens.astype(np.int64),
        confidence=confidence.astype(np.float32),
        stream_id=stream_id,
        plan=_unpack_plan(data[end:]) if flags & _PLANNED else None,
    )


def _pack_commands(states: Sequence[InputState]) -> bytes:
    """Commands of direct actuators: count u8 · f32 (ticks, count)."""
    counts = {len(state.commands) for state in states}
    if len(counts) > 1:
        raise ProtocolError("ticks with other numbers of commands", got=sorted(counts), expected="one body's")
    return bytes(counts) + np.array([state.commands for state in states], "<f4").tobytes()


def _unpack_commands(data: bytes, states: Sequence[InputState]) -> tuple[InputState, ...]:
    if not data:
        raise ProtocolError("action of no commands that says it has some")
    rows = np.frombuffer(data, "<f4").reshape(len(states), -1).tolist()
    try:
        return tuple(replace(state, commands=tuple(row)) for state, row in zip(states, rows, strict=True))
    except ActionError as error:
        raise ProtocolError("action holds impossible commands", do=str(error)) from error


def _unpack_plan(data: bytes) -> CommandPlan:
    try:
        return unpack_plan(data)
    except ServeError as error:
        raise ProtocolError("action holds an impossible plan", do=str(error)) from error


def _unpack_states(data: bytes) -> tuple[InputState, ...]:
    try:
        return tuple(unpack_state(data[at : at + RECORD_SIZE]) for at in range(0, len(data), RECORD_SIZE))
    except ServeError as error:
        raise ProtocolError("action holds an impossible input state", do=str(error)) from error


# ---------------------------------------------------------------------- header


def _pack_header(kind: Kind, message: FrameMessage | ActionMessage, codec: int = 0, flags: int = 0) -> bytes:
    fields: Sequence[int] = (kind, VERSION, codec, flags, message.stream_id, message.seq, message.capture_ns)
    try:
        return _HEADER.pack(*fields)
    except struct.error as error:
        raise ProtocolError("message does not fit the header", got=fields, do=str(error)) from error


def _unpack_header(data: bytes, expected: Kind) -> tuple[int, int, int, int, int]:
    if len(data) < _HEADER.size:
        raise ProtocolError("message is shorter than its header", got=f"{len(data)} bytes", expected=_HEADER.size)
    kind, version, codec, flags, stream_id, seq, capture_ns = _HEADER.unpack_from(data)
    if version != VERSION:
        raise ProtocolError("message of another version", got=version, expected=VERSION, do="Update the older side.")
    if kind != expected:
        raise ProtocolError("another kind of message", got=_kind(kind).name, expected=expected.name)
    if seq > MAX_SEQ:
        raise ProtocolError("seq out of range", got=seq, expected=f"0 to {MAX_SEQ}")
    return codec, flags, stream_id, seq, capture_ns


def _kind(number: int) -> Kind:
    try:
        return Kind(number)
    except ValueError:
        raise ProtocolError("message of an unknown kind", got=number, expected=[kind.value for kind in Kind]) from None


def _codec(number: int) -> Codec:
    if (codec := _CODECS.get(number)) is None:
        raise ProtocolError("frame of an unknown codec", got=number, expected="1 raw, 2 JPEG, 3 PNG, 4 H.264")
    return codec
