"""The ROS messages of the bridge, as rosbridge writes them in JSON: images and a joystick in, velocities out.

`uint8[]` comes as base64 (what rosbridge does) or as a list of numbers (what its messages say). Axes are those of REP
103: x ahead, y left, z up; actuators are named for the fields of a Twist, so no second map is needed.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import Gamepad, InputState
from gi_model.embodiment import Embodiment
from gi_model.errors import ConfigError, ServeError
from gi_serve.protocol import Codec

IMAGE_TYPE: Final = "sensor_msgs/msg/CompressedImage"
JOY_TYPE: Final = "sensor_msgs/msg/Joy"
TWIST_TYPE: Final = "geometry_msgs/msg/Twist"
FIELDS: Final = tuple(f"{part}.{axis}" for part in ("linear", "angular") for axis in "xyz")
_MAGIC: Final = {b"\xff\xd8\xff": Codec.JPEG, b"\x89PNG": Codec.PNG}


class TwistMap:
    """Commands of a body -> Twist. Raises ConfigError for an actuator that is not named for a field of it."""

    def __init__(self, body: Embodiment) -> None:
        names = [actuator.name for actuator in body.actuators]
        if strays := [name for name in names if name not in FIELDS]:
            do = "Name the actuators of the embodiment for the Twist that your base takes."
            raise ConfigError("an actuator that no Twist has", got=strays[0], expected=" | ".join(FIELDS), do=do)
        self._names = names

    def message(self, command: NDArray[np.float32]) -> dict[str, dict[str, float]]:
        """The Twist of `command`, float32 (A,); what the body does not drive is 0."""
        values = dict(zip(self._names, command.tolist(), strict=True))
        return {part: {axis: values.get(f"{part}.{axis}", 0.0) for axis in "xyz"} for part in ("linear", "angular")}


def read_image(message: Mapping[str, Any]) -> tuple[bytes, Codec]:
    """The image file of a CompressedImage, JPEG or PNG by its first bytes. Raises ServeError."""
    data = message.get("data")
    try:
        image = base64.b64decode(data, validate=True) if isinstance(data, str) else bytes(data or ())
    except (binascii.Error, TypeError, ValueError) as error:
        raise ServeError("an image without data", got=repr(data)[:40], do=str(error)) from error
    for magic, codec in _MAGIC.items():
        if image.startswith(magic):
            return image, codec
    got = f"{image[:4].hex() or 'nothing'}, format {message.get('format')!r}"
    raise ServeError("an image that is neither JPEG nor PNG", got=got, do="Publish with the transport `compressed`.")


@dataclass(frozen=True, slots=True)
class JoyButtons:
    """Numbers of buttons: takeover while held, stop, release; those of an Xbox pad unless you say otherwise."""

    takeover: int = 4  # LB
    stop: int = 1  # B
    release: int = 7  # start


@dataclass(frozen=True, slots=True)
class JoyReading:
    """One Joy message: the sticks as a gamepad, and which of the three buttons are down."""

    state: InputState
    takes_over: bool
    stops: bool
    releases: bool


def read_joy(message: Mapping[str, Any], buttons: JoyButtons) -> JoyReading:
    """A Joy message of a pad with six axes: left stick, left trigger, right stick, right trigger. Raises ServeError.

    ROS has sticks positive to the left and up, triggers at 1 until they are pulled; we have right and down, and 0.
    """
    try:
        axes = [min(1.0, max(-1.0, float(axis))) for axis in message["axes"]]
        down = {number for number, is_down in enumerate(message["buttons"]) if is_down}
    except (KeyError, TypeError, ValueError) as error:
        raise ServeError("not a Joy message", got=repr(message)[:80], do=str(error)) from error
    if len(axes) < 6 or not np.isfinite(axes).all():
        raise ServeError("a joystick with other axes", got=message["axes"], expected="at least six numbers")
    pad = Gamepad(left_stick=_stick(axes[0:2]), right_stick=_stick(axes[3:5]), triggers=_triggers(axes[2], axes[5]))
    return JoyReading(InputState(gamepad=pad), buttons.takeover in down, buttons.stop in down, buttons.release in down)


def _stick(axes: Sequence[float]) -> tuple[float, float]:
    return -axes[0], -axes[1]


def _triggers(left: float, right: float) -> tuple[float, float]:
    return (1.0 - left) / 2, (1.0 - right) / 2
