"""Tar archives of strangers (.tar, .tar.gz, .tgz): list what is in them, take single members out.

Nothing is ever written under a name from the archive: a member is copied, byte by byte and counted, into a fresh
temporary folder under a name of ours, so paths that climb, links, and devices have nothing to act on; an archive that
holds any is refused all the same. So is one that unpacks to absurdly more than it is. To find a member of a .tar.gz, it
is read from its start: packed bytes cannot be skipped. Rejected: `extractall`, even with a filter: it has no ceiling.
"""

import gzip
import tarfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Final, Self

from gi_data.ingest.limits import MAX_VIDEO_BYTES
from gi_data.storage import disk_error
from gi_model.errors import ClipError

SUFFIXES: Final = (".tar", ".tar.gz", ".tgz")
MAX_RATIO: Final = 100  # unpacked to packed; video hardly shrinks, labels do so by ten
MAX_UNPACKED_BYTES: Final = 2**42
MAX_MEMBERS: Final = 1_000_000
_FREE_BYTES: Final = 16 * 2**20  # below that, any ratio is harmless
_PIECE: Final = 2**20
_LONGEST_NAME: Final = 2**16
_DAMAGE: Final = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, RecursionError)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive."""

    name: str
    size: int


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive we read."""
    return path.name.endswith(SUFFIXES)


def split(path: Path) -> tuple[Path, str] | None:
    """The archive within `path` and the folder in it, for paths like batch.tar.gz/FOLDER; None if there is none."""
    for parent in (path, *path.parents):
        if is_archive(parent) and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return None


def members(archive: Path) -> Iterator[Member]:
    """Files in the order of the archive. Raises ClipError where it is damaged or hostile; what came before is good."""
    with _opened(archive) as tar:
        for member, _ in _files(tar, archive):
            yield member


def check_archive(path: Path) -> None:
    """Read an archive to its end. Raises ClipError where it is damaged or hostile; does nothing with other files."""
    if is_archive(path) and path.is_file():
        for _ in members(path):
            pass


@dataclass(frozen=True)
class Place:
    """A folder with a recording's files. unpacked: the temporary folder, if it is one, which lives as long as this."""

    folder: Path
    unpacked: TemporaryDirectory[str] | None = None


def reach(folder: Path, names: Collection[str], *, enough: Collection[str]) -> Place:
    """The folder itself; or, if it lies in an archive, what `take` makes of it. Raises ClipError as `take` does."""
    if (inside := split(folder)) is None:
        return Place(folder)
    unpacked = take(*inside, names, enough=enough)
    return Place(Path(unpacked.name), unpacked)


def take(archive: Path, folder: str, names: Collection[str], *, enough: Collection[str]) -> TemporaryDirectory[str]:
    """Copy the files `names` of a folder in an archive to a temporary folder, which goes when the result does.

    Stops as soon as the files `enough` are there. Raises ClipError if the archive is damaged or hostile up to there.
    """
    there = TemporaryDirectory(prefix="gi-ingest-")
    missing = set(enough)
    with _opened(archive) as tar:
        for member, content in _files(tar, archive):
            path = PurePosixPath(member.name)
            if path.parent == PurePosixPath(folder) and path.name in names:
                _copy(content, Path(there.name) / path.name, archive, member)
                missing.discard(path.name)
                if not missing:
                    break
    return there


class _Unpacked:
    """What is read from an archive, unpacked: stops where it is too much."""

    def __init__(self, packed: IO[bytes], archive: Path) -> None:
        self._packed, self._unpacked, self._archive = packed, gzip.GzipFile(fileobj=packed), archive
        self._num_bytes = 0

    def read(self, size: int) -> bytes:
        content = self._unpacked.read(min(size, _PIECE))
        self._num_bytes += len(content)
        ceiling = min(max(_FREE_BYTES, MAX_RATIO * self._packed.tell()), MAX_UNPACKED_BYTES)
        if self._num_bytes > ceiling:
            what = f"archive {self._archive.name} unpacks to absurdly much"
            raise ClipError(what, got=f"{self._num_bytes} bytes from {self._packed.tell()}", expected=f"{MAX_RATIO}x")
        return content


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with archive.open("rb") as packed:
            if archive.suffix == ".tar":
                how = {"fileobj": packed, "mode": "r:"}
            else:
                how = {"fileobj": _Unpacked(packed, archive), "mode": "r|"}
            with tarfile.open(**how, tarinfo=_Header) as tar:  # type: ignore[call-overload]
                yield tar
    except _DAMAGE as error:
        do = "Download it again."
        got = str(error)[:200] or type(error).__name__
        raise ClipError(f"archive {archive.name} is damaged", got=got, expected="a complete tar", do=do) from error


class _Header(tarfile.TarInfo):
    """A header that is strict: tarfile takes a damaged one for the end, and reads names of any length into memory."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            header = super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the mark at the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no header where one must be: {error}") from error
        return header

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in tarfile.REGULAR_TYPES and self.size > _LONGEST_NAME:
            raise tarfile.ReadError(f"a special header of {self.size} bytes")
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return member


def _files(tar: tarfile.TarFile, archive: Path) -> Iterator[tuple[Member, IO[bytes]]]:
    number = 0
    while (header := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # else tarfile keeps every header
        if (number := number + 1) > MAX_MEMBERS:
            raise ClipError(f"archive {archive.name} has too many members", expected=f"at most {MAX_MEMBERS}")
        if header.isdir():
            continue
        _check(header, archive)
        content = tar.extractfile(header)
        if content is not None:
            yield Member(PurePosixPath(header.name).as_posix(), header.size), content


def _check(header: tarfile.TarInfo, archive: Path) -> None:
    path = PurePosixPath(header.name)
    climbs = path.is_absolute() or ".." in path.parts or "\\" in header.name or "\0" in header.name
    if climbs or not header.isreg() or header.issparse():
        got = f"{header.name[:100]!r}, type {header.type!r}"
        do = "Nobody packs recordings like that: do not use it."
        raise ClipError(f"archive {archive.name} is hostile", got=got, expected="plain files, paths inside", do=do)


def _copy(content: IO[bytes], destination: Path, archive: Path, member: Member) -> None:
    if member.size > MAX_VIDEO_BYTES:
        raise ClipError(f"{member.name} in {archive.name} has an absurd size", got=member.size)
    left = member.size
    with destination.open("wb") as file:
        while left and (piece := content.read(min(left, _PIECE))):
            _write(file, piece, destination)
            left -= len(piece)
    if left:
        raise tarfile.ReadError(f"ends within {member.name}, {left} bytes early")


def _write(file: IO[bytes], piece: bytes, destination: Path) -> None:
    try:
        file.write(piece)
    except OSError as error:
        raise disk_error(destination, error) from error
