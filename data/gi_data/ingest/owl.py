"""owl-control (Wayfarer Labs): folders of recording.mp4, inputs.csv, metadata.json from a Windows recorder of games.

Inputs begin before the video: their clock meets the video's at VIDEO_START, which says when its first picture was
taken, and never at START. Recordings of versions that did not write it are refused: what they would teach is late by
an unknown time. Until HOOK_START pictures are black. Of the metadata only the game's and the recorder's names are kept;
the rest tells of the player's machine.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from gi_data.ingest.default_bindings import EVERY_DEVICE
from gi_data.ingest.events import Event
from gi_data.ingest.limits import MAX_VIDEO_BYTES, check_file
from gi_data.ingest.owl_inputs import PAD_EVENTS, pad_of, tell
from gi_data.ingest.owl_rows import Row, rows
from gi_data.ingest.recording_ids import recording_ids
from gi_data.ingest.source import Found, SourceRecording
from gi_data.ingest.timeline import TimedFrame
from gi_data.metadata import JsonScalar
from gi_data.video import probe, read_pictures
from gi_model.errors import ClipError, CorpusError

INPUTS, VIDEO, METADATA = "inputs.csv", "recording.mp4", "metadata.json"
_MOST_METADATA: Final = 2**24
_FOREIGN: Final = re.compile(r"[^a-z0-9_-]+")


class OwlImporter:
    """Reads what owl-control wrote, since it says when its video begins."""

    name: ClassVar = "owl-control"
    summary: ClassVar = "owl-control (Wayfarer Labs): recording.mp4 + inputs.csv + metadata.json, event log"
    offset: ClassVar = "the video's first picture was taken at VIDEO_START of the inputs; nothing is shifted"

    def find(self, source: Path) -> Sequence[Found]:
        """Folders with an inputs.csv, anywhere below `source`. Raises CorpusError if there is none."""
        folders = sorted(path.parent for path in source.rglob(INPUTS))
        if not folders:
            raise CorpusError("no owl-control recordings", got=source, expected=f"folders with {INPUTS} and {VIDEO}")
        ids = recording_ids([folder.resolve().name for folder in folders], folders, source)
        return [Found(name, folder, _num_bytes(folder)) for name, folder in zip(ids, folders, strict=True)]

    def read(self, found: Found) -> SourceRecording:
        """Read through the inputs. Raises ClipError."""
        video = check_file(found.path / VIDEO, "video", max_bytes=MAX_VIDEO_BYTES)
        facts, metadata, unknown = probe(video), _metadata(found.path / METADATA), Counter[str]()
        marks = _survey(rows(found.path / INPUTS))
        start_ns = marks.video_ns()

        def events() -> Iterator[Event]:
            counts = Counter[str]()
            yield from tell(rows(found.path / INPUTS), marks.pad(), counts)
            unknown.update({name: count - unknown[name] for name, count in counts.items()})

        return SourceRecording(
            game=_game(metadata.get("game_exe")),
            fps=facts.fps or None,
            start_ns=max(start_ns, marks.times.get("HOOK_START", start_ns)),
            end_ns=min(marks.last_ns, *marks.ends(facts.duration_s)),
            frames=lambda: _frames(video, start_ns),
            events=events,
            bindings=EVERY_DEVICE,
            license="see source",
            extra=_extra(metadata),
            unknown=unknown,
        )


@dataclass
class _Marks:
    """When what began and ended, and which gamepad was used how often."""

    times: dict[str, int] = field(default_factory=dict)
    pads: Counter[str] = field(default_factory=Counter)
    last_ns: int = 0

    def video_ns(self) -> int:
        """When the video began. Raises ClipError if nothing says so."""
        if "VIDEO_START" not in self.times:
            do = "Recordings of older versions do not say how video and inputs lie in time; they cannot be used."
            raise ClipError("owl-control recording without VIDEO_START", got=sorted(self.times), do=do)
        return self.times["VIDEO_START"]

    def ends(self, duration_s: float) -> list[int]:
        """When the video ended, by the inputs and by its header, as far as they say so."""
        by_header = [self.video_ns() + round(duration_s * 1e9)] if duration_s else []
        return [self.times[name] for name in ("VIDEO_END", "END") if name in self.times] + by_header

    def pad(self) -> str:
        """The gamepad that was used most."""
        return self.pads.most_common(1)[0][0] if self.pads else ""


def _survey(source: Iterator[Row]) -> _Marks:
    marks = _Marks()
    for row in source:
        marks.last_ns = row.t_ns
        if row.kind in PAD_EVENTS:
            marks.pads[pad_of(row)] += 1
            if len(marks.pads) > 100:
                raise ClipError("owl-control recording of absurdly many gamepads", got="more than 100")
        elif row.kind == "VIDEO_START" and row.kind in marks.times:
            raise ClipError("owl-control recording with more than one VIDEO_START", got="a second one", expected="one")
        elif row.kind in ("VIDEO_START", "VIDEO_END", "HOOK_START", "END"):
            marks.times[row.kind] = row.t_ns
    return marks


def _frames(video: Path, start_ns: int) -> Iterator[TimedFrame]:
    """Pictures by their time stamps, counted from the first one's, with which playing begins."""
    first_ns: int | None = None
    for pts_ns, rgb in read_pictures(video):
        first_ns = pts_ns if first_ns is None else first_ns
        yield TimedFrame(start_ns + pts_ns - first_ns, rgb)


def _metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(check_file(path, "owl-control metadata", max_bytes=_MOST_METADATA).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ClipError("owl-control metadata cannot be read", got=str(error)[:80], expected="JSON") from error
    if not isinstance(metadata, dict):
        raise ClipError("owl-control metadata cannot be read", got=str(metadata)[:40], expected="a JSON object")
    return metadata


def _game(executable: object) -> str:
    """The name of the game's program, without folders and suffix."""
    name = executable.replace("\\", "/").rpartition("/")[2].lower() if isinstance(executable, str) else ""
    return _FOREIGN.sub("_", name.removesuffix(".exe")).strip("_-")[:60] or "unknown"


def _extra(metadata: dict[str, Any]) -> dict[str, JsonScalar]:
    version = metadata.get("owl_control_version")
    return {"owl_control_version": version[:40]} if isinstance(version, str) else {}


def _num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / INPUTS, folder / VIDEO) if path.is_file())
