"""`PortableDesktop`: Windows and macOS, by mss (pictures), pynput (input), and one call of the system (windows).

**Not tested by us**: our tests run on Linux. pynput moves the pointer to a place, so games that lock the pointer may
not feel its motion. macOS asks the user for leave to record the screen and to control the computer.
"""

import ctypes
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import mss
import numpy as np

from gi_data.desktop.protocol import choose
from gi_data.ingest.events import Event, Move, Press, Release, Scroll
from gi_data.ingest.virtual_keys import KEYS_BY_CODE
from gi_model.actions import NEUTRAL, InputState
from gi_model.errors import GameError
from gi_model.frames import Frame

_WINDOWS_CODES: Final = {key: code for code, key in KEYS_BY_CODE.items()}
_MAC_CODES: Final[dict[str, int]] = {  # HIToolbox/Events.h, kVK_*
    **dict(zip((f"Key{letter}" for letter in "ASDFHGZXCV"), range(10), strict=True)),
    **dict(zip((f"Key{letter}" for letter in "BQWERYT"), range(11, 18), strict=True)),
    **dict(zip((f"Digit{digit}" for digit in "123465"), range(18, 24), strict=True)),
    "Equal": 24,
    "Digit9": 25,
    "Digit7": 26,
    "Minus": 27,
    "Digit8": 28,
    "Digit0": 29,
    "BracketRight": 30,
    "KeyO": 31,
    "KeyU": 32,
    "BracketLeft": 33,
    "KeyI": 34,
    "KeyP": 35,
    "Enter": 36,
    "KeyL": 37,
    "KeyJ": 38,
    "Quote": 39,
    "KeyK": 40,
    "Semicolon": 41,
    "Backslash": 42,
    "Comma": 43,
    "Slash": 44,
    "KeyN": 45,
    "KeyM": 46,
    "Period": 47,
    "Tab": 48,
    "Space": 49,
    "Backquote": 50,
    "Backspace": 51,
    "Escape": 53,
    "MetaLeft": 55,
    "ShiftLeft": 56,
    "CapsLock": 57,
    "AltLeft": 58,
    "ControlLeft": 59,
    "ShiftRight": 60,
    "AltRight": 61,
    "ControlRight": 62,
    "F9": 101,
    "F10": 109,
    "F12": 111,
    "F11": 103,
    "F5": 96,
    "F6": 97,
    "F7": 98,
    "F8": 100,
    "ArrowLeft": 123,
    "ArrowRight": 124,
    "ArrowDown": 125,
    "ArrowUp": 126,
}
_CODES: Final = _WINDOWS_CODES if sys.platform == "win32" else _MAC_CODES
_KEYS: Final = {code: key for key, code in _CODES.items()}
_BUTTONS: Final = {"MouseLeft": "left", "MouseRight": "right", "MouseMiddle": "middle"}


class _Place(NamedTuple):
    title: str
    left: int
    top: int
    width: int
    height: int
    is_focused: bool


class PortableDesktop:
    """See `gi_data.desktop.protocol.Desktop`."""

    def find(self, title: str) -> "PortableWindow":
        """The window whose title contains `title`. Raises GameError that names those there are."""
        titles = [place.title for place in _windows()]
        return PortableWindow(titles[choose(title, titles)])

    def hand(self) -> "PortableHand":
        """A hand."""
        return PortableHand()

    def listen(self, on_press: Callable[[str], None] = lambda _: None) -> "PortableEar":
        """An ear."""
        return PortableEar(on_press)

    def close(self) -> None:
        """Nothing is held."""


