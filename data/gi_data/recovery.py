"""`scan` and `recover`: what is in a directory of recordings after everything that can happen to a recorder.

A part is unfinished when its draft is there and its metadata is not. Recovery keeps the leading ticks that have both a
frame that decodes and a complete line, copies them without encoding again, and ends the recording there; a part without
such a tick is lost, and reported. Nothing may record into the directory meanwhile: whoever records or recovers holds
its lock.
"""

import dataclasses
import fcntl
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gi_data.inputs_table import Labels
from gi_data.metadata import ClipMetadata
from gi_data.parts import PartPaths, end_recording, finish_part
from gi_data.storage import write_atomic
from gi_data.video import salvage
from gi_model.errors import CorpusError

LOCK: Final = ".recording.lock"


@dataclass(frozen=True)
class Scan:
    """Keys of the parts whose metadata was written, and of those whose was not; sorted."""

    finished: tuple[str, ...]
    unfinished: tuple[str, ...]


@dataclass(frozen=True)
class Recovery:
    """What `recover` did: ticks kept of each unfinished part, and keys of the parts of which nothing was left."""

    num_ticks: dict[str, int]
    lost: tuple[str, ...]


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold `directory` against recorders: recovery must not touch what is being written. Raises CorpusError if held."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            do = "Wait for it, or use another folder."
            raise CorpusError(f"another gi record writes into {directory}", do=do) from error
        yield


def scan(directory: Path) -> Scan:
    """List the parts in `directory`. Raises CorpusError if it is no directory."""
    if not directory.is_dir():
        do = "Record something first: gi record --help"
        raise CorpusError("no recordings here", got=directory, expected="a directory", do=do)
    drafts = {path.name.removesuffix(".draft.json") for path in directory.glob("*.draft.json")}
    finished = {path.stem for path in directory.glob("*.json")} - {f"{key}.draft" for key in drafts}
    return Scan(tuple(sorted(finished)), tuple(sorted(drafts - finished)))


def recover(directory: Path) -> Recovery:
    """Finish every unfinished part in `directory` as far as it goes, and end recordings that were cut off."""
    num_ticks = {key: _recover_part(PartPaths(directory, key)) for key in scan(directory).unfinished}
    _end_cut_off(directory)
    return Recovery(
        num_ticks={key: ticks for key, ticks in num_ticks.items() if ticks},
        lost=tuple(key for key, ticks in num_ticks.items() if not ticks),
    )


def _recover_part(paths: PartPaths) -> int:
    """Ticks kept; 0: nothing was left, and the part's files are gone."""
    draft = ClipMetadata.from_json(paths.draft.read_bytes(), paths.key)
    lines = paths.labels.read_bytes() if paths.labels.exists() else b""
    num_labels = len(Labels.from_lines(lines, paths.key, cut_off=True))
    salvaged = paths.video.with_suffix(".salvaged")
    num_ticks = salvage(paths.video, salvaged, max_frames=num_labels)
    if num_ticks:
        salvaged.replace(paths.video)
        write_atomic(paths.labels, b"".join(lines.splitlines(keepends=True)[:num_ticks]))
        finish_part(paths, dataclasses.replace(draft, num_ticks=num_ticks, recovered=True))
    else:
        for path in (paths.video, paths.labels, salvaged, paths.draft):
            path.unlink(missing_ok=True)
    return num_ticks


def _end_cut_off(directory: Path) -> None:
    recordings: dict[str, list[ClipMetadata]] = defaultdict(list)
    for key in scan(directory).finished:
        metadata = ClipMetadata.from_json(PartPaths(directory, key).metadata.read_bytes(), key)
        recordings[metadata.recording_id].append(metadata)
    for parts in recordings.values():
        if parts[0].num_parts is None:
            end_recording(directory, parts, score=None)
