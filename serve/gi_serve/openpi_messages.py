"""openpi's messages: msgpack maps whose arrays are maps of bytes, dtype, and shape; no network here.

    observation (a map, nested or not, with pictures in it) -> the frame      an answer's states, or plan -> `actions`

An observation is a stranger's bytes, read on the event loop: every length is bounded before anything is allocated,
their sum while it is read, and an array is looked at only if its bytes, shape, and a plain number type agree. Rejected:
msgpack-numpy, which unpickles.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from gi_model.actions import InputColumns
from gi_model.actions.columns import CONTROLS
from gi_model.frames import Frame
from gi_serve.protocol import ActionMessage, ProtocolError

ACTION_NAMES: Final = (
    *CONTROLS,
    *("motion.x", "motion.y", "wheel.x", "wheel.y"),
    *(f"gamepad.{stick}.{axis}" for stick in ("left_stick", "right_stick") for axis in "xy"),
    *("gamepad.left_trigger", "gamepad.right_trigger"),
)
_LIMITS: Final = {"max_array_len": 1024, "max_map_len": 256, "max_str_len": 65536, "max_ext_len": 0}
_NUMBERS: Final = re.compile(r"[<>|=]?[buif][0-9]{1,2}")  # dtypes: numpy reads other texts as a language of its own
_MAX_DIMENSIONS: Final = 4
_MAX_DEPTH: Final = 16  # maps in maps
_MAX_VALUES: Final = 4096  # in all maps and lists of a message, they themselves included


def read_observation(data: bytes) -> dict[str, Any]:
    """An observation. Raises ProtocolError on anything else."""
    try:
        count = _Count()
        hooks = {"object_hook": count.see_map, "list_hook": count.see_list}
        found = msgpack.unpackb(data, strict_map_key=False, **hooks, **_LIMITS)
    except Exception as error:  # no list of what a stranger's bytes can make msgpack and numpy raise is complete
        raise ProtocolError(
            "not an observation", got=str(error)[:200], expected="a msgpack map, as openpi sends it"
        ) from None
    if not isinstance(found, dict):
        raise ProtocolError("not an observation", got=type(found).__name__, expected="a msgpack map")
    return found


def find_frame(observation: Mapping[str, Any]) -> Frame:
    """The first picture of an observation, in the order in which it was packed: uint8 (H, W, 3) or (3, H, W).

    Raises ProtocolError if there is none, or if maps are nested too deep to look for it.
    """
    for _name, value in _walk(observation):
        if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3:
            if value.shape[2] == 3:
                return value
            if value.shape[0] == 3:
                return np.ascontiguousarray(np.moveaxis(value, 0, -1))
    expected = "an array uint8 (height, width, 3) or (3, height, width)"
    raise ProtocolError(
        "no picture in the observation", got=[name for name, _ in _walk(observation)][:16], expected=expected
    )


def action_values(message: ActionMessage) -> NDArray[np.float32]:
    """(horizon, len(ACTION_NAMES)) float32; of a robot: its commands inside the envelope, (steps, actuators)."""
    if message.plan is not None:
        return np.ascontiguousarray(message.plan.commands, np.float32)
    columns = InputColumns.of(message.states)
    return np.concatenate([columns.held, columns.motion, columns.wheel, columns.axes], axis=1).astype(np.float32)


def pack_map(fields: Mapping[str, Any]) -> bytes:
    """A message to the client; numpy arrays may be in it."""
    packed: bytes = msgpack.packb(fields, default=_from_array)
    return packed


def _walk(found: Any, *names: str) -> Iterator[tuple[str, Any]]:
    """Every value and its name, `outer/inner`. Raises ProtocolError."""
    if not isinstance(found, dict):
        yield "/".join(names), found
    elif len(names) > _MAX_DEPTH:
        expected = f"at most {_MAX_DEPTH} maps in a map"
        raise ProtocolError("not an observation", got="a map deeper than that", expected=expected)
    else:
        for key, value in found.items():
            yield from _walk(value, *names, str(key)[:64])


class _Count:
    """Of one message's values: msgpack bounds each map and list, and a small message can hold very many of them."""

    def __init__(self) -> None:
        self._num_values = 0

    def see_map(self, found: dict[Any, Any]) -> Any:
        """Count it, and read the array that it may be."""
        self._add(len(found))
        return _to_array(found)

    def see_list(self, found: list[Any]) -> list[Any]:
        """Count it."""
        self._add(len(found))
        return found

    def _add(self, num_values: int) -> None:
        self._num_values += 1 + num_values
        if self._num_values > _MAX_VALUES:
            raise ValueError(f"more than {_MAX_VALUES} values")


def _to_array(found: dict[Any, Any]) -> Any:
    if b"__npgeneric__" in found:
        return found.get(b"data")
    if b"__ndarray__" not in found:
        return found
    data, dtype, shape = found.get(b"data"), found.get(b"dtype"), found.get(b"shape")
    if not isinstance(data, bytes) or not isinstance(dtype, str) or not isinstance(shape, list):
        raise ValueError("an array without bytes, dtype, and shape")
    if len(shape) > _MAX_DIMENSIONS or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"an array of shape {shape[:8]}")
    if _NUMBERS.fullmatch(dtype) is None:
        raise ValueError(f"an array of {dtype[:40]!r}")
    kind = np.dtype(dtype)
    if math.prod(shape) * kind.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes for an array {kind} {shape}")
    return np.frombuffer(data, kind).reshape(shape)


def _from_array(value: object) -> dict[bytes, Any]:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"cannot pack {type(value).__name__}")
    return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
