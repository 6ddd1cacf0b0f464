"""`PageChunk`: half a second of play as a web page sends it: input events and pictures, with the game's own times.

    u32 length of the head · head, JSON: {from_us, held, events, frames: [[t_us, bytes], ...]} · the JPEGs

An event is [t_us, "down" | "up", CONTROL] or [t_us, "move" | "wheel", dx, dy]. `held` repairs what a lost chunk
swallowed. Pages are strangers: everything is checked as it arrives, pictures are decoded, and a control that the game
does not use is refused, so that no such key ever touches the disk. Rejected: JSON with base64 (a third more bytes),
video made by the page (WebCodecs holds frames back, and a tab that closes loses them).
"""

import json
import struct
from dataclasses import dataclass
from typing import Any, Final, Self

import simplejpeg

from gi_data.ingest.events import Event, Move, Press, Release, Scroll, Snapshot
from gi_model.actions import KEYS, MOUSE_BUTTONS, Bindings
from gi_model.errors import ClipError
from gi_model.frames import Frame

MAX_CHUNK_BYTES: Final = 1024 * 1024
MAX_EVENTS: Final = 2000
MAX_FRAMES: Final = 240
MAX_T_US: Final = 24 * 3600 * 1_000_000
MAX_COUNTS: Final = 2**15 - 1
_LENGTH: Final = struct.Struct("<I")
_HEAD_FIELDS: Final = {"from_us", "held", "events", "frames"}


@dataclass(frozen=True, slots=True)
class PageChunk:
    """from_us: when it began; held: what was held then; events and pictures (t_us, JPEG), each in order of time."""

    from_us: int
    held: frozenset[str]
    events: tuple[Event, ...]
    pictures: tuple[tuple[int, bytes], ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a chunk; pictures are not decoded. Raises ClipError on anything else."""
        try:
            if not _LENGTH.size <= len(data) <= MAX_CHUNK_BYTES:
                raise ValueError(f"{len(data)} bytes; at most {MAX_CHUNK_BYTES} are taken")
            first = _LENGTH.size + _LENGTH.unpack_from(data)[0]
            head = json.loads(data[_LENGTH.size : first])
            if not isinstance(head, dict) or set(head) != _HEAD_FIELDS:
                raise ValueError(f"a head has {sorted(_HEAD_FIELDS)}")
            if len(head["events"]) > MAX_EVENTS or len(head["frames"]) > MAX_FRAMES:
                raise ValueError(f"at most {MAX_EVENTS} events and {MAX_FRAMES} pictures are taken")
            from_us = _time(head["from_us"], 0)
            events = tuple(_events(head["events"], from_us))
            return cls(
                from_us, frozenset(map(_control, head["held"])), events, tuple(_cut(data, first, head["frames"]))
            )
        except (ValueError, TypeError, KeyError, RecursionError, struct.error) as error:
            raise ClipError("not a chunk of play", got=str(error)[:200], expected="docs/serving.md") from error

    @property
    def all_events(self) -> tuple[Event, ...]:
        """The events, after what was held when the chunk began."""
        t_ns = self.from_us * 1000
        keys, buttons = self.held & frozenset(KEYS), self.held & frozenset(MOUSE_BUTTONS)
        return (Snapshot(t_ns, "keyboard", keys), Snapshot(t_ns, "mouse", buttons), *self.events)

    def check(self, bindings: Bindings, *, height: int, width: int) -> Self:
        """Return the chunk if only bound controls are in it and each picture decodes. Raises ClipError."""
        pressed = {event.control for event in self.events if isinstance(event, Press | Release)}
        if unbound := (self.held | pressed) - frozenset(bindings.digital.values()):
            do = "Send only what the game is bound to."
            raise ClipError("a control that the game does not use", got=sorted(unbound)[0], do=do)
        for _, jpeg in self.pictures:
            decode_picture(jpeg, height=height, width=width)
        return self


def decode_picture(jpeg: bytes, *, height: int, width: int) -> Frame:
    """Pixels of one picture, uint8 (height, width, 3). Raises ClipError; the size is read before a pixel is decoded."""
    try:
        found_height, found_width, _space, _subsampling = simplejpeg.decode_jpeg_header(jpeg)
        if (found_height, found_width) != (height, width):
            raise ValueError(f"{found_width}x{found_height}, not {width}x{height}")
        frame: Frame = simplejpeg.decode_jpeg(jpeg, colorspace="RGB")
    except ValueError as error:
        raise ClipError("not a picture of the size that was announced", got=str(error)[:200]) from error
    return frame


def _events(rows: list[Any], from_us: int) -> "list[Event]":
    events: list[Event] = []
    last = from_us
    for row in rows:
        last = _time(row[0], last)
        match row[1:]:
            case ["down", control]:
                events.append(Press(last * 1000, _control(control)))
            case ["up", control]:
                events.append(Release(last * 1000, _control(control)))
            case ["move", int(dx), int(dy)] if max(abs(dx), abs(dy)) <= MAX_COUNTS:
                events.append(Move(last * 1000, dx, dy))
            case ["wheel", int(dx), int(dy)] if max(abs(dx), abs(dy)) <= MAX_COUNTS:
                events.append(Scroll(last * 1000, dx, dy))
            case _:
                raise ValueError(f"unknown event {str(row)[:80]}")
    return events


def _cut(data: bytes, first: int, rows: list[Any]) -> "list[tuple[int, bytes]]":
    pictures, last, at = [], -1, first
    for t_us, size in rows:
        last = _time(t_us, last + 1)
        if type(size) is not int or size < 1 or at + size > len(data):
            raise ValueError("a picture is cut off")
        pictures.append((last, data[at : at + size]))
        at += size
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes too many")
    return pictures


def _time(value: Any, least: int) -> int:
    if type(value) is not int or not least <= value <= MAX_T_US:
        raise ValueError(f"time {value!r} is not a whole number from {least} to {MAX_T_US}")
    return value


def _control(name: Any) -> str:
    if name not in KEYS and name not in MOUSE_BUTTONS:
        raise ValueError(f"unknown control {str(name)[:40]!r}")
    return str(name)
