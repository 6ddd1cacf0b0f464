"""`rows`: the lines of owl-control's inputs.csv: `seconds,EVENT,"json"`, read one by one.

It only looks like CSV: the JSON stands between quotes with its own quotes as they are, so the first two commas count
and nothing else. Times are Unix seconds, taken as each line was written; a clock that was set back a little holds its
time until it has caught up.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from gi_data.ingest.limits import MAX_EVENTS, check_file
from gi_model.errors import ClipError

_MOST_BYTES: Final = 2**16  # of one line
_LAST_S: Final = 2**33
_STEP_NS: Final = 1_000_000_000
_HEADER: Final = "timestamp,"


class Row(NamedTuple):
    """One event: its time, its name, and its arguments, as JSON has them."""

    t_ns: int
    kind: str
    args: Any


def rows(path: Path) -> Iterator[Row]:
    """Events in order of time. Raises ClipError naming the line that cannot be read."""
    check_file(path, "owl-control inputs")
    last_ns = 0
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MOST_BYTES):
            number += 1
            if number > MAX_EVENTS:
                raise _wrong(path, number, "too many lines")
            row = _row(line, path, number)
            if row is None:
                continue
            if row.t_ns < last_ns - _STEP_NS:
                raise _wrong(path, number, f"{(last_ns - row.t_ns) / 1e9:.1f} s before the line above")
            last_ns = max(last_ns, row.t_ns)
            yield row._replace(t_ns=last_ns)


def _row(line: bytes, path: Path, number: int) -> Row | None:
    """None for the header and empty lines."""
    try:
        text = line.decode("utf-8").strip()
        if not text or text.startswith(_HEADER):
            return None
        seconds, kind, args = text.split(",", 2)
        time = float(seconds)
        if not 0 <= time < _LAST_S:  # false for NaN, too
            raise ValueError(f"time {seconds[:30]}")
        return Row(round(time * 1e9), kind.strip()[:40], _json(args.strip()))
    except (ValueError, RecursionError) as error:
        raise _wrong(path, number, f"{line[:80]!r} ({str(error)[:80]})") from error


def _json(text: str) -> Any:
    """What stands between the quotes; other writers double the quotes inside, as CSV should."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(text.replace('""', '"'))


def number_of(value: object) -> float:
    """A finite number. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{str(value)[:40]} is no finite number")
    return float(value)


def integer_of(value: object) -> int:
    """A whole number of 32 bits. Raises ValueError."""
    number = number_of(value)
    if number != int(number) or abs(number) > 2**31:
        raise ValueError(f"{number} is no whole number of 32 bits")
    return int(number)


def truth_of(value: object) -> bool:
    """True or false, or 1 or 0. Raises ValueError."""
    if value not in (True, False):
        raise ValueError(f"{str(value)[:40]} is neither true nor false")
    return bool(value)


def _wrong(path: Path, number: int, got: str) -> ClipError:
    expected = 'SECONDS,EVENT,"JSON", in order of time'
    return ClipError(f"line {number} of {path.parent.name}/{path.name} cannot be read", got=got, expected=expected)
