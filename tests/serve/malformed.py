"""Messages that are none, drawn at random: what a broken or hostile client sends on an open WebSocket."""

import json
import random
import struct
from collections.abc import Callable
from typing import Final

from websockets.frames import Frame, Opcode

from gi_serve.protocol import encode_frame
from tests.serve.streaming import raw

_EVENTS: Final = (
    *("session.update", "session.reset", "session.close", "session.resume", "session.fork"),
    *("frame", "action.executed", "clock.sync", "session.destroy", "", "\x00", "error", "action.chunk"),
)
_FIELDS: Final = (
    *("stream_id", "to_stream_id", "seq", "seed", "sampling", "deadline_ms", "fps", "notify", "model", "resume"),
    *("session_id", "token", "answered_seq", "action", "client_ns", "codec", "data", "width", "height", "capture_ns"),
)
_VALUES: Final[tuple[object, ...]] = (
    *(None, True, -1, 0, 1, 2**31, 2**32, 2**63, 2**64, 10**400, 0.5, float("nan"), float("inf"), -0.0, ""),
    *("raw", "jpeg", "h264", "AAAA", "====", "\ud800", "é" * 50, [], {}, [[]], {"keys": ["KeyW"]}, {"keys": 7}),
    *({"commands": [0.5]}, {"commands": "12"}, {"commands": [1e300] * 40}, {"commands": [[]]}),
    *({"motion": [2**40, 0]}, {"temperature": float("nan")}, {"temperature": 1e-320}, "x" * 5000),
)


def text_event(chance: random.Random) -> str:
    """An event of a name we know or not, with fields of any value."""
    event: dict[str, object] = {"type": chance.choice(_EVENTS)}
    for name in chance.sample(_FIELDS, chance.randrange(6)):
        event[name] = chance.choice(_VALUES)
    return json.dumps(event)


def damaged_text(chance: random.Random) -> str:
    text = text_event(chance)
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice(("{", "}", "[", '"', ",", "\\", "\x00", "\u2028", "e9999", "NaN")) + text[at:]


def deep_json(chance: random.Random) -> str:
    depth = chance.choice((10, 1_000, 100_000))
    return chance.choice(("[", '{"a":', '{"type":"frame","data":[')) * depth


def damaged_frame(chance: random.Random) -> bytes:
    """A binary frame, cut, with bytes changed."""
    data = bytearray(encode_frame(raw(chance.randrange(2**63), stream_id=chance.randrange(3))))
    del data[chance.randrange(len(data) + 1) :]
    for _ in range(chance.randrange(6)):
        if data:
            data[chance.randrange(min(len(data), 40))] = chance.randrange(256)
    return bytes(data)


def any_header(chance: random.Random) -> bytes:
    """A header of extremes, and a body that does not belong to it."""
    edge = (0, 1, 2, 3, 4, 5, 127, 255)
    head = struct.pack("<BBBB", chance.choice(edge), chance.choice((1, 1, 1, 0, 255)), *chance.choices(edge, k=2))
    numbers = chance.choice((0, 2**32 - 1)), chance.choice((0, 2**63 - 1, 2**64 - 1)), chance.choice((0, -(2**63)))
    sides = chance.choices((0, 1, 7, 8, 24, 65535), k=2)
    return head + struct.pack("<IQqHH", *numbers, *sides) + chance.randbytes(chance.choice((0, 1, 48, 1152)))


Message = str | bytes
MESSAGES: Final[tuple[Callable[[random.Random], Message], ...]] = (
    *(text_event, text_event, damaged_text, deep_json, damaged_frame, damaged_frame, any_header),
)


# Below the messages: frames of the WebSocket that break its own rules, as bytes for the socket.


def _frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


def fragments(chance: random.Random) -> bytes:
    """A message in pieces, with a ping between them: allowed."""
    text = text_event(chance).encode()
    at = chance.randrange(len(text) + 1)
    first, ping = _frame(Opcode.TEXT, text[:at], fin=False), _frame(Opcode.PING, b"between")
    return first + ping + _frame(Opcode.CONT, text[at:])


def not_utf8(chance: random.Random) -> bytes:
    return _frame(Opcode.TEXT, b'{"type": "' + chance.randbytes(8) + b"\xff\xc0\x80")


def broken_rules(chance: random.Random) -> bytes:
    """A frame that the WebSocket's own rules forbid."""
    return chance.choice(
        (
            _frame(Opcode.CONT, b"of nothing"),
            _frame(Opcode.TEXT, b"one", fin=False) + _frame(Opcode.TEXT, b"two"),
            b"\xc2\x81" + bytes(5),  # compressed, which was not agreed
            b"\x83\x80\x00\x00\x00\x00",  # an opcode that there is none of
            b"\x82\x05plain",  # no mask
            b"\x89\xfe\x00\x80" + bytes(4 + 128),  # a ping of more than 125 bytes
            b"\x82\xff" + b"\xff" * 8 + bytes(4),  # more than 2^63 bytes to come
            b"\x88\x81\x00\x00\x00\x00\x03",  # a close code of one byte
            b"\x88\x82\x00\x00\x00\x00\xff\xff",  # a close code that there is none of
        )
    )


RAW: Final[tuple[Callable[[random.Random], bytes], ...]] = (fragments, not_utf8, broken_rules)
