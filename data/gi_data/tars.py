"""WebDataset tars: members of one clip side by side (KEY.mp4, KEY.inputs.parquet, KEY.json), found by byte offset.

tarfile writes and scans; nothing here is kept in memory beyond one clip. The same clips give the same bytes. A tar
that was cut is detected by its missing end mark or by a clip without all its members: readers of plain tars drop such
a clip, and what follows it, without a word.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gi_data.storage import UNFINISHED_SUFFIX, disk_error
from gi_model.errors import ClipError, CorpusError

VIDEO, INPUTS, METADATA = "mp4", "inputs.parquet", "json"
MEMBERS = (VIDEO, INPUTS, METADATA)  # metadata last: a cut clip lacks at least that
_END = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a member's content lies in its tar, in bytes."""

    offset: int
    size: int


class TarWriter:
    """Writes clips to `path`, which appears when `close` is called; a context manager that discards on an error."""

    def __init__(self, path: Path) -> None:
        self._path, self._temporary = path, path.with_name(path.name + UNFINISHED_SUFFIX)
        self.num_bytes = 0
        try:
            self._file = self._temporary.open("wb")
        except OSError as error:
            raise disk_error(path, error) from error
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    def add(self, key: str, members: dict[str, bytes]) -> None:
        """Append one clip. Raises CorpusError if the disk refuses."""
        try:
            for kind in MEMBERS:
                header = tarfile.TarInfo(f"{key}.{kind}")
                header.size = len(members[kind])
                self._tar.addfile(header, io.BytesIO(members[kind]))
                self.num_bytes += header.size
        except OSError as error:
            raise disk_error(self._path, error) from error

    def close(self) -> None:
        """End the tar and give it its name. Raises CorpusError if the disk refuses."""
        try:
            self._tar.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._path)
        except OSError as error:
            raise disk_error(self._path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self._file.close()
            self._temporary.unlink(missing_ok=True)


def scan_tar(path: Path) -> Iterator[tuple[str, dict[str, Extent]]]:
    """Yield the key and the members of each clip. Raises ClipError naming the clip at which the tar was cut."""
    key, extents = "", dict[str, Extent]()
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                name, _, kind = member.name.partition(".")
                if name != key:
                    yield from _complete(path, key, extents)
                    key, extents = name, {}
                extents[kind] = Extent(member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise _cut(path, key or "(first)", str(error)) from error
    yield from _complete(path, key, extents)
    _check_end(path, key, extents)


def _complete(path: Path, key: str, extents: dict[str, Extent]) -> Iterator[tuple[str, dict[str, Extent]]]:
    if not key:
        return
    if missing := [kind for kind in MEMBERS if kind not in extents]:
        raise _cut(path, key, f"no {missing[0]}")
    yield key, extents


def _check_end(path: Path, key: str, extents: dict[str, Extent]) -> None:
    """After the last member there must be the end mark: else a cut between two members looks like a shorter tar."""
    if not key:
        raise CorpusError(f"shard {path.name} holds no clips", do="Delete it and run gi shard again.")
    last = max(extent.offset + extent.size for extent in extents.values())
    with path.open("rb") as file:
        file.seek(-(-last // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
        if file.read(len(_END)) != _END:
            raise _cut(path, key, "the file ends after this clip")


def _cut(path: Path, key: str, got: str) -> ClipError:
    do = f"Delete {path.name} and its .index.parquet, then run gi shard again: it rebuilds what is missing."
    return ClipError(f"shard {path.name} is cut or damaged at clip {key}", got=got, expected="a complete tar", do=do)
