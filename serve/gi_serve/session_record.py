"""A recorded session on disk: what the server received and what the model saw, so that it can be replayed exactly.

A folder with two files, for any language to read:

    events.jsonl   one JSON object a line, in the order in which the model met them:
        {"event": "session", "format": "gi-session", "version": 1, "model", "fingerprint", "height", "width", ...}
            with an adapter also "adapter", its name, and "adapter_fingerprint"
        {"event": "open", "sampling": {..., "seed"}}     the stream starts anew with the next step
        {"event": "frame", "seq", "codec", "width", "height", "capture_ns", "received_ns", "offset", "length"}
        {"event": "step", "seq"}                         this frame went into the model (others were dropped)
        {"event": "answer", "seq", "tokens", "confidence"}      or {"event": "failed", "seq"}
        {"event": "executed", "seq", "tokens"}           what was really held after it, in the place of the answer
            both with "commands" too where a body has direct actuators; executed without "tokens" if only they differ
        {"event": "end", "reason"}                       missing: the server was killed, or the disk was full
    frames.bin     the frames as received: raw RGB, JPEG, PNG, or H.264; offset and length say where

It is a film of what the player saw: opt-in, readable by its owner only, never with key or session id. Rejected: a
container format (a cut-off folder is still a recording), pickles.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from gi_model.errors import ServeError
from gi_model.stepper import Sampling
from gi_serve.protocol import Codec, FrameMessage, ProtocolError, check_frame_message

FORMAT: Final = "gi-session"
VERSION: Final = 1
EVENTS: Final = "events.jsonl"
FRAMES: Final = "frames.bin"


def frame_event(message: FrameMessage, received_ns: int, offset: int) -> dict[str, Any]:
    """The event of a frame whose bytes lie at `offset`."""
    return {
        "event": "frame",
        "seq": message.seq,
        "codec": message.codec.name.lower(),
        "width": message.width,
        "height": message.height,
        "capture_ns": message.capture_ns,
        "received_ns": received_ns,
        "offset": offset,
        "length": len(message.data),
    }


def open_event(sampling: Sampling) -> dict[str, Any]:
    """The event of a stream that starts anew."""
    return {"event": "open", "sampling": asdict(sampling)}


def answer_event(
    seq: int, tokens: NDArray[np.int64], confidence: NDArray[np.float32], commands: Sequence[float] = ()
) -> dict[str, Any]:
    """The event of an answer; confidences are written with the shortest digits that read back the same."""
    answer = {"event": "answer", "seq": seq, "tokens": tokens.tolist(), "confidence": _floats(confidence)}
    return answer | _commands(commands)


def executed_event(seq: int, tokens: NDArray[np.int64] | None, commands: Sequence[float] = ()) -> dict[str, Any]:
    """The event of what was held in the place of an answer. tokens: None where only commands were others."""
    held = {} if tokens is None else {"tokens": tokens.tolist()}
    return {"event": "executed", "seq": seq} | held | _commands(commands)


def _commands(commands: Sequence[float]) -> dict[str, Any]:
    return {"commands": list(commands)} if commands else {}


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A recording that can be read. header: its first event."""

    path: Path
    header: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises ServeError if `path` is no recording."""
        try:
            with (path / EVENTS).open(encoding="utf-8") as lines:
                header = json.loads(lines.readline())
        except (OSError, ValueError) as error:
            raise _damaged(path, str(error)) from error
        if not isinstance(header, dict) or (header.get("format"), header.get("version")) != (FORMAT, VERSION):
            raise ServeError(f"{path} is not a recorded session", expected=f"{FORMAT}, version {VERSION}")
        return cls(path, header)

    def events(self) -> Iterator[dict[str, Any]]:
        """Every event after the header; a last line that was cut off is not read. Raises ServeError on damage."""
        with (self.path / EVENTS).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if number > 1 and line.endswith("\n"):
                    yield self._parse(line, number)

    def _parse(self, line: str, number: int) -> dict[str, Any]:
        try:
            event = json.loads(line)
        except ValueError as error:
            raise _damaged(self.path, f"line {number}: {error}") from error
        if not isinstance(event, dict) or "event" not in event:
            raise _damaged(self.path, f"line {number} is no event")
        return event

    def read_frame(self, event: Mapping[str, Any]) -> FrameMessage:
        """The message of a frame event. Raises ServeError on damage."""
        try:
            with (self.path / FRAMES).open("rb") as frames:
                frames.seek(event["offset"])
                data = frames.read(event["length"])
            codec = Codec[event["codec"].upper()]
            message = FrameMessage(event["seq"], event["capture_ns"], codec, data, event["width"], event["height"])
            if len(data) != event["length"]:
                raise _damaged(self.path, f"frame {message.seq} is cut off")
            return check_frame_message(message)
        except (OSError, KeyError, TypeError, ValueError, ProtocolError) as error:
            raise _damaged(self.path, f"a frame: {error}") from error


def _floats(values: NDArray[np.float32]) -> Any:
    return [[float(str(value)) for value in row] for row in values]


def _damaged(path: Path, got: str) -> ServeError:
    return ServeError(f"the recorded session {path} is damaged", got=got[:200], do="Record it again.")
