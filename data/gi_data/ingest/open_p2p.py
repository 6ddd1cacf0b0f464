"""open-p2p's recordings: folders with annotation.proto and 192x192.mp4 (or video.mp4), loose or in batch_*.tar.gz.

Frame t and annotation t are one moment; what the player did next is annotation t + 1 (see `open_p2p_labels`). So there
is one tick less than there are annotations. From an archive, one recording at a time is unpacked to a temporary folder;
unpacking a whole batch first is faster where there is room.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Final

from gi_data.ingest.archives import Place, check_archive, is_archive, members, reach
from gi_data.ingest.default_bindings import EVERY_DEVICE, KEYBOARD_MOUSE
from gi_data.ingest.events import Event
from gi_data.ingest.limits import MAX_RECORDING_S, check_file
from gi_data.ingest.open_p2p_labels import Annotation, AnnotationReader, label_events
from gi_data.ingest.open_p2p_messages import read_frames, read_metadata
from gi_data.ingest.paired_video import count_pictures, paired_frames, tick_times
from gi_data.ingest.recording_ids import recording_ids
from gi_data.ingest.source import Found, SourceRecording
from gi_data.ingest.timeline import TimedFrame
from gi_data.storage import read_range
from gi_model.errors import ClipError, CorpusError

LABELS: Final = "annotation.proto"
VIDEOS: Final = ("192x192.mp4", "video.mp4")  # the better one first
DEFAULT_FPS: Final = 20.0
_MOST_LABEL_BYTES: Final = 2**29
_NAMES: Final = (LABELS, *VIDEOS)


class OpenP2pImporter:
    """Reads open-p2p's data set and what its recorder writes."""

    name: ClassVar = "open-p2p"
    summary: ClassVar = "open-p2p (elefant-ai): annotation.proto + 192x192.mp4, loose or in tar.gz, 20 ticks a second"
    offset: ClassVar = "annotation t + 1 is what happened while frame t was on the screen; put there by the importer"

    def find(self, source: Path) -> Sequence[Found]:
        """Folders and archives with recordings, anywhere below `source`. Raises CorpusError if there is none.

        To list an archive it is read through once; one that is damaged is listed whole, and refused when it is read.
        """
        paths = [source] if source.is_file() else sorted(source.rglob("*"))
        spots = [spot for path in paths for spot in _spots(path)]
        if not spots:
            raise CorpusError("no open-p2p recordings", got=source, expected=f"folders with {LABELS}, or .tar.gz")
        ids = recording_ids([spot.absolute().name for spot, _ in spots], [spot for spot, _ in spots], source)
        return [Found(name, spot, size) for name, (spot, size) in zip(ids, spots, strict=True)]

    def read(self, found: Found) -> SourceRecording:
        """Read the annotations and count the frames, of an archive's recording after unpacking it. Raises ClipError."""
        check_archive(found.path)
        place = reach(found.path, _NAMES, enough=_NAMES[:2])
        labels = check_file(place.folder / LABELS, "open-p2p annotation", max_bytes=_MOST_LABEL_BYTES)
        video = next((place.folder / name for name in VIDEOS if (place.folder / name).is_file()), None)
        if video is None:
            raise ClipError(f"recording {found.recording_id} has no video", expected=" or ".join(VIDEOS))
        content = read_range(labels, 0, _MOST_LABEL_BYTES)
        metadata, reader = read_metadata(content, found.recording_id), AnnotationReader()
        fps = _fps(metadata)
        annotations = _read(reader, content, found.recording_id, round(MAX_RECORDING_S * fps))
        num_frames = count_pictures(video)
        num_ticks = min(len(annotations) - 1, num_frames)
        if num_ticks < 1:
            got = f"{len(annotations)} annotations, {num_frames} frames"
            raise ClipError(f"recording {found.recording_id} has no ticks", got=got, expected="2 and 1, at least")
        if surplus := abs(len(annotations) - num_frames):
            reader.unknown["surplus " + ("annotations" if len(annotations) > num_frames else "frames")] += surplus
        times_ns = tick_times(num_ticks, fps)
        played = _Played(place, video, annotations[: num_ticks + 1], times_ns)
        has_pad = any(annotation.pad is not None for annotation in annotations)
        return SourceRecording(
            game=_game(metadata),
            fps=fps,
            start_ns=0,
            end_ns=times_ns[-1],
            frames=played.frames,
            events=played.events,
            bindings=replace(EVERY_DEVICE if has_pad else KEYBOARD_MOUSE, cursor=False),
            license="see elefantai/p2p-full-data",
            extra={"env": metadata.env.env[:100], "env_subtype": metadata.env.env_subtype[:100], "video": video.name},
            unknown=reader.unknown,
        )


@dataclass(frozen=True)
class _Played:
    """A recording that can be read again and again."""

    place: Place
    video: Path
    annotations: Sequence[Annotation]
    times_ns: Sequence[int]

    def frames(self) -> Iterator[TimedFrame]:
        return paired_frames(self.video, self.times_ns)

    def events(self) -> Iterator[Event]:
        return label_events(self.annotations, self.times_ns)


def _spots(path: Path) -> Iterator[tuple[Path, int]]:
    """Folder and size of each recording that `path` is the annotation or the archive of."""
    if path.name == LABELS and path.is_file():
        files = [path.parent / name for name in _NAMES]
        yield path.parent, sum(file.stat().st_size for file in files if file.is_file())
    elif is_archive(path) and path.is_file():
        sizes: dict[str, int] = defaultdict(int)
        labelled: list[str] = []
        try:
            for member in members(path):
                folder, name = str(PurePosixPath(member.name).parent), PurePosixPath(member.name).name
                sizes[folder] += member.size if name in _NAMES else 0
                labelled += [folder] if name == LABELS else []
        except ClipError:
            yield path, path.stat().st_size
        yield from ((path / folder, sizes[folder]) for folder in labelled)


def _read(reader: AnnotationReader, content: bytes, name: str, most: int) -> list[Annotation]:
    annotations: list[Annotation] = []
    for frame in read_frames(content, name):
        if len(annotations) >= most:
            raise ClipError(f"recording {name} is absurdly long", got=f"over {most} frames", expected="a day at most")
        annotations.append(reader.read(frame))
    return annotations


def _fps(metadata: Any) -> float:
    fps = metadata.frames_per_second
    return round(fps, 3) if isfinite(fps) and 1 <= fps <= 240 else DEFAULT_FPS


def _game(metadata: Any) -> str:
    names = [name for name in (metadata.env.env, metadata.env.env_subtype) if name]
    return re.sub(r"[^a-z0-9_-]+", "_", "_".join(names).lower())[:60].strip("_") or "unknown"
