"""Bindings for play of which only the device events are known: the controls that games use, named by what most mean.

Letters that few games bind stay out, so that most typing cannot be spelled with what is kept; a game's own file of
bindings (`--bindings`) is always better.
"""

from typing import Final

from gi_model.actions import GAMEPAD_BUTTONS, AxisBinding, Bindings
from gi_model.actions.bindings import PAD_AXES

_KEYBOARD: Final = {
    "move_forward": "KeyW",
    "move_left": "KeyA",
    "move_back": "KeyS",
    "move_right": "KeyD",
    "jump": "Space",
    "sprint": "ShiftLeft",
    "crouch": "ControlLeft",
    "use": "KeyE",
    "reload": "KeyR",
    "ability": "KeyQ",
    "interact": "KeyF",
    "scoreboard": "Tab",
    "menu": "Escape",
    "arrow_up": "ArrowUp",
    "arrow_down": "ArrowDown",
    "arrow_left": "ArrowLeft",
    "arrow_right": "ArrowRight",
    **{f"slot_{digit}": f"Digit{digit}" for digit in range(10)},
}
_MOUSE: Final = {
    "attack": "MouseLeft",
    "aim": "MouseRight",
    "middle": "MouseMiddle",
    "back": "MouseBack",
    "forward": "MouseForward",
}
_MOUSE_AXES: Final = {
    "turn": AxisBinding("motion.x", 1.0, "count"),
    "look": AxisBinding("motion.y", 1.0, "count"),
    "scroll": AxisBinding("wheel.y", 1.0, "notch"),
    "scroll_sideways": AxisBinding("wheel.x", 1.0, "notch"),
}
_PAD: Final = {name: name for name in GAMEPAD_BUTTONS}
_PAD_AXES: Final[dict[str, AxisBinding]] = {axis: AxisBinding(axis, 1.0, "full") for axis in PAD_AXES}

KEYBOARD_MOUSE: Final = Bindings(_KEYBOARD | _MOUSE, _MOUSE_AXES, cursor=True)
GAMEPAD: Final = Bindings(_PAD, _PAD_AXES)
EVERY_DEVICE: Final = Bindings(_KEYBOARD | _MOUSE | _PAD, _MOUSE_AXES | _PAD_AXES, cursor=True)
