"""`survey`: what must be known of a whole OWAMcap recording before its events can be told: one pass over the messages.

Which of two mouse streams counts: `mouse/raw` is what the hand did, `mouse` is where Windows put the pointer; both tell
of buttons and wheel. Where the captured window lies, and when another one had the focus: what is pressed then is not
meant for the picture. When a game locked the pointer: the mouse moves, the pointer stays.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gi_data.ingest.limits import check_span
from gi_data.ingest.owa_container import Message
from gi_data.ingest.owa_fields import Fields
from gi_data.ingest.owa_screens import KINDS as SCREEN_KINDS
from gi_data.ingest.owa_screens import Screens
from gi_model.errors import ClipError

INPUT_KINDS: Final = frozenset({"KeyboardEvent", "KeyboardState", "MouseEvent", "MouseState", "RawMouseEvent"})
BUTTON_FLAGS: Final = 0x03FF
WHEEL, SIDE_WHEEL = 0x0400, 0x0800
_BLOCK_NS: Final = 500_000_000
_ENOUGH_COUNTS: Final = 100  # below that, a block says nothing of the pointer
_BORDER: Final = (32, 48)  # a window's frame, which captures of one window leave out


class Rect(NamedTuple):
    """Corners in pixels of the desktop."""

    left: int
    top: int
    right: int
    bottom: int


class Change(NamedTuple):
    """From t_ns on something is (or is not) so."""

    t_ns: int
    now: bool


@dataclass(frozen=True)
class Desktop:
    """size: of what was captured. focused (of the one window that was captured), locked: changes, in order."""

    first_ns: int
    last_ns: int
    size: tuple[int, int]
    raw_motion: bool
    raw_buttons: bool
    raw_wheel: bool
    focused: tuple[Change, ...]
    locked: tuple[Change, ...]


def view_of(rect: Rect, size: tuple[int, int]) -> Rect | None:
    """Where on the desktop a picture of `size` lies if it is of the window at `rect`; None if it cannot be.

    Captures of one window leave its invisible frame out: as much on the left as on the right, the rest below.
    """
    side, below = rect.right - rect.left - size[0], rect.bottom - rect.top - size[1]
    if not (0 <= side <= _BORDER[0] and 0 <= below <= _BORDER[1]):
        return None
    left = rect.left + side // 2
    return Rect(left, rect.top, left + size[0], rect.top + size[1])


class _Window(NamedTuple):
    """Where the window with the focus lay, from its first report to its last."""

    first_ns: int
    last_ns: int
    rect: Rect


class RawMouse(NamedTuple):
    """One mouse/raw message, of any version."""

    x: int
    y: int
    is_absolute: bool
    flags: int
    data: int
    device: int


def read_raw(message: Message) -> RawMouse:
    """Read one. Before 0.5.5 motion was dx, dy, and the flags stood, by mistake, where the data belong."""
    fields = Fields(message.kind, message.data)
    is_old = not fields.has("last_x")
    device = fields.integer("device_handle", default=0)
    x, y = fields.integer("last_x", "dx"), fields.integer("last_y", "dy")
    if is_old:
        return RawMouse(x, y, False, fields.integer("button_data", default=0), 0, device)
    flags, data = fields.integer("button_flags", default=0), fields.integer("button_data", default=0)
    return RawMouse(x, y, bool(fields.integer("us_flags", default=0) & 1), flags, data, device)


def read_rect(message: Message) -> Rect:
    """The place of a window; its title is not looked at."""
    corners = Fields(message.kind, message.data).integers("rect")
    if len(corners) != 4:
        raise ClipError("a WindowInfo message has a wrong rect", got=corners[:5], expected="four whole numbers")
    return Rect(*corners)


def survey(source: Iterable[Message], screens: Screens) -> Desktop:
    """Read all messages once; those of the screen go to `screens`. Raises ClipError if there are no inputs."""
    seen = _Seen()
    for message in source:
        if message.kind in SCREEN_KINDS:
            screens.add(message)
        else:
            seen.add(message)
    if not seen.first_ns:
        raise ClipError("recording without inputs", got="no keyboard or mouse messages")
    screens.videos()
    return seen.desktop(screens.size())


@dataclass
class _Block:
    """Half a second of the mouse: how far it moved, and between which positions the pointer was."""

    raw: int = 0
    xs: tuple[int, int] | None = None
    ys: tuple[int, int] | None = None

    def point(self, x: int, y: int) -> None:
        (left, right), (top, bottom) = self.xs or (x, x), self.ys or (y, y)
        self.xs, self.ys = (min(left, x), max(right, x)), (min(top, y), max(bottom, y))

    def is_locked(self) -> bool | None:
        """Whether the pointer stayed although the mouse moved; None: it did not move enough to tell."""
        if self.raw < _ENOUGH_COUNTS:
            return None
        extent = sum(high - low for low, high in (self.xs or (0, 0), self.ys or (0, 0)))
        return extent * 10 < self.raw


@dataclass
class _Seen:
    first_ns: int = 0
    last_ns: int = 0
    flags: int = 0
    has_raw_motion: bool = False
    has_raw_wheel: bool = False
    blocks: dict[int, _Block] = field(default_factory=dict)
    windows: list[_Window] = field(default_factory=list)

    def add(self, message: Message) -> None:
        if message.kind in INPUT_KINDS:
            self.first_ns, self.last_ns = self.first_ns or message.t_ns, message.t_ns
            check_span(self.first_ns - 1, self.last_ns, "recording")
        block = message.t_ns // _BLOCK_NS
        match message.kind:
            case "RawMouseEvent":
                self._raw(read_raw(message), block)
            case "MouseEvent":
                fields = Fields(message.kind, message.data)
                self.blocks.setdefault(block, _Block()).point(fields.integer("x"), fields.integer("y"))
            case "WindowInfo":
                self._window(message.t_ns, read_rect(message))

    def _raw(self, raw: RawMouse, block: int) -> None:
        self.flags |= raw.flags
        self.has_raw_motion |= raw.x != 0 or raw.y != 0
        self.has_raw_wheel |= bool(raw.flags & (WHEEL | SIDE_WHEEL)) and raw.data != 0
        if not raw.is_absolute:
            self.blocks.setdefault(block, _Block()).raw += abs(raw.x) + abs(raw.y)

    def _window(self, t_ns: int, rect: Rect) -> None:
        if self.windows and self.windows[-1].rect == rect:
            self.windows[-1] = self.windows[-1]._replace(last_ns=t_ns)
        else:
            self.windows.append(_Window(t_ns, t_ns, rect))

    def desktop(self, size: tuple[int, int]) -> Desktop:
        return Desktop(
            first_ns=self.first_ns,
            last_ns=self.last_ns,
            size=size,
            raw_motion=self.has_raw_motion,
            raw_buttons=bool(self.flags & BUTTON_FLAGS),
            raw_wheel=self.has_raw_wheel,
            focused=tuple(_focus(self.windows, size)),
            locked=tuple(_changes(_locks(self.blocks))),
        )


def _focus(windows: Sequence[_Window], size: tuple[int, int]) -> Iterable[Change]:
    """When the captured window had the focus; nothing if it was the screen that was captured.

    Recorders ask once a second: the focus may have been lost right after the last report of it.
    """
    views = [view_of(window.rect, size) for window in windows]
    if all(view in (None, Rect(0, 0, *size)) for view in views):
        return ()
    lost_ns = [0, *(window.last_ns + 1 for window in windows[:-1])]
    return _changes(
        (window.first_ns, True) if view else (lost, False)
        for window, view, lost in zip(windows, views, lost_ns, strict=True)
    )


def _locks(blocks: dict[int, _Block]) -> Iterator[tuple[int, bool]]:
    """Blocks that say whether the pointer is locked, by their first moment."""
    for number in sorted(blocks):
        if (is_locked := blocks[number].is_locked()) is not None:
            yield number * _BLOCK_NS, is_locked


def _changes(states: Iterable[tuple[int, bool]]) -> Iterator[Change]:
    """Where a state differs from the one before; the first one always."""
    before: bool | None = None
    for t_ns, now in states:
        if now != before:
            yield Change(t_ns, now)
        before = now
