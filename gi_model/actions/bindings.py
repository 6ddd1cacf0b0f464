"""`Bindings`: what each control means in one game ("move_forward" is KeyW, "turn" is 0.25 degrees a mouse count).

A policy speaks in device controls, a game in its own actions; bindings translate both ways and say which controls a
game uses at all. Controls outside the bindings never enter a corpus: raw keystrokes can spell passwords.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

from gi_model.actions.controls import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS
from gi_model.actions.inputs import Gamepad, InputState
from gi_model.errors import ConfigError

Pair = tuple[float, float]
MouseAxis = Literal["motion.x", "motion.y", "wheel.x", "wheel.y"]
PadAxis = Literal["left_stick.x", "left_stick.y", "right_stick.x", "right_stick.y", "triggers.x", "triggers.y"]
Axis = MouseAxis | PadAxis
MOUSE_AXES: Final[tuple[MouseAxis, ...]] = ("motion.x", "motion.y", "wheel.x", "wheel.y")
PAD_AXES: Final[tuple[PadAxis, ...]] = (  # of triggers, x is the left one
    *("left_stick.x", "left_stick.y", "right_stick.x", "right_stick.y", "triggers.x", "triggers.y"),
)
_CONTROLS: Final = frozenset((*KEYS, *MOUSE_BUTTONS, *GAMEPAD_BUTTONS))


@dataclass(frozen=True, slots=True)
class AxisBinding:
    """An analogue action: `scale` game units for each count of a mouse axis, or for a pad axis at its end."""

    axis: Axis
    scale: float
    unit: str = "deg"

    def __post_init__(self) -> None:
        if self.axis not in (*MOUSE_AXES, *PAD_AXES):
            raise ConfigError("binding to an unknown axis", got=self.axis, expected=(*MOUSE_AXES, *PAD_AXES))
        if isinstance(self.scale, bool) or not isinstance(self.scale, (int, float)):
            raise ConfigError("axis binding: scale", got=repr(self.scale)[:200], expected="a number")
        if not self.scale:
            raise ConfigError("axis binding cannot have scale 0", got=self.axis, do="Leave the axis out instead.")
        if not abs(self.scale) <= sys.float_info.max:  # so written, NaN and whole numbers past floats fail as well
            raise ConfigError("axis binding: scale", got=repr(self.scale)[:200], expected="a finite number")
        if not isinstance(self.unit, str):
            raise ConfigError("axis binding: unit", got=repr(self.unit)[:200], expected="text")


@dataclass(frozen=True, slots=True)
class Bindings:
    """Semantic action -> control. digital: key, mouse or pad button; analogue: an axis; cursor: it points at things."""

    digital: Mapping[str, str] = field(default_factory=dict)
    analogue: Mapping[str, AxisBinding] = field(default_factory=dict)
    cursor: bool = False

    def __post_init__(self) -> None:
        controls = list(self.digital.values())
        if unknown := [control for control in controls if control not in _CONTROLS]:
            expected = "a W3C key code, a mouse button, or a gamepad button"
            raise ConfigError("binding to an unknown control", got=unknown[0], expected=expected)
        axes = [binding.axis for binding in self.analogue.values()]
        if len(set(controls)) < len(controls) or len(set(axes)) < len(axes):
            raise ConfigError("two actions are bound to one control", got=sorted(controls) + sorted(axes))

    def actions(self, state: InputState) -> frozenset[str]:
        """Digital actions held in `state`."""
        return frozenset(action for action, control in self.digital.items() if control in state.held)

    def amount(self, state: InputState, action: str) -> float:
        """Game units that `state` moves the analogue `action` by."""
        binding = self.analogue[action]
        return read_axis(state, binding.axis) * binding.scale

    def press(self, actions: frozenset[str] = frozenset(), amounts: Mapping[str, float] | None = None) -> InputState:
        """Inverse of `actions` and `amount`: the input state of these actions; mouse amounts become whole counts."""
        controls = frozenset(self.digital[action] for action in actions)
        values: dict[str, float] = {}
        for action, amount in (amounts or {}).items():
            binding = self.analogue[action]
            values[binding.axis] = amount / binding.scale
        return press_controls(controls, values)

    def restrict(self, state: InputState) -> InputState:
        """`state` without what this game does not use."""
        bound = frozenset(self.digital.values())
        axes = {binding.axis for binding in self.analogue.values()}
        return InputState(
            keys=state.keys & bound,
            buttons=state.buttons & bound,
            motion=(state.motion[0] if "motion.x" in axes else 0, state.motion[1] if "motion.y" in axes else 0),
            wheel=(state.wheel[0] if "wheel.x" in axes else 0, state.wheel[1] if "wheel.y" in axes else 0),
            cursor=state.cursor if self.cursor else None,
            gamepad=_restrict_pad(state.gamepad, bound, axes),
            commands=state.commands,  # no control: nobody types with them
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form, stored with every clip."""
        analogue = {name: {"axis": b.axis, "scale": b.scale, "unit": b.unit} for name, b in self.analogue.items()}
        out: dict[str, Any] = {"digital": dict(self.digital), "analogue": analogue}
        return out | ({"cursor": True} if self.cursor else {})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises ConfigError on what is no bindings."""
        try:
            if unknown := set(data) - {"digital", "analogue", "cursor"}:
                raise TypeError(f"unknown parts: {sorted(unknown)}")
            analogue = {name: AxisBinding(**binding) for name, binding in data.get("analogue", {}).items()}
            return cls(dict(data.get("digital", {})), analogue, bool(data.get("cursor", False)))
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError("bindings cannot be read", got=repr(data)[:200], do=str(error)) from error


def press_controls(controls: frozenset[str], values: Mapping[str, float]) -> InputState:
    """The input state of held controls and raw values of axes; whole counts for mouse and wheel."""
    counts = {axis: round(values.get(axis, 0.0)) for axis in MOUSE_AXES}
    return InputState(
        keys=controls & frozenset(KEYS),
        buttons=controls & frozenset(MOUSE_BUTTONS),
        motion=(counts["motion.x"], counts["motion.y"]),
        wheel=(counts["wheel.x"], counts["wheel.y"]),
        gamepad=_pad_of(controls & frozenset(GAMEPAD_BUTTONS), values),
    )


def read_axis(state: InputState, axis: Axis) -> float:
    """The raw value of an axis: counts or notches of a tick, or a pad axis; 0 without a gamepad."""
    device, _, direction = axis.partition(".")
    owner = state if axis in MOUSE_AXES else state.gamepad or Gamepad()
    pair: Pair = getattr(owner, device)
    return pair["xy".index(direction)]


def _pad_of(buttons: frozenset[str], values: Mapping[str, float]) -> Gamepad | None:
    """The gamepad with these buttons and axes; None if they are not of a gamepad."""
    if not buttons and not any(axis in values for axis in PAD_AXES):
        return None
    axes: dict[str, Pair] = {
        device: (_clip(values.get(f"{device}.x", 0.0), low), _clip(values.get(f"{device}.y", 0.0), low))
        for device, low in (("left_stick", -1.0), ("right_stick", -1.0), ("triggers", 0.0))
    }
    return Gamepad(buttons, **axes)


def _restrict_pad(pad: Gamepad | None, bound: frozenset[str], axes: set[Axis]) -> Gamepad | None:
    if pad is None or not (bound & frozenset(GAMEPAD_BUTTONS) or axes & set(PAD_AXES)):
        return None
    kept: dict[str, Pair] = {}
    for device in ("left_stick", "right_stick", "triggers"):
        x, y = getattr(pad, device)
        kept[device] = (x if f"{device}.x" in axes else 0.0, y if f"{device}.y" in axes else 0.0)
    return Gamepad(pad.buttons & bound, **kept)


def _clip(value: float, low: float) -> float:
    return max(low, min(1.0, value))
