"""The names of every control: keyboard, mouse, gamepad.

Keys: W3C UI Events KeyboardEvent `code` values, standard 101..108-key layouts (https://www.w3.org/TR/uievents-code/).
Gamepad: W3C Standard Gamepad, 17 buttons, index order (https://www.w3.org/TR/gamepad/#remapping).
Mouse: UI Events MouseEvent `buttons`, bit order. The order of each tuple is part of the action vocabulary: append only.
"""

from typing import Final

KEYS: Final[tuple[str, ...]] = (
    *(f"Key{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    *(f"Digit{digit}" for digit in range(10)),
    *(f"F{number}" for number in range(1, 13)),
    *("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"),
    *("Space", "Enter", "Tab", "Escape", "Backspace", "CapsLock"),
    *("ShiftLeft", "ShiftRight", "ControlLeft", "ControlRight", "AltLeft", "AltRight", "MetaLeft", "MetaRight"),
    *("Backquote", "Minus", "Equal", "BracketLeft", "BracketRight", "Backslash", "Semicolon", "Quote"),
    *("Comma", "Period", "Slash", "IntlBackslash", "IntlRo", "IntlYen", "ContextMenu"),
    *("Insert", "Delete", "Home", "End", "PageUp", "PageDown", "PrintScreen", "ScrollLock", "Pause"),
    *("NumLock", "NumpadDivide", "NumpadMultiply", "NumpadSubtract", "NumpadAdd", "NumpadEnter", "NumpadDecimal"),
    *(f"Numpad{digit}" for digit in range(10)),
)

MOUSE_BUTTONS: Final[tuple[str, ...]] = ("MouseLeft", "MouseRight", "MouseMiddle", "MouseBack", "MouseForward")

GAMEPAD_BUTTONS: Final[tuple[str, ...]] = (
    *("GamepadSouth", "GamepadEast", "GamepadWest", "GamepadNorth"),
    *("GamepadLeftBumper", "GamepadRightBumper", "GamepadLeftTrigger", "GamepadRightTrigger"),
    *("GamepadSelect", "GamepadStart", "GamepadLeftStick", "GamepadRightStick"),
    *("GamepadUp", "GamepadDown", "GamepadLeft", "GamepadRight", "GamepadHome"),
)
