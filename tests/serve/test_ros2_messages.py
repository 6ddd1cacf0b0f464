"""ROS messages in rosbridge's JSON: what is read is what was meant, and nothing else is taken for it."""

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gi_model.embodiment import Embodiment
from gi_model.errors import ConfigError, ServeError
from gi_serve.protocol import Codec
from gi_serve.ros2_messages import JoyButtons, TwistMap, read_image, read_joy
from tests.serve.pictures import jpeg_of, paint, png_of
from tests.serve.robot_bodies import rover

IDLE = {"axes": [0.0, 0.0, 1.0, 0.0, 0.0, 1.0], "buttons": [0] * 8}


def named(*names: str) -> Embodiment:
    pairs = zip(rover().actuators, names, strict=True)
    return rover(actuators=tuple(replace(actuator, name=name) for actuator, name in pairs))


def test_commands_go_to_the_fields_they_are_named_for() -> None:
    message = TwistMap(named("linear.x", "angular.z")).message(np.array([0.5, -1.0], np.float32))
    assert json.loads(json.dumps(message)) == {
        "linear": {"x": 0.5, "y": 0.0, "z": 0.0},
        "angular": {"x": 0.0, "y": 0.0, "z": -1.0},
    }
    with pytest.raises(ConfigError, match=r"no Twist has; got drive; expected linear\.x"):
        TwistMap(named("drive", "angular.z"))


@pytest.mark.parametrize("as_list", [False, True])
def test_images_come_as_base64_or_numbers(as_list: bool) -> None:
    for image, codec in ((jpeg_of(paint(1)), Codec.JPEG), (png_of(paint(1)), Codec.PNG)):
        data = list(image) if as_list else base64.b64encode(image).decode()
        assert read_image({"format": "whatever", "data": data}) == (image, codec)


@pytest.mark.parametrize("data", [None, "", "%%%", 7, [300], ["a"], "AAAA", base64.b64encode(b"RIFF").decode()])
def test_other_images_are_refused(data: Any) -> None:
    with pytest.raises(ServeError, match="image"):
        read_image({"format": "jpeg", "data": data})
    with pytest.raises(ServeError, match="image"):
        read_image({})


def test_sticks_are_positive_to_the_right_and_down() -> None:
    pad = read_joy({**IDLE, "axes": [1.0, 0.5, -1.0, -0.25, -1.0, 0.0]}, JoyButtons()).state.gamepad
    assert pad is not None
    assert (pad.left_stick, pad.right_stick, pad.triggers) == ((-1.0, -0.5), (0.25, 1.0), (1.0, 0.5))
    idle = read_joy(IDLE, JoyButtons())
    assert idle.state.is_null
    assert (idle.takes_over, idle.stops, idle.releases) == (False, False, False)


def test_buttons_are_those_that_were_named() -> None:
    reading = read_joy({**IDLE, "buttons": [0, 0, 1, 1]}, JoyButtons(takeover=2, stop=3, release=0))
    assert (reading.takes_over, reading.stops, reading.releases) == (True, True, False)


@pytest.mark.parametrize(
    "message",
    [{}, {"axes": [0.0] * 6}, {**IDLE, "axes": [0.0] * 2}, {**IDLE, "axes": ["left"] * 6}, {**IDLE, "buttons": 3}],
)
def test_other_joysticks_are_refused(message: Any) -> None:
    with pytest.raises(ServeError, match=r"[Jj]oy"):
        read_joy(message, JoyButtons())
