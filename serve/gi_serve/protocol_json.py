"""The JSON form (`gi.v1.json`) of the messages in `protocol.py`, for browsers, scripts, and REST answers.

The same fields under the same names; pixels travel in base64, an input state as `InputState.to_dict` (an idle tick is
`{}`).
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from gi_model.actions import InputState
from gi_model.errors import ActionError
from gi_serve.command_plan import plan_from_dict, plan_to_dict
from gi_serve.protocol import (
    MAX_SEQ,
    MAX_STREAM_ID,
    ActionMessage,
    Codec,
    FrameMessage,
    ProtocolError,
    check_frame_message,
)

MAX_FRAME_TEXT = 4 * 1024 * 1024  # characters: an image of 3 MiB
MAX_EVENT_TEXT = 64 * 1024  # of every other event
_MOST_SIGNS_OF_A_FRAME = 16  # commas and brackets; base64 has none
MAX_MOTION = 2**15 - 1  # what the binary form can say
_CODECS = {"raw": Codec.RAW, "jpeg": Codec.JPEG, "png": Codec.PNG, "h264": Codec.H264}
_NAMES = {codec: name for name, codec in _CODECS.items()}
_FRAME_FIELDS = frozenset({"type", "stream_id", "seq", "capture_ns", "codec", "width", "height", "data"})


def parse_event(text: str) -> dict[str, Any]:
    """The JSON object of a text message, with a string `type`. Raises ProtocolError on anything else.

    It is parsed while everybody waits, so what is long must be a frame: one string, in which JSON cannot nest.
    """
    if len(text) > MAX_FRAME_TEXT:
        expected = f"at most {MAX_FRAME_TEXT}"
        raise ProtocolError("message too long", got=len(text), expected=expected, do="Send large frames as gi.v1.bin.")
    if len(text) > MAX_EVENT_TEXT and text.count(",") + text.count("[") + text.count("{") > _MOST_SIGNS_OF_A_FRAME:
        raise ProtocolError("message too long", got=len(text), expected=f"at most {MAX_EVENT_TEXT}, but for frames")
    try:
        event = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not JSON", got=text[:80], do=str(error)) from error
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise ProtocolError("not an event", got=text[:80], expected='a JSON object with a "type"')
    return event


def frame_to_event(message: FrameMessage) -> dict[str, Any]:
    """The `frame` event of a frame message."""
    return {
        "type": "frame",
        "stream_id": message.stream_id,
        "seq": message.seq,
        "capture_ns": message.capture_ns,
        "codec": _NAMES[message.codec],
        "width": message.width,
        "height": message.height,
        "data": base64.b64encode(message.data).decode("ascii"),
    }


def frame_from_event(event: Mapping[str, Any]) -> FrameMessage:
    """Inverse of `frame_to_event`. Raises ProtocolError on missing, unknown, or wrong fields."""
    if unknown := event.keys() - _FRAME_FIELDS:
        raise ProtocolError("frame has unknown fields", got=sorted(unknown)[0], expected=sorted(_FRAME_FIELDS))
    codec = event.get("codec")
    if not isinstance(codec, str) or codec not in _CODECS:
        raise ProtocolError("frame of an unknown codec", got=codec, expected=sorted(_CODECS))
    message = FrameMessage(
        seq=_whole(event, "seq", 0, MAX_SEQ),
        capture_ns=_whole(event, "capture_ns", -MAX_SEQ - 1, MAX_SEQ, default=0),
        codec=_CODECS[codec],
        data=_bytes(event.get("data")),
        width=_whole(event, "width", 0, 2**16 - 1, default=0),
        height=_whole(event, "height", 0, 2**16 - 1, default=0),
        stream_id=_whole(event, "stream_id", 0, MAX_STREAM_ID, default=0),
    )
    return check_frame_message(message)


def action_to_event(message: ActionMessage) -> dict[str, Any]:
    """The `action.chunk` event of an action message."""
    plan = {} if message.plan is None else {"plan": plan_to_dict(message.plan)}
    return {
        "type": "action.chunk",
        "stream_id": message.stream_id,
        "seq": message.seq,
        "capture_ns": message.capture_ns,
        "age_us": message.age_us,
        "num_dropped": message.num_dropped,
        "is_late": message.is_late,
        "actions": [state.to_dict() for state in message.states],
        "tokens": message.tokens.tolist(),
        "confidence": np.round(message.confidence.astype(np.float64), 6).tolist(),
        **plan,
    }


def action_to_text(message: ActionMessage) -> str:
    """The text of `action_to_event`."""
    return json.dumps(action_to_event(message), separators=(",", ":"))


def action_from_event(event: Mapping[str, Any]) -> ActionMessage:
    """Inverse of `action_to_event`; confidences are rounded to six places. Raises ProtocolError on wrong fields."""
    try:
        tokens, confidence = np.array(event["tokens"], np.int64), np.array(event["confidence"], np.float32)
        states = tuple(InputState.from_dict(state) for state in event["actions"])
        plan = plan_from_dict(event["plan"]) if "plan" in event else None
    except (ActionError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ProtocolError("not an action", do=str(error)) from error
    if tokens.ndim != 2 or confidence.ndim != 2 or not len(states) == len(tokens) == len(confidence):
        raise ProtocolError("action of uneven parts", got=(len(states), tokens.shape, confidence.shape))
    return ActionMessage(
        seq=_whole(event, "seq", 0, MAX_SEQ),
        capture_ns=_whole(event, "capture_ns", -MAX_SEQ - 1, MAX_SEQ),
        age_us=_whole(event, "age_us", 0, MAX_SEQ),
        num_dropped=_whole(event, "num_dropped", 0, MAX_SEQ),
        is_late=event.get("is_late") is True,
        states=states,
        tokens=tokens,
        confidence=confidence,
        stream_id=_whole(event, "stream_id", 0, MAX_STREAM_ID),
        plan=plan,
    )


def read_state(data: Mapping[str, Any]) -> InputState:
    """The input state that a client says was held. Raises ProtocolError on anything else."""
    try:
        state = InputState.from_dict(data)
    except ActionError as error:
        raise ProtocolError("not an input state", got=repr(data)[:200], do=str(error)) from error
    if any(abs(moved) > MAX_MOTION for moved in (*state.motion, *state.wheel)):
        raise ProtocolError("motion out of range", got=repr(data)[:200], expected=f"up to {MAX_MOTION}")
    return state


def _whole(event: Mapping[str, Any], name: str, low: int, high: int, *, default: int | None = None) -> int:
    number = event.get(name, default)
    if type(number) is not int or not low <= number <= high:  # bool is an int, and not one of ours
        raise ProtocolError(f"{name} is wrong", got=repr(number)[:80], expected=f"a whole number, {low} to {high}")
    return number


def _bytes(data: object) -> bytes:
    if not isinstance(data, str):
        raise ProtocolError("frame without data", got=type(data).__name__, expected="base64")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("frame data is not base64", got=data[:40], do=str(error)) from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
