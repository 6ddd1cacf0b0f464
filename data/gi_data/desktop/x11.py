"""`X11Desktop`: windows of an X server (Linux; XWayland's too), and input into them by its XTEST extension.

A window's picture is its place on the screen: what lies over it is seen too, so it must stay in front. Rejected:
reading the window itself (black for most games that draw by OpenGL).
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import mss
import numpy as np
from Xlib import X
from Xlib.display import Display
from Xlib.error import ConnectionClosedError, DisplayConnectionError, DisplayNameError, XError
from Xlib.ext import xtest

from gi_data.desktop.protocol import choose
from gi_data.desktop.x11_ear import X11Ear
from gi_data.desktop.x11_keys import BUTTONS, KEYCODES, WHEEL
from gi_model.actions import NEUTRAL, InputState
from gi_model.errors import GameError
from gi_model.frames import Frame

_DOWN: Final = {True: X.KeyPress, False: X.KeyRelease}
_NOTCH: Final = {notch: number for number, notch in WHEEL.items()}


class X11Desktop:
    """The X server that DISPLAY names; see `gi_data.desktop.protocol.Desktop`."""

    def __init__(self) -> None:
        self._display = open_display()
        for name in ("XTEST", "XInputExtension"):
            if not self._display.has_extension(name):
                raise GameError(f"the X server has no {name}", do="Use another X server: Xorg, Xvfb, and XWayland do.")

    def find(self, title: str) -> "X11Window":
        """The window whose title contains `title`. Raises GameError that names those there are."""
        found = [(window, name) for window in self._top_windows() if (name := _title_of(self._display, window))]
        window, name = found[choose(title, [name for _window, name in found])]
        return X11Window(self._display, window, name)

    def hand(self) -> "X11Hand":
        """A hand of its own connection."""
        return X11Hand()

    def listen(self, on_press: Callable[[str], None] = lambda _: None) -> X11Ear:
        """An ear of its own connection."""
        return X11Ear(open_display(), on_press)

    def close(self) -> None:
        """Let go of the X server. Idempotent."""
        self._display.close()

    def _top_windows(self) -> list[Any]:
        """The windows of applications: those the window manager lists; without one, the children of the root."""
        root = self._display.screen().root
        listed = root.get_full_property(self._display.intern_atom("_NET_CLIENT_LIST"), X.AnyPropertyType)
        if listed is not None:
            return [self._display.create_resource_object("window", each) for each in listed.value]
        return list(root.query_tree().children)


class X11Window:
    """One window; see `gi_data.desktop.protocol.Window`. For one thread at a time."""

    def __init__(self, display: Display, window: Any, title: str) -> None:
        self.title = title
        self._display, self._window = display, window
        self._lock = threading.Lock()
        self._screen = mss.MSS()

    def grab(self) -> Frame:
        """Its part of the screen, uint8 (H, W, 3). Raises GameError once it is closed, hidden, or off the screen."""
        with self._lock:
            picture = np.frombuffer(self._screen.grab(self._place()).raw, np.uint8)
            height, width = self._size
            return np.ascontiguousarray(picture.reshape(height, width, 4)[..., 2::-1])

    @property
    def is_focused(self) -> bool:
        """Whether keys go to it: it, or a window inside it, has the focus; or it lies under a pointer that has."""
        with self._lock, _asking(self.title):
            focus = self._display.get_input_focus().focus
            if focus == X.PointerRoot:
                focus = self._display.screen().root.query_pointer().child
            return bool(focus) and any(each == self._window for each in _line_of(focus))

    def _place(self) -> dict[str, int]:
        """Where it is on the screen, cut to the screen."""
        with _asking(self.title):
            if self._window.get_attributes().map_state != X.IsViewable:
                raise GameError(f"the window {self.title!r} is hidden", do="Bring it to the front again.")
            shape, root = self._window.get_geometry(), self._display.screen().root
            corner = root.translate_coords(self._window, 0, 0)
        screen = self._display.screen()
        left, top = max(0, corner.x), max(0, corner.y)
        right = min(screen.width_in_pixels, corner.x + shape.width)
        bottom = min(screen.height_in_pixels, corner.y + shape.height)
        if right - left < 2 or bottom - top < 2:
            raise GameError(f"the window {self.title!r} is off the screen", do="Move it back onto the screen.")
        self._size = (bottom - top, right - left)
        return {"left": left, "top": top, "width": right - left, "height": bottom - top}


class X11Hand:
    """Presses by XTEST; see `gi_data.desktop.protocol.Hand`."""

    def __init__(self) -> None:
        self._display = open_display()
        self._lock = threading.Lock()
        self._held = NEUTRAL

    def hold(self, state: InputState) -> None:
        """Hold exactly the keys and buttons of `state`; move and scroll once. Raises GameError without an X server."""
        with self._lock, _asking("the X server"):
            self._change(state)
            if any(state.motion):
                xtest.fake_input(self._display, X.MotionNotify, detail=True, x=state.motion[0], y=state.motion[1])
            for axis in (0, 1):
                for _notch in range(abs(state.wheel[axis])):
                    self._click(_NOTCH[_unit(axis, state.wheel[axis])])
            self._display.sync()

    def release(self) -> None:
        """Let go of everything."""
        with self._lock:
            try:
                self._change(NEUTRAL)
                self._display.sync()
            except (XError, ConnectionClosedError):
                pass  # an X server that is gone holds nothing

    def _change(self, state: InputState) -> None:
        for key in sorted(state.keys ^ self._held.keys):
            xtest.fake_input(self._display, _DOWN[key in state.keys], KEYCODES[key])
        for button in sorted(state.buttons ^ self._held.buttons):
            kind = X.ButtonPress if button in state.buttons else X.ButtonRelease
            xtest.fake_input(self._display, kind, BUTTONS[button])
        self._held = state

    def _click(self, number: int) -> None:
        xtest.fake_input(self._display, X.ButtonPress, number)
        xtest.fake_input(self._display, X.ButtonRelease, number)


def open_display() -> Display:
    """A connection of its own to the X server. Raises GameError without one."""
    try:
        return Display()
    except (DisplayConnectionError, DisplayNameError, ConnectionClosedError) as error:
        do = "Run it where the game runs, with DISPLAY set; without a screen: xvfb-run."
        raise GameError("no X server to play on", got=str(error), expected="a running one", do=do) from error


@contextmanager
def _asking(title: str) -> Iterator[None]:
    try:
        yield
    except XError as error:
        raise GameError(f"the window {title!r} was closed", do="Start the game again.") from error
    except ConnectionClosedError as error:
        raise GameError("the X server is gone", got=str(error), do="Log in again, and start the game.") from error


def _title_of(display: Display, window: Any) -> str | None:
    try:
        name = window.get_full_text_property(display.intern_atom("_NET_WM_NAME")) or window.get_wm_name()
    except XError:  # closed meanwhile
        return None
    return name if isinstance(name, str) else None


def _line_of(window: Any) -> Iterator[Any]:
    """`window` and those it lies in."""
    while window:
        yield window
        window = window.query_tree().parent


def _unit(axis: int, amount: int) -> tuple[int, int]:
    step = 1 if amount > 0 else -1
    return (step, 0) if axis == 0 else (0, step)
