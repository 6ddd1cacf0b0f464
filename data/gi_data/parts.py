"""One part of a recording on disk, the same whether it is being written, finished, or recovered.

    ID-0000.mp4             H.264, in fragments (`gi_data.video`)
    ID-0000.inputs.jsonl    one line a tick, unbuffered
    ID-0000.draft.json      metadata as known at the first frame, for recovery; gone once the part is finished
    ID-0000.json            metadata and hashes, written last: the part is finished

ID is the recording's, 0000 the part's number.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from gi_data.metadata import ClipMetadata
from gi_data.storage import digest_file, disk_error, write_atomic
from gi_data.video_writer import VideoWriter
from gi_model.errors import CorpusError
from gi_model.frames import Frame


class PartPaths:
    """The files of the part `key` in `directory`."""

    def __init__(self, directory: Path, key: str) -> None:
        self.key = key
        self.video = directory / f"{key}.mp4"
        self.labels = directory / f"{key}.inputs.jsonl"
        self.draft = directory / f"{key}.draft.json"
        self.metadata = directory / f"{key}.json"


class OpenPart:
    """The part being recorded."""

    def __init__(self, directory: Path, metadata: ClipMetadata) -> None:
        self.num_ticks = 0
        self._metadata, self._paths = metadata, PartPaths(directory, metadata.key)
        info = metadata.info
        write_atomic(self._paths.draft, metadata.to_json())
        try:
            self._labels = self._paths.labels.open("wb", buffering=0)
        except OSError as error:
            raise disk_error(self._paths.labels, error) from error
        self._video = VideoWriter(self._paths.video, fps=info.fps, height=info.height, width=info.width)

    def append(self, frame: Frame, label: bytes) -> None:
        """Add one tick. Raises CorpusError if the disk refuses."""
        self._video.append(frame)
        try:
            if self._labels.write(label) != len(label):
                raise OSError("no space left on device")
        except OSError as error:
            raise disk_error(self._paths.labels, error) from error
        self.num_ticks += 1

    def finish(self) -> ClipMetadata:
        """Close the files and write the metadata: the part is finished."""
        self._labels.close()
        self._video.close()
        return finish_part(self._paths, dataclasses.replace(self._metadata, num_ticks=self.num_ticks))

    def abandon(self) -> None:
        """Close the files and leave the part unfinished."""
        self._labels.close()
        self._video.abandon()


def finish_part(paths: PartPaths, metadata: ClipMetadata) -> ClipMetadata:
    """Write the hashes of a complete part, and return its metadata."""
    digests = {"mp4": digest_file(paths.video), "inputs": digest_file(paths.labels)}
    metadata = dataclasses.replace(metadata, sha256=digests)
    write_atomic(paths.metadata, metadata.to_json())
    paths.draft.unlink(missing_ok=True)
    return metadata


def end_recording(directory: Path, parts: Sequence[ClipMetadata], *, score: float | None) -> None:
    """Tell every part how many there are and the score; part 0 last: it says that the recording is finished."""
    if [part.part for part in parts] != list(range(len(parts))):
        got = [part.part for part in parts]
        raise CorpusError(f"recording {parts[0].recording_id} lacks parts", got=got, do="Record it again.")
    for part in reversed(parts):
        ended = dataclasses.replace(part, num_parts=len(parts), score=score)
        write_atomic(PartPaths(directory, part.key).metadata, ended.to_json())
