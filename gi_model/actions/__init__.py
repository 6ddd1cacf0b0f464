"""Actions: device inputs, their bindings, and their tokens. numpy only, so that a player's machine stays small."""

from gi_model.actions.bindings import AxisBinding, Bindings
from gi_model.actions.columns import InputColumns
from gi_model.actions.controls import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS
from gi_model.actions.inputs import NEUTRAL, Gamepad, InputState, merge
from gi_model.actions.motion import MOTION, MotionCodec
from gi_model.actions.space import ActionSpace

__all__ = [
    "GAMEPAD_BUTTONS",
    "KEYS",
    "MOTION",
    "MOUSE_BUTTONS",
    "NEUTRAL",
    "ActionSpace",
    "AxisBinding",
    "Bindings",
    "Gamepad",
    "InputColumns",
    "InputState",
    "MotionCodec",
    "merge",
]
