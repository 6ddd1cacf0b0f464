"""`InputState`: what a player holds and moves during one tick.

Held state, not press and release events: over 99 % of ticks change nothing, so events teach a policy "keep" and held
state teaches it to play. Events are the derived view (`presses`, `releases`). Sub-tick samples are merged with OR, so a
jump tapped for 20 ms inside a 50 ms tick stays. The mouse is relative counts; the cursor, where a game has one, is
separate.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any, Self

from gi_model.actions.controls import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS
from gi_model.errors import ActionError

_KEYS, _BUTTONS, _PAD = frozenset(KEYS), frozenset(MOUSE_BUTTONS), frozenset(GAMEPAD_BUTTONS)
MAX_COMMANDS, LARGEST_COMMAND = 32, float.fromhex("0x1.fffffep+127")  # the largest float32, as on the wire


@dataclass(frozen=True, slots=True)
class Gamepad:
    """One gamepad during one tick: held buttons, sticks in [-1, 1] (x right, y down), triggers in [0, 1]."""

    buttons: frozenset[str] = frozenset()
    left_stick: tuple[float, float] = (0.0, 0.0)
    right_stick: tuple[float, float] = (0.0, 0.0)
    triggers: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        _check_names("gamepad buttons", self.buttons, _PAD)
        if not all(-1.0 <= axis <= 1.0 for axis in (*self.left_stick, *self.right_stick)):
            raise ActionError("gamepad stick out of range", got=(self.left_stick, self.right_stick), expected="[-1, 1]")
        if not all(0.0 <= trigger <= 1.0 for trigger in self.triggers):
            raise ActionError("gamepad trigger out of range", got=self.triggers, expected="[0, 1]")


@dataclass(frozen=True, slots=True)
class InputState:
    """What is held and moved during one tick.

    keys: W3C `code` names. buttons: `MOUSE_BUTTONS` names. motion: relative mouse counts (dx right, dy down).
    wheel: notches (dx right, dy down). cursor: (x, y) in [0, 1] of the window, None where the game locks the pointer.
    commands: of a body's direct actuators, which no control drives (`gi_model.embodiment`), in its order and units; no
    action token holds them.
    """

    keys: frozenset[str] = frozenset()
    buttons: frozenset[str] = frozenset()
    motion: tuple[int, int] = (0, 0)
    wheel: tuple[int, int] = (0, 0)
    cursor: tuple[float, float] | None = None
    gamepad: Gamepad | None = None
    commands: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_names("keys", self.keys, _KEYS)
        _check_names("mouse buttons", self.buttons, _BUTTONS)
        if self.commands and not (
            len(self.commands) <= MAX_COMMANDS and all(abs(command) <= LARGEST_COMMAND for command in self.commands)
        ):
            expected = f"at most {MAX_COMMANDS} finite numbers"
            raise ActionError("commands of direct actuators", got=self.commands, expected=expected)

    @property
    def is_null(self) -> bool:
        """Nothing held, nothing moved."""
        is_moved = self.motion != (0, 0) or self.wheel != (0, 0) or self._sticks_moved or any(self.commands)
        return self.held == frozenset() and not is_moved

    @property
    def held(self) -> frozenset[str]:
        """Every digital control that is down, of all three devices."""
        return self.keys | self.buttons | (self.gamepad.buttons if self.gamepad else frozenset())

    @property
    def _sticks_moved(self) -> bool:
        pad = self.gamepad
        return pad is not None and any((*pad.left_stick, *pad.right_stick, *pad.triggers))

    def presses(self, before: Self) -> frozenset[str]:
        """Controls that went down since `before`."""
        return self.held - before.held

    def releases(self, before: Self) -> frozenset[str]:
        """Controls that came up since `before`."""
        return before.held - self.held

    def to_dict(self) -> dict[str, Any]:
        """JSON form; fields at their neutral value are left out, so an idle tick is `{}`."""
        out: dict[str, Any] = {}
        for name in ("keys", "buttons"):
            if held := getattr(self, name):
                out[name] = sorted(held)
        for name in ("motion", "wheel"):
            if any(moved := getattr(self, name)):
                out[name] = list(moved)
        if self.cursor is not None:
            out["cursor"] = list(self.cursor)
        if (pad := self.gamepad) is not None:
            out["gamepad"] = {
                "buttons": sorted(pad.buttons),
                "left_stick": list(pad.left_stick),
                "right_stick": list(pad.right_stick),
                "triggers": list(pad.triggers),
            }
        if self.commands:
            out["commands"] = list(self.commands)
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises ActionError on unknown names, wrong types, or values out of range."""
        _check_fields("input state", data, cls)
        try:
            pad = data.get("gamepad")
            return cls(
                keys=frozenset(data.get("keys", ())),
                buttons=frozenset(data.get("buttons", ())),
                motion=_int_pair(data.get("motion", (0, 0))),
                wheel=_int_pair(data.get("wheel", (0, 0))),
                cursor=_float_pair(data["cursor"]) if data.get("cursor") is not None else None,
                gamepad=_gamepad_from_dict(pad) if pad is not None else None,
                commands=_commands(data.get("commands", ())),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise ActionError(
                "input state has a field of the wrong type", got=repr(data)[:200], do=str(error)
            ) from error


def merge(samples: Iterable[InputState]) -> InputState:
    """Join the samples of one tick: held controls by OR, motion and wheel by sum, sticks by largest, others by last."""
    return reduce(_merge_two, samples, NEUTRAL)


def _merge_two(a: InputState, b: InputState) -> InputState:
    return InputState(
        keys=a.keys | b.keys,
        buttons=a.buttons | b.buttons,
        motion=(a.motion[0] + b.motion[0], a.motion[1] + b.motion[1]),
        wheel=(a.wheel[0] + b.wheel[0], a.wheel[1] + b.wheel[1]),
        cursor=b.cursor if b.cursor is not None else a.cursor,
        gamepad=_merge_pads(a.gamepad, b.gamepad),
        commands=b.commands or a.commands,
    )


def _merge_pads(a: Gamepad | None, b: Gamepad | None) -> Gamepad | None:
    if a is None or b is None:
        return b if a is None else a
    return Gamepad(
        buttons=a.buttons | b.buttons,
        left_stick=max(a.left_stick, b.left_stick, key=_deflection),
        right_stick=max(a.right_stick, b.right_stick, key=_deflection),
        triggers=(max(a.triggers[0], b.triggers[0]), max(a.triggers[1], b.triggers[1])),
    )


def _deflection(stick: tuple[float, float]) -> float:
    return stick[0] ** 2 + stick[1] ** 2


def _check_fields(what: str, data: object, cls: type[InputState] | type[Gamepad]) -> None:
    if not isinstance(data, Mapping):
        raise ActionError(f"{what} is no object", got=repr(data)[:200], expected="fields by name")
    _check_names(f"{what} fields", frozenset(data), frozenset(field.name for field in fields(cls)))


def _check_names(what: str, names: frozenset[str], known: frozenset[str]) -> None:
    if unknown := names - known:
        shown = ", ".join(sorted(map(repr, unknown))[:4])
        raise ActionError(f"unknown {what}", got=shown, expected=f"names like {', '.join(sorted(known)[:3])}")


def _int_pair(pair: Iterable[Any]) -> tuple[int, int]:
    x, y = pair
    if x != int(x) or y != int(y):
        raise ValueError(f"whole counts expected, got {x}, {y}")
    return int(x), int(y)


def _float_pair(pair: Iterable[Any]) -> tuple[float, float]:
    x, y = pair
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"finite numbers expected, got {x}, {y}")
    return float(x), float(y)


def _commands(values: Iterable[Any]) -> tuple[float, ...]:
    if odd := [value for value in values if isinstance(value, bool) or not isinstance(value, (int, float))]:
        raise ValueError(f"numbers expected, got {odd[0]!r}")
    return tuple(float(value) for value in values)


def _gamepad_from_dict(data: Mapping[str, Any]) -> Gamepad:
    _check_fields("gamepad", data, Gamepad)
    axes = {name: _float_pair(data[name]) for name in ("left_stick", "right_stick", "triggers") if name in data}
    return Gamepad(buttons=frozenset(data.get("buttons", ())), **axes)


NEUTRAL = InputState()  # last: building it needs the checks above
