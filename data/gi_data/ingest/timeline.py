"""Events and frames of any rate -> our clock: one frame and one input state a tick.

A tick's state is what was held at any moment of it: a tap between two ticks stays. Commands of direct actuators are the
last that were given. Motion and wheel are sums; what lasts is spread evenly, and rounded so that the whole stays exact:
a stream that already has our rate comes out unchanged. A tick's frame is the newest one at or before its start, found
by time stamp: captures that claim a steady rate do not have one.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gi_data.ingest.events import Command, Deflect, Event, Label, Move, Point, Press, Release, Scroll, Snapshot
from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, Gamepad, InputState
from gi_model.errors import ClipError
from gi_model.frames import Frame

Pair = tuple[float, float]
_DEVICES = {"keyboard": frozenset(KEYS), "mouse": frozenset(MOUSE_BUTTONS), "gamepad": frozenset(GAMEPAD_BUTTONS)}
_SECOND_NS = 1_000_000_000
DEADBAND = 0.12  # a stick that rests drifts less than this


class TimedFrame(NamedTuple):
    """A frame that was on the screen from t_ns on; `rgb` converts it, so that unused ones cost nothing."""

    t_ns: int
    rgb: Callable[[], Frame]


class Tick(NamedTuple):
    """What happened from t_ns until the next tick."""

    t_ns: int
    state: InputState
    known: bool


def tick_edges(start_ns: int, end_ns: int, fps: float) -> NDArray[np.int64]:
    """Edges int64 (T + 1,) of the ticks between two times; edge i is i ticks after start_ns, rounded once."""
    rate = Fraction(fps).limit_denominator(1001)
    num_ticks = max(0, int((end_ns - start_ns + 1) * rate // _SECOND_NS))  # an edge may be rounded to just before
    edges = [start_ns + round(Fraction(i * _SECOND_NS) / rate) for i in range(num_ticks + 1)]
    return np.array(edges, dtype=np.int64)


def frames_at(frames: Iterable[TimedFrame], times_ns: Iterable[int]) -> Iterator[Frame]:
    """The newest frame at or before each time; both rise. Stops where the frames end; the first serves what is before.

    The last frame serves every time from its own on: callers bound the times.
    """
    source = iter(frames)
    current = next(source, None)
    if current is None:
        return
    upcoming = next(source, None)
    shown: Frame | None = None
    for t_ns in times_ns:
        while upcoming is not None and upcoming.t_ns <= t_ns:
            current, upcoming, shown = upcoming, next(source, None), None
        if shown is None:
            shown = current.rgb()
        yield shown


def ticks(events: Iterable[Event], edges_ns: NDArray[np.int64]) -> Iterator[Tick]:
    """Input states between edges int64 (T + 1,): T ticks. Events come in order of time; early ones say what is held."""
    if not len(edges_ns):
        return
    hands, source = Hands(), _Upcoming(events)
    for event in source.until(int(edges_ns[0])):
        hands.apply(event)
    hands.forget_movement(int(edges_ns[0]))
    for start_ns, end_ns in zip(edges_ns[:-1].tolist(), edges_ns[1:].tolist(), strict=True):
        for event in source.until(start_ns + 1):
            hands.apply(event)
        hands.begin_tick()
        for event in source.until(end_ns):
            hands.apply(event)
        yield Tick(start_ns, hands.state(end_ns), hands.known_all_along)


class _Upcoming:
    """Events that are still to come."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = iter(events)
        self._next = next(self._events, None)

    def until(self, t_ns: int) -> Iterator[Event]:
        """Those before `t_ns`. Raises ClipError if they do not come in order of time."""
        while self._next is not None and self._next.t_ns < t_ns:
            event, self._next = self._next, next(self._events, None)
            yield event
            if self._next is not None and self._next.t_ns < event.t_ns:
                what = "input events are not in order of time"
                raise ClipError(what, got=f"{self._next} after {event.t_ns}", do="Sort them in the importer.")


