"""`tell`: rows of owl-control as input events.

Numbers are those of the recorder's own source: keys and mouse buttons are Windows virtual keys, the wheel counts 120 a
notch, up positive. Gamepads have the order of gilrs 0.11: sticks up positive, shoulder buttons called LT and RT,
triggers LT2 and RT2, whose travel comes as a button's value. Values of other buttons repeat their presses and are left
out; Z axes, which some drivers use for triggers with a range of their own, are unknown.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from gi_data.ingest.events import Deflect, Event, Label, Move, Press, Release, Scroll, Snapshot
from gi_data.ingest.owl_rows import Row, integer_of, number_of, truth_of
from gi_data.ingest.virtual_keys import MOUSE_BY_CODE, key_of, keys_of
from gi_model.errors import ClipError

NOTCH: Final = 120
PAD_BUTTONS: Final = {
    **dict(enumerate(("GamepadSouth", "GamepadEast"), 1)),
    **dict(enumerate(("GamepadNorth", "GamepadWest"), 4)),
    **dict(enumerate(("GamepadLeftBumper", "GamepadRightBumper", "GamepadLeftTrigger", "GamepadRightTrigger"), 7)),
    **dict(enumerate(("GamepadSelect", "GamepadStart", "GamepadHome", "GamepadLeftStick", "GamepadRightStick"), 11)),
    **dict(enumerate(("GamepadUp", "GamepadDown", "GamepadLeft", "GamepadRight"), 16)),
}
PAD_AXES: Final = {  # number -> field of Deflect, which of the two, factor
    1: ("left_stick", 0, 1.0),
    2: ("left_stick", 1, -1.0),
    4: ("right_stick", 0, 1.0),
    5: ("right_stick", 1, -1.0),
}
PAD_TRIGGERS: Final = {9: 0, 10: 1}
PAD_EVENTS: Final = frozenset({"GAMEPAD_BUTTON", "GAMEPAD_BUTTON_VALUE", "GAMEPAD_AXIS"})
_MARKS: Final = frozenset({"END", "VIDEO_START", "VIDEO_END", "HOOK_START"})
_NOTHING: Final[frozenset[str]] = frozenset()


def pad_of(row: Row) -> str:
    """Which gamepad a gamepad's row is about; older recorders do not say."""
    return str(row.args[2])[:80] if isinstance(row.args, list) and len(row.args) > 2 else ""


def tell(source: Iterable[Row], pad: str, unknown: Counter[str]) -> Iterator[Event]:
    """Events in order of time, of gamepads only `pad`'s; what has no name is counted. Raises ClipError on wrong types.

    What is pressed while the game is not in front goes elsewhere and is left out.
    """
    teller = _Teller(pad, unknown)
    for row in source:
        try:
            yield from teller.tell(row)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            got = f"{row.kind} {str(row.args)[:80]}: {str(error)[:80]}"
            raise ClipError("an owl-control event has wrong arguments", got=got) from error


