"""`PageImporter`: play that a web page sent in chunks, as it lies in the server's spool -> a recording like any other.

    FOLDER/upload.json       what was agreed: game, rate, size, bindings, licence, consent; once it ended, its end
    FOLDER/00000000.chunk    `PageChunk`s by number; a number that is missing never arrived, and its time is cut out

The spool is the truth until the recording is made: making it can be repeated after any crash.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

from gi_data.ingest.convert import IngestConfig, Ingested, IngestJob, ingest_one
from gi_data.ingest.events import Event
from gi_data.ingest.page_chunk import PageChunk, decode_picture
from gi_data.ingest.source import Found, SourceRecording
from gi_data.ingest.timeline import TimedFrame
from gi_data.metadata import JsonScalar, check_recording_id
from gi_data.storage import write_atomic
from gi_model.actions import Bindings
from gi_model.errors import ClipError, GiError
from gi_model.frames import Frame

UPLOAD_NAME: Final = "upload.json"
MAX_CHUNKS: Final = 100_000


@dataclass(frozen=True)
class Upload:
    """One recording on its way. extra: facts for its clips. end_us: of the game's clock, once the page said so."""

    recording_id: str
    game: str
    fps: float
    height: int
    width: int
    bindings: Bindings
    demonstrator: str
    license: str
    consent: str
    extra: dict[str, JsonScalar] = field(default_factory=dict)
    end_us: int | None = None

    def end_after(self, last_us: int) -> int:
        """The end of the last picture's tick, if the page said so; else that picture, whose tick may be cut off."""
        told = self.end_us or 0
        return told if last_us < told <= last_us + 1.5e6 / self.fps else last_us

    def write(self, folder: Path) -> None:
        """Write it into its spool folder. Raises CorpusError if the disk refuses."""
        facts = {**asdict(replace(self, bindings=Bindings())), "bindings": self.bindings.to_dict()}
        write_atomic(folder / UPLOAD_NAME, json.dumps(facts, indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Inverse of `write`. Raises ClipError."""
        try:
            facts: dict[str, Any] = json.loads((folder / UPLOAD_NAME).read_bytes())
            check_recording_id(facts["recording_id"])
            return cls(**{**facts, "bindings": Bindings.from_dict(facts["bindings"])})
        except (OSError, ValueError, TypeError, KeyError, GiError) as error:
            raise ClipError("the upload of a page cannot be read", got=f"{folder.name}: {error!r}"[:200]) from error


class PageImporter:
    """See the module."""

    name = "page"
    summary = "play that a web page sent to POST /v1/recordings"
    offset = "events have the game's own time: a label is what the game took in from its frame until the next one"

    def find(self, source: Path) -> Sequence[Found]:
        """Uploads in the folder `source`, finished or cut off."""
        return [
            Found(Upload.read(path.parent).recording_id, path.parent, 0)
            for path in sorted(source.glob(f"*/{UPLOAD_NAME}"))
        ]

    def read(self, found: Found) -> SourceRecording:
        """Open one. Raises ClipError if nothing of it arrived."""
        upload, chunks = Upload.read(found.path), _Chunks.of(found.path)
        first_us, last_us = chunks.span_us
        return SourceRecording(
            game=upload.game,
            fps=upload.fps,
            start_ns=first_us * 1000,
            end_ns=upload.end_after(last_us) * 1000,
            frames=partial(chunks.frames, height=upload.height, width=upload.width),
            events=chunks.events,
            bindings=upload.bindings,
            license=upload.license,
            demonstrator=upload.demonstrator,
            consent=upload.consent,
            extra=upload.extra,
            cuts=chunks.gaps,
        )


def make_recording(folder: Path, out: Path, *, clip_ticks: int = 350) -> Ingested:
    """Make the recording of the spool `folder` in `out`. Its report says why there is none. Raises ClipError."""
    upload = Upload.read(folder)
    config = IngestConfig(height=upload.height, width=upload.width, fps=upload.fps, clip_ticks=clip_ticks)
    return ingest_one(IngestJob(PageImporter(), Found(upload.recording_id, folder, 0), out, config))


def chunk_path(folder: Path, number: int) -> Path:
    """Where chunk `number` lies. Raises ClipError if no upload has so many."""
    if not 0 <= number < MAX_CHUNKS:
        raise ClipError("no such chunk", got=number, expected=f"0 to {MAX_CHUNKS - 1}")
    return folder / f"{number:08d}.chunk"


@dataclass(frozen=True)
class _Chunks:
    """The chunks of an upload that arrived, in order; read from disk one at a time."""

    paths: tuple[Path, ...]
    gaps: tuple[tuple[int, int], ...]  # from, until in ns: where chunks are missing
    span_us: tuple[int, int]  # the first and the last picture

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Those in `folder`. Raises ClipError if there is no picture."""
        paths = tuple(sorted(folder.glob("*.chunk")))
        times: list[int] = []
        edges: list[tuple[int, int, int]] = []  # number, from, after its last picture
        for path in paths:
            chunk = PageChunk.parse(path.read_bytes())
            times += (t_us for t_us, _ in chunk.pictures)
            edges.append((int(path.stem), chunk.from_us, times[-1] + 1 if times else 0))
        if not times:
            raise ClipError("no picture of the play arrived", got=folder.name)
        gaps = tuple(
            (until * 1000, max(start, until + 1) * 1000)
            for (number, _, until), (following, start, _) in pairwise(edges)
            if following != number + 1
        )
        return cls(paths, gaps, (times[0], times[-1]))

    def events(self) -> Iterator[Event]:
        """All of them, in order."""
        for path in self.paths:
            yield from PageChunk.parse(path.read_bytes()).all_events

    def frames(self, *, height: int, width: int) -> Iterator[TimedFrame]:
        """All pictures, in order, each decoded when it is used."""
        for path in self.paths:
            for t_us, jpeg in PageChunk.parse(path.read_bytes()).pictures:
                yield TimedFrame(t_us * 1000, partial(_decode, jpeg, height, width))


def _decode(jpeg: bytes, height: int, width: int) -> Frame:
    return decode_picture(jpeg, height=height, width=width)
