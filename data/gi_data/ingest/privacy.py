"""`find_typed`: stretches in which somebody typed text while a game ran: a chat line, a password.

Bindings alone do not hide text: of "meet at seven", a game on WASD and E would keep "eeasee". So whole stretches are
cut out, labels and frames. What gives typing away is keys the game does not use: within `WINDOW_S`, three different
printable ones, or one and Enter, or Enter twice; Backspace counts as one; two are enough among five taps, for who
plays holds keys down. From there a stretch grows, over presses of
any text keys that follow each other within `PAUSE_S`, as far as `REACH_S` beyond the last such sign, plus a margin.
Play on bound keys only gives no sign and is never cut. A word spelled with bound keys alone cannot be told from play.
Rejected: typing rhythm (experts play faster than people type), a dictionary (languages, passwords).
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gi_data.ingest.events import Event, Press, Release, Snapshot
from gi_model.actions import KEYS, Bindings

WINDOW_S: Final = 5.0
PAUSE_S: Final = 2.0
REACH_S: Final = 5.0
MARGIN_S: Final = 1.0
TAP_S: Final = 0.5  # a key that is held longer is played with
NUM_TAPS: Final = 5
ENOUGH: Final = 3

Stretch = tuple[int, int]

_ENTER: Final = frozenset({"Enter", "NumpadEnter"})
_SYMBOLS: Final = frozenset(
    {"Space", "Backquote", "Minus", "Equal", "BracketLeft", "BracketRight", "Backslash", "Semicolon", "Quote", "Comma"}
    | {"Period", "Slash", "IntlBackslash", "IntlRo", "IntlYen", "NumpadDivide", "NumpadMultiply", "NumpadSubtract"}
    | {"NumpadAdd", "NumpadDecimal"}
)
PRINTABLE: Final = _SYMBOLS | {
    key for key in KEYS if key.startswith(("Key", "Digit")) or (key.startswith("Numpad") and key[6:].isdigit())
}
_TEXT: Final = PRINTABLE | _ENTER | {"Backspace"}
_SECOND_NS: Final = 1_000_000_000
_PRESS, _HELD = "press", "held"


@dataclass(frozen=True)
class Typed:
    """stretches: from, until in ns, rising, apart. unbound_presses: of any control outside the bindings."""

    stretches: tuple[Stretch, ...]
    unbound_presses: int


class _Key(NamedTuple):
    t_ns: int
    control: str
    is_sign: bool
    is_tap: bool


def find_typed(events: Iterable[Event], bindings: Bindings) -> Typed:
    """Find typed text among raw events in order of time, and count the presses of what is not bound."""
    bound = frozenset(bindings.digital.values())
    keys: list[_Key] = []
    latest: dict[str, int] = {}
    num_unbound = 0
    for t_ns, control, change in _changes(events):
        if change == "up":
            if (index := latest.pop(control, None)) is not None and t_ns - keys[index].t_ns < TAP_S * _SECOND_NS:
                keys[index] = keys[index]._replace(is_tap=True)
            continue
        num_unbound += change == "down" and control not in bound
        if control in _TEXT:
            latest.setdefault(control, len(keys))
            keys.append(_Key(t_ns, control, is_sign=control not in bound, is_tap=False))
    return Typed(tuple(_merge(_grow(keys))), num_unbound)


def ticks_within(stretches: Sequence[Stretch], edges_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which ticks between edges int64 (T + 1,) share a moment with a stretch; bool (T,)."""
    inside = np.zeros(max(0, len(edges_ns) - 1), dtype=bool)
    for start, end in stretches:
        inside[np.searchsorted(edges_ns[1:], start, "right") : np.searchsorted(edges_ns[:-1], end, "left")] = True
    return inside


def _changes(events: Iterable[Event]) -> Iterator[tuple[int, str, str]]:
    """Time and control of all that goes down or up, or is down and pressed again: a key that is held repeats."""
    held: dict[str, set[str]] = {"keyboard": set(), "mouse": set(), "gamepad": set()}
    down: set[str] = set()
    for event in events:
        match event:
            case Press(t_ns, control):
                yield t_ns, control, "again" if control in down else "down"
                down.add(control)
            case Release(t_ns, control):
                yield t_ns, control, "up"
                down.discard(control)
            case Snapshot(t_ns, device, now):
                yield from ((t_ns, control, "up") for control in sorted(held[device] - now))
                yield from ((t_ns, control, "down") for control in sorted(now - down))
                down = (down - (held[device] - now)) | now
                held[device] = set(now)


def _cores(keys: Sequence[_Key]) -> Iterator[tuple[int, int]]:
    """First and last sign, by index, of every window with enough of them."""
    first, window, signs = 0, Counter[str](), deque[int]()
    for last, key in enumerate(keys):
        window.update(_counts(key))
        if key.is_sign:
            signs.append(last)
        while key.t_ns - keys[first].t_ns > WINDOW_S * _SECOND_NS:
            window.subtract(_counts(keys[first]))
            first += 1
        while signs and signs[0] < first:
            signs.popleft()
        if signs and _score(window) >= ENOUGH:
            yield signs[0], signs[-1]


def _counts(key: _Key) -> tuple[str, ...]:
    """What a key counts as: a press, perhaps a long one, and itself if it is a sign."""
    name = "Enter" if key.control in _ENTER else key.control
    return (_PRESS, *([] if key.is_tap else [_HELD]), *([name] if key.is_sign else []))


def _score(window: Counter[str]) -> int:
    """How much the keys of a window look like text."""
    num_enters, num_erased = window["Enter"], window["Backspace"]
    num_printed = window[_PRESS] - num_enters - num_erased
    if num_printed < 2 and num_enters + num_erased:
        return 0  # Enter and Backspace alone are a menu
    distinct = sum(1 for name, count in window.items() if count > 0 and name in PRINTABLE)
    if distinct == 2 and num_printed >= NUM_TAPS and not window[_HELD]:
        return ENOUGH
    return distinct + (2 if num_enters else 0) + (num_enters > 1) + (num_erased > 0)


def _grow(keys: Sequence[_Key]) -> Iterator[Stretch]:
    """A stretch around each core: also what was typed before its first sign and after its last one."""
    margin, done = round(MARGIN_S * _SECOND_NS), -1
    for first, last in _cores(keys):
        if last > done:
            start, done = _furthest(keys, first, -1), _furthest(keys, last, 1)
            yield keys[start].t_ns - margin, keys[done].t_ns + margin


def _furthest(keys: Sequence[_Key], index: int, step: int) -> int:
    """Index of the last key that still belongs to the text at `index`, going one way."""
    sign_ns = keys[index].t_ns
    while 0 <= index + step < len(keys):
        here, there = keys[index], keys[index + step]
        if abs(there.t_ns - here.t_ns) > PAUSE_S * _SECOND_NS or abs(there.t_ns - sign_ns) > REACH_S * _SECOND_NS:
            break
        sign_ns = there.t_ns if there.is_sign else sign_ns
        index += step
    return index


def _merge(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    """Stretches that touch become one."""
    current: Stretch | None = None
    for start, end in sorted(stretches):
        if current is not None and start <= current[1]:
            current = (current[0], max(end, current[1]))
            continue
        if current is not None:
            yield current
        current = (start, end)
    if current is not None:
        yield current
