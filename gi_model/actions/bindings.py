"""`Bindings`: what each control means in one game ("move_forward" is KeyW, "turn" is 0.25 degrees a mouse count).

A policy speaks in device controls, a game in its own actions; bindings translate both ways and say which controls a
game uses at all. Controls outside the bindings never enter a corpus: raw keystrokes can spell passwords.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from gi_model.actions.controls import KEYS, MOUSE_BUTTONS
from gi_model.actions.inputs import InputState
from gi_model.errors import ConfigError

Axis = Literal["motion.x", "motion.y", "wheel.x", "wheel.y"]


@dataclass(frozen=True, slots=True)
class AxisBinding:
    """An analogue action: `scale` game units for each count of `axis`."""

    axis: Axis
    scale: float
    unit: str = "deg"

    def __post_init__(self) -> None:
        if not self.scale:
            raise ConfigError("axis binding cannot have scale 0", got=self.axis, do="Leave the axis out instead.")


@dataclass(frozen=True, slots=True)
class Bindings:
    """Semantic action -> control. digital: key code or mouse button; analogue: an axis with its scale."""

    digital: Mapping[str, str] = field(default_factory=dict)
    analogue: Mapping[str, AxisBinding] = field(default_factory=dict)

    def __post_init__(self) -> None:
        controls = list(self.digital.values())
        if unknown := [control for control in controls if control not in KEYS and control not in MOUSE_BUTTONS]:
            raise ConfigError(
                "binding to an unknown control", got=unknown[0], expected="a W3C key code or a mouse button"
            )
        axes = [binding.axis for binding in self.analogue.values()]
        if len(set(controls)) < len(controls) or len(set(axes)) < len(axes):
            raise ConfigError("two actions are bound to one control", got=sorted(controls) + sorted(axes))

    def actions(self, state: InputState) -> frozenset[str]:
        """Digital actions held in `state`."""
        return frozenset(action for action, control in self.digital.items() if control in state.held)

    def amount(self, state: InputState, action: str) -> float:
        """Game units that `state` moves the analogue `action` by."""
        binding = self.analogue[action]
        return _read_axis(state, binding.axis) * binding.scale

    def press(self, actions: frozenset[str] = frozenset(), amounts: Mapping[str, float] | None = None) -> InputState:
        """Inverse of `actions` and `amount`: the input state of these actions; amounts are rounded to whole counts."""
        controls = frozenset(self.digital[action] for action in actions)
        counts = {"motion.x": 0, "motion.y": 0, "wheel.x": 0, "wheel.y": 0}
        for action, amount in (amounts or {}).items():
            binding = self.analogue[action]
            counts[binding.axis] = round(amount / binding.scale)
        return InputState(
            keys=controls & frozenset(KEYS),
            buttons=controls & frozenset(MOUSE_BUTTONS),
            motion=(counts["motion.x"], counts["motion.y"]),
            wheel=(counts["wheel.x"], counts["wheel.y"]),
        )

    def restrict(self, state: InputState) -> InputState:
        """`state` without what this game does not use."""
        bound = frozenset(self.digital.values())
        axes = {binding.axis for binding in self.analogue.values()}
        return InputState(
            keys=state.keys & bound,
            buttons=state.buttons & bound,
            motion=(state.motion[0] if "motion.x" in axes else 0, state.motion[1] if "motion.y" in axes else 0),
            wheel=(state.wheel[0] if "wheel.x" in axes else 0, state.wheel[1] if "wheel.y" in axes else 0),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form, stored with every clip."""
        analogue = {name: {"axis": b.axis, "scale": b.scale, "unit": b.unit} for name, b in self.analogue.items()}
        return {"digital": dict(self.digital), "analogue": analogue}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        try:
            analogue = {name: AxisBinding(**binding) for name, binding in data.get("analogue", {}).items()}
            return cls(dict(data.get("digital", {})), analogue)
        except (TypeError, AttributeError) as error:
            raise ConfigError("bindings cannot be read", got=repr(data)[:200], do=str(error)) from error


def _read_axis(state: InputState, axis: Axis) -> int:
    device, _, direction = axis.partition(".")
    pair: tuple[int, int] = getattr(state, device)
    return pair["xy".index(direction)]
