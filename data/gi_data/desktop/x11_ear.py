"""`X11Ear`: keyboard and mouse as a person uses them, by raw events of the XInput2 extension.

Raw events come whoever has the focus, are what the device said (counts of the mouse, not places of the pointer, so a
game that locks the pointer is heard right). python-xlib knows the events but not their contents; those are read here
(XI2proto.h, xXIRawEvent).
"""

import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from select import select
from typing import Any, Final

from Xlib.display import Display
from Xlib.error import ConnectionClosedError, XError
from Xlib.ext import ge, xinput

from gi_data.desktop.x11_keys import BUTTONS_BY_NUMBER, KEYS_BY_CODE, WHEEL
from gi_data.ingest.events import Event, Move, Press, Release, Scroll, Snapshot

_MASK: Final = (
    xinput.RawKeyPressMask
    | xinput.RawKeyReleaseMask
    | xinput.RawButtonPressMask
    | xinput.RawButtonReleaseMask
    | xinput.RawMotionMask
)
_HEADER: Final = struct.Struct("=HIIHHII")  # device, time, detail, source, words of the mask, flags, padding
_WAIT_S: Final = 0.1
_STALE_MS: Final = 10_000  # a time further back than that is of another clock


class X11Ear:
    """See `gi_data.desktop.protocol.Ear`. A thread of its own reads `display`, which is its own."""

    def __init__(self, display: Display, on_press: Callable[[str], None]) -> None:
        self._display, self._on_press = display, on_press
        self._events: deque[Event] = deque()
        self._is_closed = False
        self._display.xinput_query_version()  # raw events of every window come from version 2.1 on
        self._display.screen().root.xinput_select_events([(xinput.AllMasterDevices, _MASK)])
        self._events.append(Snapshot(time.monotonic_ns(), "keyboard", self._held_keys()))
        self._thread = threading.Thread(target=self._listen, name="ear", daemon=True)
        self._thread.start()

    def take(self) -> list[Event]:
        """What happened since the last call."""
        taken = []
        while self._events:
            taken.append(self._events.popleft())
        return taken

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._is_closed = True
        self._thread.join()
        self._display.close()

    def _held_keys(self) -> frozenset[str]:
        """What was down before anybody listened."""
        codes = enumerate(bit for byte in self._display.query_keymap() for bit in f"{byte:08b}"[::-1])
        return frozenset(KEYS_BY_CODE[code] for code, bit in codes if bit == "1" and code in KEYS_BY_CODE)

    def _listen(self) -> None:
        try:
            while not self._is_closed:
                if not self._display.pending_events():
                    select([self._display.fileno()], [], [], _WAIT_S)
                    continue
                event = self._display.next_event()
                if event.type == ge.GenericEventCode and isinstance(event.data, bytes):
                    self._hear(event)
        except (ConnectionClosedError, XError, OSError):
            return  # the X server is gone: whoever looks at a window is told

    def _hear(self, event: Any) -> None:
        _device, server_ms, detail, _source, words, _flags, _padding = _HEADER.unpack_from(event.data)
        t_ns = _monotonic_ns(server_ms)
        if self._events:
            t_ns = max(t_ns, self._events[-1].t_ns)
        match event.evtype:
            case xinput.RawKeyPress | xinput.RawKeyRelease:
                self._switch(KEYS_BY_CODE.get(detail), t_ns, is_down=event.evtype == xinput.RawKeyPress)
            case xinput.RawButtonPress if detail in WHEEL:
                self._events.append(Scroll(t_ns, *WHEEL[detail]))
            case xinput.RawButtonPress | xinput.RawButtonRelease:
                self._switch(BUTTONS_BY_NUMBER.get(detail), t_ns, is_down=event.evtype == xinput.RawButtonPress)
            case xinput.RawMotion if any(moved := _motion(event.data, words)):
                self._events.append(Move(t_ns, *moved))

    def _switch(self, control: str | None, t_ns: int, *, is_down: bool) -> None:
        if control is None:
            return
        self._events.append((Press if is_down else Release)(t_ns, control))
        if is_down:
            self._on_press(control)


def _motion(data: bytes, words: int) -> tuple[float, float]:
    """Raw counts (right, down): after the mask, a value of each valuator that is set, first adjusted, then raw."""
    at = _HEADER.size
    mask = int.from_bytes(data[at : at + 4 * words], "little")
    values = at + 4 * words + 8 * mask.bit_count()
    moved = []
    for axis in (0, 1):
        place = (mask & ((1 << axis) - 1)).bit_count()
        whole, part = struct.unpack_from("=iI", data, values + 8 * place) if mask >> axis & 1 else (0, 0)
        moved.append(whole + part / 2**32)
    return moved[0], moved[1]


def _monotonic_ns(server_ms: int) -> int:
    """The X server's time, which counts milliseconds of the monotonic clock in 32 bits, as ours; else now."""
    now_ns = time.monotonic_ns()
    age_ms = (now_ns // 1_000_000 - server_ms) % 2**32
    return now_ns - age_ms * 1_000_000 if age_ms < _STALE_MS else now_ns
