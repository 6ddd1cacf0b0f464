"""`tell`: the messages of an OWAMcap recording as input events, by what `owa_desktop.survey` found out about it.

Presses and releases that the hooks missed are repaired by the snapshots of what is held, taken once a second. A
snapshot is taken a few milliseconds before it is logged, so it has no say over what changed just then. Wheels count in
notches, 120 units each. Positions of the pointer become differences only where there is no raw motion.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from gi_data.ingest.events import Device, Event, Label, Move, Point, Press, Release, Scroll, Snapshot
from gi_data.ingest.owa_container import Message
from gi_data.ingest.owa_desktop import SIDE_WHEEL, WHEEL, Change, Desktop, Rect, read_raw, read_rect, view_of
from gi_data.ingest.owa_fields import Fields
from gi_data.ingest.owa_screens import KINDS as SCREEN_KINDS
from gi_data.ingest.virtual_keys import key_of, keys_of
from gi_model.actions import MOUSE_BUTTONS
from gi_model.errors import ClipError

NOTCH: Final = 120
FRESH_NS: Final = 50_000_000
_MOST_COUNTS: Final = 1_000_000  # of one message
_MOST_NOTCHES: Final = 1000
_FULL: Final = 65_535  # absolute raw positions are parts of the screen
_BUTTONS: Final = dict(zip(("left", "right", "middle", "x1", "x2"), MOUSE_BUTTONS, strict=True))
_FLAGS: Final = tuple(
    (1 << 2 * index + is_up, name, not is_up) for index, name in enumerate(MOUSE_BUTTONS) for is_up in (False, True)
)
_NOTHING: Final[frozenset[str]] = frozenset()


def tell(source: Iterable[Message], desktop: Desktop, unknown: Counter[str]) -> Iterator[Event]:
    """Events in order of time. What has no name is counted in `unknown`. Raises ClipError on what no recorder wrote."""
    teller = _Teller(desktop, unknown)
    for message in source:
        yield from teller.changes_until(message.t_ns)
        if message.kind not in SCREEN_KINDS:
            yield from teller.tell(message)


class _Teller:
    """Where things are while the messages go by."""

    def __init__(self, desktop: Desktop, unknown: Counter[str]) -> None:
        self._desktop, self._unknown = desktop, unknown
        self._focused, self._locked = list(desktop.focused), list(desktop.locked)
        self._has_focus = True
        self._is_locked = False
        self._view = Rect(0, 0, *desktop.size)
        self._pointer: tuple[int, int] | None = None
        self._raw_pointers: dict[int, tuple[int, int]] = {}
        self._shown: tuple[float, float] | None = None
        self._fresh: dict[str, tuple[int, bool]] = {}  # control -> when it last changed, and to what

    def changes_until(self, t_ns: int) -> Iterator[Event]:
        """Gains and losses of the focus and of the pointer up to a time."""
        while (focus := _due(self._focused, t_ns)) is not None:
            yield from self._focus(focus, min(t_ns, max(focus.t_ns, self._desktop.first_ns)))
        while (lock := _due(self._locked, t_ns)) is not None:
            self._is_locked = lock.now
            if lock.now:
                yield from self._point(t_ns, None)

    def tell(self, message: Message) -> Iterator[Event]:
        """Events of one message; none while another window has the focus."""
        match message.kind:
            case "WindowInfo":
                self._view = view_of(read_rect(message), self._desktop.size) or self._view
            case "KeyboardEvent":
                yield from self._heard(self._key(message))
            case "KeyboardState":
                codes = Fields(message.kind, message.data).integers("buttons", "pressed_keys", "pressed_vk_list")
                yield from self._heard(self._snapshot(message.t_ns, "keyboard", keys_of(codes, self._unknown)))
            case "MouseEvent":
                yield from self._heard(self._mouse(message))
            case "MouseState":
                names = Fields(message.kind, message.data).texts("buttons")
                held = frozenset(button for name in names if (button := self._button(name)))
                yield from self._heard(self._snapshot(message.t_ns, "mouse", held))
            case "RawMouseEvent":
                yield from self._heard(self._raw(message))
            case kind:
                self._unknown[f"message {kind[:40]}"] += 1

    def _heard(self, events: Iterator[Event]) -> Iterator[Event]:
        """The events if they were meant for what the picture shows; they are followed in any case."""
        for event in events:
            if self._has_focus:
                yield event

    def _focus(self, change: Change, t_ns: int) -> Iterator[Event]:
        if change.now == self._has_focus:
            return
        self._has_focus = change.now
        yield Label(t_ns, change.now)
        if not change.now:
            yield Snapshot(t_ns, "keyboard", _NOTHING)
            yield Snapshot(t_ns, "mouse", _NOTHING)
            yield from self._point(t_ns, None)

    def _key(self, message: Message) -> Iterator[Event]:
        fields = Fields(message.kind, message.data)
        key, kind = key_of(fields.integer("vk"), self._unknown), fields.text("event_type")
        if kind not in ("press", "release"):
            self._unknown[f"keyboard event {kind[:40]}"] += 1
        elif key is not None:
            yield self._turn(message.t_ns, key, kind == "press")

    def _snapshot(self, t_ns: int, device: Device, held: frozenset[str]) -> Iterator[Event]:
        """What was held a moment ago, corrected by what changed since."""
        is_button = device == "mouse"
        fresh = {
            name: is_down
            for name, (changed_ns, is_down) in self._fresh.items()
            if t_ns - changed_ns < FRESH_NS and name.startswith("Mouse") == is_button
        }
        pressed = {name for name, is_down in fresh.items() if is_down}
        yield Snapshot(t_ns, device, frozenset((held - fresh.keys()) | pressed))

    def _mouse(self, message: Message) -> Iterator[Event]:
        fields, desktop = Fields(message.kind, message.data), self._desktop
        x, y, kind = fields.integer("x"), fields.integer("y"), fields.text("event_type")
        if not desktop.raw_motion and self._pointer is not None and (x, y) != self._pointer:
            yield self._move(message.t_ns, x - self._pointer[0], y - self._pointer[1])
        self._pointer = x, y
        yield from self._point(message.t_ns, None if self._is_locked else self._place(x, y))
        if kind == "click" and not desktop.raw_buttons:
            if button := self._button(fields.text("button")):
                yield self._turn(message.t_ns, button, fields.truth("pressed"))
        elif kind == "scroll" and not desktop.raw_wheel:
            right, up = fields.integer("dx", default=0), fields.integer("dy", default=0)
            yield self._scroll(message.t_ns, _notches(right), -_notches(up))
        elif kind not in ("move", "click", "scroll"):
            self._unknown[f"mouse event {kind[:40]}"] += 1

    def _raw(self, message: Message) -> Iterator[Event]:
        raw = read_raw(message)
        dx, dy = float(raw.x), float(raw.y)
        if raw.is_absolute:
            before = self._raw_pointers.get(raw.device, (raw.x, raw.y))
            self._remember(raw.device, (raw.x, raw.y))
            width, height = self._desktop.size
            dx, dy = (raw.x - before[0]) * width / _FULL, (raw.y - before[1]) * height / _FULL
        if dx or dy:
            yield self._move(message.t_ns, dx, dy)
        for flag, button, is_down in _FLAGS:
            if raw.flags & flag:
                yield self._turn(message.t_ns, button, is_down)
        turned = ((raw.data + 0x8000) % 0x10000 - 0x8000) / NOTCH  # 16 bits with a sign, stored without
        if raw.flags & WHEEL and turned:
            yield self._scroll(message.t_ns, 0, -turned)
        elif raw.flags & SIDE_WHEEL and turned:
            yield self._scroll(message.t_ns, turned, 0)

    def _remember(self, device: int, place: tuple[int, int]) -> None:
        if len(self._raw_pointers) > 100 and device not in self._raw_pointers:
            raise ClipError("recording of absurdly many mice", got=f"more than {len(self._raw_pointers) - 1}")
        self._raw_pointers[device] = place

    def _turn(self, t_ns: int, control: str, is_down: bool) -> Event:
        self._fresh[control] = t_ns, is_down
        return Press(t_ns, control) if is_down else Release(t_ns, control)

    def _button(self, name: str) -> str | None:
        if name not in _BUTTONS:
            self._unknown[f"mouse button {name[:40]}"] += 1
        return _BUTTONS.get(name)

    def _place(self, x: int, y: int) -> tuple[float, float] | None:
        """The pointer in the picture, in [0, 1]; None if it is outside."""
        view = self._view
        place = (x - view.left) / (view.right - view.left), (y - view.top) / (view.bottom - view.top)
        return place if all(0 <= part <= 1 for part in place) else None

    def _point(self, t_ns: int, place: tuple[float, float] | None) -> Iterator[Event]:
        if place != self._shown:
            self._shown = place
            yield Point(t_ns, place)

    def _move(self, t_ns: int, dx: float, dy: float) -> Move:
        if max(abs(dx), abs(dy)) > _MOST_COUNTS:
            raise ClipError("a mouse moved absurdly far", got=(dx, dy), expected=f"at most {_MOST_COUNTS} counts")
        return Move(t_ns, dx, dy)

    def _scroll(self, t_ns: int, dx: float, dy: float) -> Scroll:
        if max(abs(dx), abs(dy)) > _MOST_NOTCHES:
            raise ClipError("a wheel turned absurdly far", got=(dx, dy), expected=f"at most {_MOST_NOTCHES} notches")
        return Scroll(t_ns, dx, dy)


def _notches(amount: int) -> float:
    """Notches of a scroll event, which counts notches; units of 120 are told by being that many."""
    return amount / NOTCH if abs(amount) >= NOTCH else amount


def _due(changes: list[Change], t_ns: int) -> Change | None:
    return changes.pop(0) if changes and changes[0].t_ns <= t_ns else None
