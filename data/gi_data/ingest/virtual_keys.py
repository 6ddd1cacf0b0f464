"""Windows virtual-key codes -> W3C `code` names, as recorders of Windows desktops store keys.

A virtual key is what a key means on a US layout, not where it is; for the keys of games the two agree. Codes for
"either Shift" become the left one, which most keyboards are played with. Two of our keys have no code of their own:
NumpadEnter is 0x0D like Enter, IntlYen is 0xDC like Backslash. Numpad keys pressed while NumLock is off arrive as the
keys of the block beside them. https://learn.microsoft.com/windows/win32/inputdev/virtual-key-codes
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from gi_model.actions import MOUSE_BUTTONS

KEYS_BY_CODE: Final[dict[int, str]] = {
    **dict(enumerate((f"Key{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), 0x41)),
    **dict(enumerate((f"Digit{digit}" for digit in range(10)), 0x30)),
    **dict(enumerate((f"Numpad{digit}" for digit in range(10)), 0x60)),
    **dict(enumerate((f"F{number}" for number in range(1, 13)), 0x70)),
    **dict(enumerate(("Space", "PageUp", "PageDown", "End", "Home"), 0x20)),
    **dict(enumerate(("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"), 0x25)),
    **dict(enumerate(("PrintScreen", "Insert", "Delete"), 0x2C)),
    **dict(enumerate(("MetaLeft", "MetaRight", "ContextMenu"), 0x5B)),
    **dict(enumerate(("NumpadMultiply", "NumpadAdd"), 0x6A)),
    **dict(enumerate(("NumpadSubtract", "NumpadDecimal", "NumpadDivide"), 0x6D)),
    **dict(enumerate(("NumLock", "ScrollLock"), 0x90)),
    **dict(enumerate(("ShiftLeft", "ShiftRight", "ControlLeft", "ControlRight", "AltLeft", "AltRight"), 0xA0)),
    **dict(enumerate(("Semicolon", "Equal", "Comma", "Minus", "Period", "Slash", "Backquote", "IntlRo"), 0xBA)),
    **dict(enumerate(("BracketLeft", "Backslash", "BracketRight", "Quote"), 0xDB)),
    0x08: "Backspace",
    0x09: "Tab",
    0x0D: "Enter",
    0x13: "Pause",
    0x14: "CapsLock",
    0x1B: "Escape",
    0xE2: "IntlBackslash",
}
SHARED: Final[dict[int, str]] = {  # a second code for a key that has one of its own
    0x03: "Pause",  # Ctrl+Break
    0x0C: "Numpad5",  # with NumLock off
    0x10: "ShiftLeft",
    0x11: "ControlLeft",
    0x12: "AltLeft",
}
MOUSE_BY_CODE: Final = dict(zip((1, 2, 4, 5, 6), MOUSE_BUTTONS, strict=True))
_SIDES: Final = {0x10: {0xA0, 0xA1}, 0x11: {0xA2, 0xA3}, 0x12: {0xA4, 0xA5}}


def key_of(code: int, unknown: Counter[str]) -> str | None:
    """The key of a virtual-key code; None, and counted, if we have no name for it."""
    key = KEYS_BY_CODE.get(code) or SHARED.get(code)
    if key is None:
        unknown[f"virtual key 0x{code:02X}"] += 1
    return key


def keys_of(codes: Iterable[int], unknown: Counter[str]) -> frozenset[str]:
    """The keys of all codes that are down at once; codes of mouse buttons among them are no keys.

    Windows then reports "either Shift" beside the one that is down, so it only counts alone.
    """
    down = set(codes) - set(MOUSE_BY_CODE)
    down -= {either for either, sides in _SIDES.items() if down & sides}
    return frozenset(key for code in down if (key := key_of(code, unknown)))