class PortableWindow:
    """See `gi_data.desktop.protocol.Window`."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._lock, self._screen = threading.Lock(), mss.MSS()

    def grab(self) -> Frame:
        """Its part of the screen. Raises GameError once it is closed or hidden."""
        place = self._place()
        region = {"left": place.left, "top": place.top, "width": place.width, "height": place.height}
        with self._lock:
            shot = self._screen.grab(region)
        picture = np.frombuffer(shot.raw, np.uint8).reshape(shot.height, shot.width, 4)
        return np.ascontiguousarray(picture[..., 2::-1])

    @property
    def is_focused(self) -> bool:
        """Whether keys go to it."""
        return self._place().is_focused

    def _place(self) -> _Place:
        for place in _windows():
            if place.title == self.title:
                return place
        raise GameError(f"the window {self.title!r} was closed or hidden", do="Start the game again.")


class PortableHand:
    """See `gi_data.desktop.protocol.Hand`."""

    def __init__(self) -> None:
        from pynput import keyboard, mouse

        self._keyboard, self._mouse = keyboard.Controller(), mouse.Controller()
        self._key, self._button = keyboard.KeyCode, mouse.Button
        self._lock, self._held = threading.Lock(), NEUTRAL

    def hold(self, state: InputState) -> None:
        """Hold exactly the keys and buttons of `state`; move and scroll once."""
        with self._lock:
            self._change(state)
            if any(state.motion):
                self._mouse.move(*state.motion)
            if any(state.wheel):
                self._mouse.scroll(state.wheel[0], -state.wheel[1])

    def release(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._change(NEUTRAL)

    def _change(self, state: InputState) -> None:
        for name in sorted((state.keys ^ self._held.keys) & _CODES.keys()):
            key = self._key.from_vk(_CODES[name])
            (self._keyboard.press if name in state.keys else self._keyboard.release)(key)
        for name in sorted((state.buttons ^ self._held.buttons) & _BUTTONS.keys()):
            button = self._button[_BUTTONS[name]]
            (self._mouse.press if name in state.buttons else self._mouse.release)(button)
        self._held = state


class PortableEar:
    """See `gi_data.desktop.protocol.Ear`. Motion is that of the pointer."""

    def __init__(self, on_press: Callable[[str], None]) -> None:
        from pynput import keyboard, mouse

        self._events: deque[Event] = deque()
        self._on_press = on_press
        self._at: tuple[int, int] | None = None
        self._down: set[str] = set()
        self._names = {mouse.Button[theirs]: ours for ours, theirs in _BUTTONS.items()}
        self._listeners: list[Any] = [
            keyboard.Listener(
                on_press=lambda key: self._switch(_name_of(key), is_down=True),
                on_release=lambda key: self._switch(_name_of(key), is_down=False),
            ),
            mouse.Listener(
                on_move=self._moved,
                on_click=lambda _x, _y, button, is_down: self._switch(self._names.get(button), is_down=is_down),
                on_scroll=lambda _x, _y, dx, dy: self._events.append(Scroll(time.monotonic_ns(), dx, -dy)),
            ),
        ]
        for listener in self._listeners:
            listener.start()

    def take(self) -> list[Event]:
        """What happened since the last call."""
        return [self._events.popleft() for _ in range(len(self._events))]

    def close(self) -> None:
        """Stop listening. Idempotent."""
        for listener in self._listeners:
            listener.stop()

    def _switch(self, control: str | None, *, is_down: bool) -> None:
        if control is None or (is_down and control in self._down):  # a key that is held repeats
            return
        (self._down.add if is_down else self._down.discard)(control)
        self._events.append((Press if is_down else Release)(time.monotonic_ns(), control))
        if is_down:
            self._on_press(control)

    def _moved(self, x: int, y: int) -> None:
        before, self._at = self._at, (x, y)
        if before is not None:
            self._events.append(Move(time.monotonic_ns(), x - before[0], y - before[1]))


def _name_of(key: Any) -> str | None:
    """Our name of a pynput key, which is a KeyCode or an enum member with one as its value."""
    return _KEYS.get(getattr(getattr(key, "value", key), "vk", None) or -1)


def _windows() -> list[_Place]:
    """The visible windows that have a title."""
    return _windows_of_windows() if sys.platform == "win32" else _windows_of_macos()


def _windows_of_windows() -> list[_Place]:
    user32 = ctypes.windll.user32  # type: ignore[attr-defined,unused-ignore]
    focused, found = user32.GetForegroundWindow(), list[_Place]()

    def look(handle: int, _extra: int) -> bool:
        title, area, corner = ctypes.create_unicode_buffer(512), (ctypes.c_long * 4)(), (ctypes.c_long * 2)(0, 0)
        user32.GetWindowTextW(handle, title, 512)
        if title.value and user32.IsWindowVisible(handle) and not user32.IsIconic(handle):
            user32.GetClientRect(handle, area)
            user32.ClientToScreen(handle, corner)
            found.append(_Place(title.value, corner[0], corner[1], area[2], area[3], handle == focused))
        return True

    callback = ctypes.WINFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)  # type: ignore[attr-defined,unused-ignore]
    user32.EnumWindows(callback(look), 0)
    return [place for place in found if place.width > 1 and place.height > 1]


def _windows_of_macos() -> list[_Place]:
    import AppKit
    import Quartz

    option = Quartz.kCGWindowListOptionOnScreenOnly | Quartz.kCGWindowListExcludeDesktopElements
    front = AppKit.NSWorkspace.sharedWorkspace().frontmostApplication().processIdentifier()
    found = []
    for each in Quartz.CGWindowListCopyWindowInfo(option, Quartz.kCGNullWindowID):
        area, title = each["kCGWindowBounds"], each.get("kCGWindowName") or each.get("kCGWindowOwnerName")
        if title and each.get("kCGWindowLayer") == 0:
            corner = int(area["X"]), int(area["Y"]), int(area["Width"]), int(area["Height"])
            found.append(_Place(str(title), *corner, each.get("kCGWindowOwnerPID") == front))
    return found
