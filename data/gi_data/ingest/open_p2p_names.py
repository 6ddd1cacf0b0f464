"""Names of controls in open-p2p -> ours. Recorders spelled them in several ways: case and separators do not matter."""

import re
from typing import Final

from gi_model.actions import KEYS, MOUSE_BUTTONS

_OTHER__SEPARATORSS: Final = {
    "Backquote": ("graveaccent", "grave", "tilde"),
    "Quote": ("apostrophe",),
    "Period": ("dot",),
    "Equal": ("equals",),
    "Escape": ("esc",),
    "Enter": ("return",),
    "ContextMenu": ("menu", "apps"),
    "Backspace": ("back",),
    "Delete": ("del",),
    "NumpadAdd": ("add", "kpplus"),
    "NumpadSubtract": ("subtract", "kpminus"),
    "NumpadMultiply": ("multiply",),
    "NumpadDivide": ("divide",),
    "NumpadDecimal": ("decimal",),
    "NumpadEnter": ("kpreturn",),
    "ShiftLeft": ("shift",),
    "ControlLeft": ("control", "ctrl"),
    "AltLeft": ("alt",),
    "AltRight": ("altgr",),
    "MetaLeft": ("win", "super", "meta", "cmd"),
}
_SIDED: Final = re.compile(r"(shift|control|alt|meta|bracket)(left|right)|(arrow)(up|down|left|right)")
_SYNONYMS: Final = {"control": "ctrl", "meta": "win"}


def _spellings(code: str) -> list[str]:
    """How a key may be spelled, in small letters without separators."""
    plain = code.lower()
    spelled = [plain, *_OTHER__SEPARATORSS.get(code, ())]
    if plain.startswith(("key", "digit")):
        spelled += [plain[-1], f"num{plain[-1]}"] if plain.startswith("digit") else [plain[-1]]
    if plain.startswith("numpad"):
        spelled += [f"{prefix}{plain.removeprefix('numpad')}" for prefix in ("kp", "keypad")]
    if sided := _SIDED.fullmatch(plain):
        name, side = (part for part in sided.groups() if part)
        names = [name, *([_SYNONYMS[name]] if name in _SYNONYMS else [])]
        spelled += [f"{each}{side}" for each in names] + [f"{side}{each}" for each in names]
        spelled += [f"{side[0]}{each}" for each in names if each not in ("arrow", "bracket")]
        spelled += [side] if name == "arrow" else []
    return spelled


_KEYS: Final = {spelling: code for code in KEYS for spelling in _spellings(code)}
_BUTTONS: Final = {
    **dict(zip("01234", MOUSE_BUTTONS, strict=True)),
    **{name.lower().removeprefix("mouse"): name for name in MOUSE_BUTTONS},
    **{f"unknown{number}": name for number, name in enumerate(MOUSE_BUTTONS)},
}
# Of events; states have fields. A "trigger" is a bumper there: the real triggers are axes.
_DPAD: Final = {f"dpad{side.lower()}": f"Gamepad{side}" for side in ("Up", "Down", "Left", "Right")}
_FACE: Final = {side.lower(): f"Gamepad{side}" for side in ("South", "East", "North", "West", "Select", "Start")}
_PAD: Final = (
    _DPAD
    | _FACE
    | {
        "lefttrigger": "GamepadLeftBumper",
        "righttrigger": "GamepadRightBumper",
        "leftstick": "GamepadLeftStick",
        "rightstick": "GamepadRightStick",
    }
)
PAD_FIELDS: Final = (
    _FACE
    | {name.replace("dpad", "dpad_"): code for name, code in _DPAD.items()}
    | {
        "left_bumper": "GamepadLeftBumper",
        "right_bumper": "GamepadRightBumper",
    }
)
_TABLES: Final = {"key": _KEYS, "mouse button": _BUTTONS, "gamepad button": _PAD}
_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SEPARATORS: Final = re.compile(r"[\s_.\-()]+")


def control(kind: str, name: str) -> str | None:
    """Our name of a "key", a "mouse button", or a "gamepad button"; None if there is none."""
    return _TABLES[kind].get(_SEPARATORS.sub("", name).lower())


def spell(code: str) -> str:
    """How we tell open-p2p's tools of a key or mouse button of ours; `control` reads it back."""
    plain = _WORD.sub("_", code.removeprefix("Mouse")).lower()
    return plain[-1] if code.startswith(("Key", "Digit")) else plain
