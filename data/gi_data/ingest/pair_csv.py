"""`InputsCsv`: events in a small text file that anyone can write; docs/ingest.md describes it for people.

    # game: my-game
    0.250,press,KeyW
    0.300,move,12,-3
    1.900,release,KeyW

The first column is the video's time in seconds and never falls. Read line by line, each time anew: a file may be large.
"""

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gi_data.ingest.events import Deflect, Event, Move, Point, Press, Release, Scroll
from gi_data.ingest.limits import MAX_EVENTS, MAX_RECORDING_S, check_file
from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS
from gi_model.errors import ClipError

CONTROLS: Final = frozenset((*KEYS, *MOUSE_BUTTONS, *GAMEPAD_BUTTONS))
HEADER: Final = ("game", "license", "consent", "demonstrator")
MAX_LINE: Final = 1000
MAX_COUNTS: Final = 1e6


class InputsCsv:
    """One file, checked line by line while it is read. Raises ClipError naming file and line."""

    def __init__(self, path: Path) -> None:
        self._path = check_file(path, "the file of inputs")

    def header(self) -> dict[str, str]:
        """What leading lines such as `# game: NAME` say."""
        facts = {}
        for _, line in self._lines():
            if not line.startswith("#"):
                break
            name, _, value = line[1:].partition(":")
            if name.strip().lower() in HEADER and value.strip():
                facts[name.strip().lower()] = value.strip()[:200]
        return facts

    def check(self) -> tuple[int, Counter[str]]:
        """Read all of it; its last time in ns, and how often it names controls that are none."""
        reading, last_ns = _Reading(), 0
        for number, row in self._rows():
            last_ns = round(float(row[0]) * 1e9)
            self._event(row, number, reading)
        return last_ns, +reading.unknown

    def events(self) -> Iterator[Event]:
        """Input events in order of time; unknown controls are left out."""
        reading = _Reading()
        for number, row in self._rows():
            if (event := self._event(row, number, reading)) is not None:
                yield event

    def _lines(self) -> Iterator[tuple[int, str]]:
        try:
            with self._path.open(encoding="utf-8-sig", newline=None) as file:
                number = 0
                while line := file.readline(MAX_LINE):
                    number += 1
                    if len(line) == MAX_LINE:
                        raise self._damaged(number, "a line without end", f"at most {MAX_LINE} characters")
                    if stripped := line.strip():
                        yield number, stripped
        except (OSError, UnicodeDecodeError) as error:
            raise ClipError(f"{self._path.name} is no text", got=str(error)[:200], expected="UTF-8") from error

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Number and columns of each line that is an event, in order of time."""
        last_s = -math.inf
        for count, (number, line) in enumerate(self._lines()):
            if count > MAX_EVENTS:
                raise self._damaged(number, "too many lines", f"at most {MAX_EVENTS}")
            if line.startswith("#") or (last_s == -math.inf and line.startswith("t_s")):
                continue
            row = self._split(line, number)
            time_s = self._number(row[0], number, MAX_RECORDING_S)
            if time_s < last_s:
                raise self._damaged(number, f"{time_s} s after {last_s} s", "times that do not fall")
            last_s = time_s
            yield number, row

    def _split(self, line: str, number: int) -> list[str]:
        try:
            (row,) = csv.reader([line], strict=True)
        except (csv.Error, ValueError) as error:
            raise self._damaged(number, str(error), "columns with commas between them") from error
        if len(row) < 2:
            raise self._damaged(number, f"{len(row)} column", "time, event, ...")
        return [column.strip() for column in row]

    def _event(self, row: list[str], number: int, reading: "_Reading") -> Event | None:
        """The event of a line; None where its control is unknown."""
        kind, values = row[1].lower(), row[2:]
        if kind not in _READERS:
            raise self._damaged(number, repr(row[1][:40]), f"one of {', '.join(_READERS)}")
        num_values, read = _READERS[kind]
        if len(values) != num_values:
            raise self._damaged(number, f"{len(row)} columns", f"{num_values + 2} for {kind}")
        try:
            return read(reading, round(float(row[0]) * 1e9), values)
        except ValueError as error:
            raise self._damaged(number, ",".join(row)[:80], str(error)) from error

    def _number(self, text: str, number: int, limit: float) -> float:
        try:
            return _within(text, -limit, limit)
        except ValueError as error:
            raise self._damaged(number, repr(text[:40]), str(error)) from error

    def _damaged(self, number: int, got: str, expected: str) -> ClipError:
        return ClipError(f"{self._path.name}, line {number}, cannot be read", got=got, expected=expected)


@dataclass
class _Reading:
    """What a pass over the lines has to remember, and what a line becomes."""

    unknown: Counter[str] = field(default_factory=Counter)
    triggers: tuple[float, float] = (0.0, 0.0)

    def press(self, t_ns: int, values: list[str]) -> Event | None:
        return Press(t_ns, values[0]) if self._is_known(values[0]) else None

    def release(self, t_ns: int, values: list[str]) -> Event | None:
        return Release(t_ns, values[0]) if self._is_known(values[0]) else None

    def move(self, t_ns: int, values: list[str]) -> Event:
        return Move(t_ns, *_pair(values, -MAX_COUNTS, MAX_COUNTS))

    def scroll(self, t_ns: int, values: list[str]) -> Event:
        return Scroll(t_ns, *_pair(values, -MAX_COUNTS, MAX_COUNTS))

    def cursor(self, t_ns: int, values: list[str]) -> Event:
        return Point(t_ns, None if values == ["", ""] else _pair(values, 0.0, 1.0))

    def stick(self, t_ns: int, values: list[str]) -> Event:
        position = _pair(values[1:], -1.0, 1.0)
        return Deflect(t_ns, left_stick=position) if _is_left(values[0]) else Deflect(t_ns, right_stick=position)

    def trigger(self, t_ns: int, values: list[str]) -> Event:
        amount = _within(values[1], 0.0, 1.0)
        self.triggers = (amount, self.triggers[1]) if _is_left(values[0]) else (self.triggers[0], amount)
        return Deflect(t_ns, triggers=self.triggers)

    def _is_known(self, control: str) -> bool:
        self.unknown[control[:40]] += control not in CONTROLS
        return control in CONTROLS


_READERS: Final[Mapping[str, tuple[int, Callable[[_Reading, int, list[str]], Event | None]]]] = {
    "press": (1, _Reading.press),
    "release": (1, _Reading.release),
    "move": (2, _Reading.move),
    "scroll": (2, _Reading.scroll),
    "stick": (3, _Reading.stick),
    "trigger": (2, _Reading.trigger),
    "cursor": (2, _Reading.cursor),
}


def _is_left(side: str) -> bool:
    if side not in ("left", "right"):
        raise ValueError("left or right")
    return side == "left"


def _pair(values: list[str], low: float, high: float) -> tuple[float, float]:
    return _within(values[0], low, high), _within(values[1], low, high)


def _within(text: str, low: float, high: float) -> float:
    """The number that `text` is. Raises ValueError if it is none between low and high."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise ValueError(f"a number from {low:g} to {high:g}")
    return value