@dataclass
class _Flow:
    """Something that is summed up: motion or wheel, some of it still under way."""

    total: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))
    taken: tuple[int, int] = (0, 0)
    lasting: list[tuple[int, int, int, Move | Scroll]] = field(default_factory=list)  # a heap by end

    def add(self, event: Move | Scroll, serial: int) -> None:
        """Count an event; one that lasts is counted as it goes."""
        if event.duration_ns:
            heapq.heappush(self.lasting, (event.t_ns + event.duration_ns, serial, event.t_ns, event))
        else:
            self.total = (self.total[0] + Fraction(event.dx), self.total[1] + Fraction(event.dy))

    def take(self, until_ns: int) -> tuple[int, int]:
        """Whole counts since the last call, up to a time."""
        while self.lasting and self.lasting[0][0] <= until_ns:
            event = heapq.heappop(self.lasting)[-1]
            self.total = (self.total[0] + Fraction(event.dx), self.total[1] + Fraction(event.dy))
        x, y = self.total
        for end_ns, _, start_ns, event in self.lasting:
            share = Fraction(max(0, until_ns - start_ns), end_ns - start_ns)
            x, y = x + share * Fraction(event.dx), y + share * Fraction(event.dy)
        counts = (round(x) - self.taken[0], round(y) - self.taken[1])
        self.taken = (self.taken[0] + counts[0], self.taken[1] + counts[1])
        return counts


class Hands:
    """What is held now, and what was held at some moment of the tick."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._touched: set[str] = set()
        self._motion, self._wheel = _Flow(), _Flow()
        self._cursor: Pair | None = None
        self._deflection: dict[str, Pair] = {}
        self._furthest: dict[str, Pair] = {}
        self._commands: tuple[float, ...] = ()
        self._last_commands: tuple[float, ...] = ()  # that were given for some of the tick
        self._has_pad: bool | None = None  # played on a gamepad; None: not a thing was touched yet
        self._known = self.known_all_along = True
        self._num_flows = 0

    def forget_movement(self, t_ns: int) -> None:
        """What moved before t_ns is in no tick."""
        self._motion.take(t_ns)
        self._wheel.take(t_ns)

    def begin_tick(self) -> None:
        """Only what is held now counts."""
        self._touched = set(self._held)
        self._furthest = dict(self._deflection)
        self._last_commands = self._commands
        self.known_all_along = self._known

    def apply(self, event: Event) -> None:
        """Take one event into account."""
        match event:
            case Press(_, control):
                self._hold(frozenset({control}))
            case Release(_, control):
                self._held.discard(control)
            case Snapshot(_, device, held):
                self._held -= _DEVICES[device] - held
                self._hold(held)
            case Move():
                self._num_flows += 1
                self._motion.add(event, self._num_flows)
            case Scroll():
                self._num_flows += 1
                self._wheel.add(event, self._num_flows)
            case Point(_, position):
                self._cursor = position
            case Deflect():
                self._deflect(event)
            case Command(_, commands):
                self._commands = commands
                self._last_commands = commands or self._last_commands
            case Label(_, known):
                self._known = known
                self.known_all_along &= known

    def state(self, end_ns: int) -> InputState:
        """The state of the tick that ends now: of the gamepad if that was used last, else without it."""
        held = frozenset(self._touched)
        pad, rest = held & _DEVICES["gamepad"], held - _DEVICES["gamepad"]
        motion, wheel = self._motion.take(end_ns), self._wheel.take(end_ns)
        if pad or any(abs(x) > DEADBAND for pair in self._furthest.values() for x in pair):
            self._has_pad = True
        elif rest or any(motion) or any(wheel):
            self._has_pad = False
        return InputState(
            keys=rest & _DEVICES["keyboard"],
            buttons=rest & _DEVICES["mouse"],
            motion=motion,
            wheel=wheel,
            cursor=self._cursor,
            gamepad=Gamepad(pad, **self._furthest) if self._has_pad else None,
            commands=self._last_commands,
        )

    def _hold(self, controls: frozenset[str]) -> None:
        self._held |= controls
        self._touched |= controls

    def _deflect(self, event: Deflect) -> None:
        if self._has_pad is None:
            self._has_pad = True
        for name in ("left_stick", "right_stick", "triggers"):
            if (position := getattr(event, name)) is not None:
                self._deflection[name] = position
                self._furthest[name] = _further(name, self._furthest.get(name, (0.0, 0.0)), position)


def _further(name: str, a: Pair, b: Pair) -> Pair:
    """The larger deflection; of triggers, each its own."""
    if name == "triggers":
        return max(a[0], b[0]), max(a[1], b[1])
    return a if a[0] ** 2 + a[1] ** 2 > b[0] ** 2 + b[1] ** 2 else b