class _Teller:
    def __init__(self, pad: str, unknown: Counter[str]) -> None:
        self._pad, self._unknown = pad, unknown
        self._has_focus = True
        self._axes = {"left_stick": [0.0, 0.0], "right_stick": [0.0, 0.0], "triggers": [0.0, 0.0]}

    def tell(self, row: Row) -> Iterator[Event]:
        """Events of one row. Raises ValueError, TypeError, LookupError, or AttributeError on wrong arguments."""
        if row.kind in ("FOCUS", "UNFOCUS"):
            yield from self._focus(row.t_ns, row.kind == "FOCUS")
        elif self._has_focus and row.kind not in _MARKS:
            yield from self._input(row)

    def _input(self, row: Row) -> Iterator[Event]:
        t_ns, args = row.t_ns, row.args
        match row.kind:
            case "START":
                yield from self._start(t_ns, args)
            case "MOUSE_MOVE":
                yield Move(t_ns, integer_of(args[0]), integer_of(args[1]))
            case "MOUSE_BUTTON":
                yield from self._turn(t_ns, self._name(MOUSE_BY_CODE, args[0], "mouse button"), args[1])
            case "SCROLL":
                yield Scroll(t_ns, 0, -integer_of(args[0]) / NOTCH)
            case "KEYBOARD":
                yield from self._turn(t_ns, key_of(integer_of(args[0]), self._unknown), args[1])
            case kind if kind in PAD_EVENTS:
                yield from self._gamepad(row)
            case kind:
                self._unknown[f"event {kind}"] += 1

    def _gamepad(self, row: Row) -> Iterator[Event]:
        t_ns, (number, value, *_) = row.t_ns, row.args
        if pad_of(row) != self._pad:
            self._unknown["event of another gamepad"] += 1
        elif row.kind == "GAMEPAD_BUTTON":
            yield from self._turn(t_ns, self._name(PAD_BUTTONS, number, "gamepad button"), value)
        elif row.kind == "GAMEPAD_AXIS":
            yield from self._axis(t_ns, number, value)
        elif (trigger := PAD_TRIGGERS.get(integer_of(number))) is not None:
            yield self._deflect(t_ns, "triggers", trigger, min(max(number_of(value), 0.0), 1.0))
        else:
            number_of(value)
            self._name(PAD_BUTTONS, number, "gamepad button")

    def _axis(self, t_ns: int, number: object, value: object) -> Iterator[Event]:
        place = min(max(number_of(value), -1.0), 1.0)
        if (axis := PAD_AXES.get(integer_of(number))) is None:
            self._unknown[f"gamepad axis {number}"] += 1
            return
        name, part, factor = axis
        yield self._deflect(t_ns, name, part, place * factor)

    def _deflect(self, t_ns: int, name: str, part: int, value: float) -> Deflect:
        self._axes[name][part] = value
        pair = (self._axes[name][0], self._axes[name][1])
        return Deflect(t_ns, **{name: pair})

    def _start(self, t_ns: int, args: Any) -> Iterator[Event]:
        """What was held as the recording began; older recorders do not say."""
        if not isinstance(args, dict) or "inputs" not in args:
            return
        inputs = args["inputs"]
        codes = [integer_of(code) for code in inputs.get("keyboard", [])]
        yield Snapshot(t_ns, "keyboard", keys_of(codes, self._unknown))
        buttons = (self._name(MOUSE_BY_CODE, code, "mouse button") for code in inputs.get("mouse", []))
        yield Snapshot(t_ns, "mouse", frozenset(filter(None, buttons)))
        pad = inputs.get("gamepads", {}).get(self._pad)
        if pad is not None:
            names = (self._name(PAD_BUTTONS, number, "gamepad button") for number in pad.get("digital", []))
            yield Snapshot(t_ns, "gamepad", frozenset(filter(None, names)))
            for number, value in pad.get("axis", {}).items():
                yield from self._axis(t_ns, int(number), value)

    def _turn(self, t_ns: int, control: str | None, is_down: object) -> Iterator[Event]:
        is_press = truth_of(is_down)
        if control is not None:
            yield Press(t_ns, control) if is_press else Release(t_ns, control)

    def _name(self, table: dict[int, str], value: object, what: str) -> str | None:
        number = integer_of(value)
        if number not in table:
            self._unknown[f"{what} {number}"] += 1
        return table.get(number)

    def _focus(self, t_ns: int, has_focus: bool) -> Iterator[Event]:
        if has_focus == self._has_focus:
            return
        self._has_focus = has_focus
        yield Label(t_ns, has_focus)
        if not has_focus:
            self._axes = {name: [0.0, 0.0] for name in self._axes}
            yield Snapshot(t_ns, "keyboard", _NOTHING)
            yield Snapshot(t_ns, "mouse", _NOTHING)
            if self._pad:
                yield Snapshot(t_ns, "gamepad", _NOTHING)
                yield Deflect(t_ns, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
