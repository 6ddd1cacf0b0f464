"""W3C `code` names <-> keycodes of X11.

A `code` names a place on the keyboard, and so does a keycode: evdev's number plus 8, on every X server of today,
whatever the layout. https://www.w3.org/TR/uievents-code/ ; linux/input-event-codes.h
"""

from typing import Final

_EVDEV: Final[dict[str, int]] = {
    "Escape": 1,
    **{f"Digit{digit}": 2 + (digit - 1) % 10 for digit in range(10)},
    **dict(zip(("Minus", "Equal", "Backspace", "Tab"), range(12, 16), strict=True)),
    **{f"Key{letter}": 16 + place for place, letter in enumerate("QWERTYUIOP")},
    **dict(zip(("BracketLeft", "BracketRight", "Enter", "ControlLeft"), range(26, 30), strict=True)),
    **{f"Key{letter}": 30 + place for place, letter in enumerate("ASDFGHJKL")},
    **dict(zip(("Semicolon", "Quote", "Backquote", "ShiftLeft", "Backslash"), range(39, 44), strict=True)),
    **{f"Key{letter}": 44 + place for place, letter in enumerate("ZXCVBNM")},
    **dict(zip(("Comma", "Period", "Slash", "ShiftRight", "NumpadMultiply"), range(51, 56), strict=True)),
    **dict(zip(("AltLeft", "Space", "CapsLock"), range(56, 59), strict=True)),
    **{f"F{number}": 58 + number for number in range(1, 11)},
    **dict(zip(("NumLock", "ScrollLock", "Numpad7", "Numpad8", "Numpad9"), range(69, 74), strict=True)),
    **dict(zip(("NumpadSubtract", "Numpad4", "Numpad5", "Numpad6", "NumpadAdd"), range(74, 79), strict=True)),
    **dict(zip(("Numpad1", "Numpad2", "Numpad3", "Numpad0", "NumpadDecimal"), range(79, 84), strict=True)),
    "IntlBackslash": 86,
    "F11": 87,
    "F12": 88,
    "IntlRo": 89,
    "IntlYen": 124,
    "NumpadEnter": 96,
    "ControlRight": 97,
    "NumpadDivide": 98,
    "PrintScreen": 99,
    "AltRight": 100,
    **dict(zip(("Home", "ArrowUp", "PageUp", "ArrowLeft", "ArrowRight", "End"), range(102, 108), strict=True)),
    **dict(zip(("ArrowDown", "PageDown", "Insert", "Delete"), range(108, 112), strict=True)),
    "Pause": 119,
    "MetaLeft": 125,
    "MetaRight": 126,
    "ContextMenu": 127,
}
KEYCODES: Final[dict[str, int]] = {key: number + 8 for key, number in _EVDEV.items()}
KEYS_BY_CODE: Final[dict[int, str]] = {code: key for key, code in KEYCODES.items()}
BUTTONS: Final[dict[str, int]] = {"MouseLeft": 1, "MouseMiddle": 2, "MouseRight": 3, "MouseBack": 8, "MouseForward": 9}
BUTTONS_BY_NUMBER: Final[dict[int, str]] = {number: button for button, number in BUTTONS.items()}
WHEEL: Final[dict[int, tuple[int, int]]] = {4: (0, -1), 5: (0, 1), 6: (-1, 0), 7: (1, 0)}  # notches (right, down)
