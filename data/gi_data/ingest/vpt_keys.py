"""Minecraft's names of keys and mouse buttons, as VPT's recorder writes them, -> ours. Names are those of GLFW."""

from typing import Final

_NAMED: Final = {
    "space": "Space",
    "enter": "Enter",
    "tab": "Tab",
    "escape": "Escape",
    "backspace": "Backspace",
    "caps.lock": "CapsLock",
    "apostrophe": "Quote",
    "backslash": "Backslash",
    "comma": "Comma",
    "equal": "Equal",
    "grave.accent": "Backquote",
    "left.bracket": "BracketLeft",
    "right.bracket": "BracketRight",
    "minus": "Minus",
    "period": "Period",
    "semicolon": "Semicolon",
    "slash": "Slash",
    "world.1": "IntlBackslash",
    "menu": "ContextMenu",
    "insert": "Insert",
    "delete": "Delete",
    "home": "Home",
    "end": "End",
    "page.up": "PageUp",
    "page.down": "PageDown",
    "print.screen": "PrintScreen",
    "scroll.lock": "ScrollLock",
    "pause": "Pause",
    "num.lock": "NumLock",
    "keypad.divide": "NumpadDivide",
    "keypad.multiply": "NumpadMultiply",
    "keypad.subtract": "NumpadSubtract",
    "keypad.add": "NumpadAdd",
    "keypad.enter": "NumpadEnter",
    "keypad.decimal": "NumpadDecimal",
}
_SIDED: Final = {
    f"{side.lower()}.{name}": f"{code}{side}"
    for side in ("Left", "Right")
    for name, code in (("shift", "Shift"), ("control", "Control"), ("alt", "Alt"), ("win", "Meta"))
}
_NUMBERED: Final = {
    **{letter.lower(): f"Key{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    **{str(digit): f"Digit{digit}" for digit in range(10)},
    **{f"keypad.{digit}": f"Numpad{digit}" for digit in range(10)},
    **{f"f{number}": f"F{number}" for number in range(1, 13)},
    **{side: f"Arrow{side.capitalize()}" for side in ("up", "down", "left", "right")},
}

KEYS: Final = {f"key.keyboard.{name}": code for name, code in (_NAMED | _SIDED | _NUMBERED).items()}
BUTTONS: Final = {0: "MouseLeft", 1: "MouseRight", 2: "MouseMiddle", 3: "MouseBack", 4: "MouseForward"}
