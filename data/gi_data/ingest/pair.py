"""`PairImporter`: a video and a text file of inputs beside it (`pair_csv.py`): what to write for a format of one's own.

lessons/run1.mp4 + lessons/run1.inputs.csv
lessons/run2/video.mp4 + lessons/run2/inputs.csv
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from gi_data.ingest.default_bindings import EVERY_DEVICE
from gi_data.ingest.limits import MAX_RECORDING_S, MAX_VIDEO_BYTES, check_file
from gi_data.ingest.pair_csv import InputsCsv
from gi_data.ingest.recording_ids import recording_ids
from gi_data.ingest.source import Found, SourceRecording
from gi_data.ingest.timeline import TimedFrame
from gi_data.video import probe, read_pictures
from gi_model.errors import ClipError

VIDEOS: Final = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v")


class PairImporter:
    """See the module."""

    name = "pair"
    summary = "a video and a CSV of inputs beside it, which anyone can write (docs/ingest.md)"
    offset = "times in the CSV are times of the video, taken as they are: an input acts on the frames after it"

    def find(self, source: Path) -> Sequence[Found]:
        """Videos that have a CSV; `source` may be one video."""
        root = source if source.is_dir() else source.parent
        paths = sorted(root.rglob("*")) if source.is_dir() else [source]
        videos = [path for path in paths if path.suffix.lower() in VIDEOS and inputs_of(path).is_file()]
        ids = recording_ids([_name(video, root) for video in videos], videos, root)
        return [Found(name, path, path.stat().st_size) for name, path in zip(ids, videos, strict=True)]

    def read(self, found: Found) -> SourceRecording:
        """Open one. Raises ClipError naming the line of the CSV that cannot be read."""
        check_file(found.path, "the video", max_bytes=MAX_VIDEO_BYTES)
        inputs, facts = InputsCsv(inputs_of(found.path)), probe(found.path)
        last_ns, unknown = inputs.check()
        seconds = facts.duration_s or last_ns / 1e9 + 1.0
        if not 0 < seconds <= MAX_RECORDING_S:
            raise ClipError(f"video {found.path.name} has an absurd length", got=f"{seconds:.0f} s")
        header = inputs.header()
        return SourceRecording(
            game=header.get("game", "unknown"),
            fps=None,
            start_ns=0,
            end_ns=round(seconds * 1e9),
            frames=lambda: _frames(found.path),
            events=inputs.events,
            bindings=EVERY_DEVICE,
            license=header.get("license", "unknown"),
            demonstrator=header.get("demonstrator", "human"),
            consent=header.get("consent", "unknown"),
            unknown=unknown,
        )


def inputs_of(video: Path) -> Path:
    """Where the inputs of a video are expected."""
    beside = video.with_suffix(".inputs.csv")
    return video.with_name("inputs.csv") if video.stem == "video" and not beside.exists() else beside


def _frames(video: Path) -> Iterator[TimedFrame]:
    for t_ns, rgb in read_pictures(video):
        yield TimedFrame(t_ns, rgb)


def _name(video: Path, root: Path) -> str:
    """Its path below `root`; of a folder with `video` and `inputs.csv`, the folder's."""
    relative = video.relative_to(root).with_suffix("")
    is_folder = inputs_of(video).name == "inputs.csv" and len(relative.parts) > 1
    return (relative.parent if is_folder else relative).as_posix()
