"""Bytes on disk or behind a URL: the few reads and writes that everything of the corpus goes through.

Whatever is written appears complete or not at all (a temporary file, then a rename), so that Ctrl-C, a full disk, or a
killed process never leaves half a file under a final name; it is written on disk only. Reads are by byte range, from
disk or from any `Url`; `Storage` counts them and may keep what came over the network in a `RangeCache`.
"""

import hashlib
import os
import threading
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from gi_data.range_cache import RangeCache
from gi_data.urls import Url
from gi_model.errors import CorpusError

UNFINISHED_SUFFIX = ".unfinished"
_PIECE = 16 * 2**20  # bytes of a remote file that are read at a time

Location = Path | Url


def locate(text: str | Path) -> Location:
    """A URL if it looks like one (PROTOCOL://...), else a path."""
    if isinstance(text, Path) or "://" not in text:
        return Path(text)
    return Path(text.removeprefix("file://")) if text.startswith("file://") else Url(text)


def resolve(directory: Location, name: str) -> Location:
    """Where `name` lies: a URL, an absolute path, or a path relative to `directory`, which may climb with ".."."""
    if "://" in name or name.startswith("/"):
        return locate(name)
    return directory / name


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises CorpusError if the disk refuses."""
    temporary = path.with_name(path.name + UNFINISHED_SUFFIX)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def read_range(location: Location, offset: int, size: int) -> bytes:
    """Read `size` bytes at `offset`; fewer where the file ends early. Raises CorpusError if it cannot be opened."""
    if isinstance(location, Url):
        return location.read_range(offset, size)
    try:
        with location.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise CorpusError(f"{location} cannot be read", got=error.strerror, do="Check path and permissions.") from error


def file_size(location: Location) -> int | None:
    """Bytes of a file; None where a server does not say. Raises CorpusError if it is missing."""
    if isinstance(location, Url):
        return location.num_bytes()
    if not location.is_file():
        raise CorpusError(f"{location} is missing", do="Fetch it, or build it again.")
    return location.stat().st_size


@dataclass(frozen=True, slots=True)
class Extent:
    """size bytes at `offset` of a file, and the hash of what was written there."""

    offset: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was read: num_bytes from files and servers; ranges found in the cache and not; seconds spent on all that."""

    num_bytes: int = 0
    range_hits: int = 0
    range_misses: int = 0
    retries: int = 0
    read_s: float = 0.0

    def __add__(self, other: Self) -> Self:
        """Both together."""
        return self._with(other, 1)

    def __sub__(self, other: Self) -> Self:
        """What came after `other`."""
        return self._with(other, -1)

    def _with(self, other: Self, sign: int) -> Self:
        names = [item.name for item in fields(self)]
        return type(self)(**{name: getattr(self, name) + sign * getattr(other, name) for name in names})


class Storage:
    """Reads extents, counts, and keeps what is remote in `cache`. Safe to call from many threads."""

    def __init__(self, cache: RangeCache | None = None) -> None:
        self.cache = cache
        self._lock = threading.Lock()
        self._traffic = Traffic()

    @property
    def traffic(self) -> Traffic:
        """What was read so far."""
        with self._lock:
            return self._traffic

    def read(self, location: Location, extent: Extent) -> bytes:
        """The bytes of `extent`, fewer where the file is cut; the caller checks them. Raises CorpusError."""
        started = time.perf_counter()
        try:
            if isinstance(location, Url):
                return self._read_remote(location, extent)
            content = read_range(location, extent.offset, extent.size)
            self._count(num_bytes=len(content))
            return content
        finally:
            self._count(read_s=time.perf_counter() - started)

    def _read_remote(self, url: Url, extent: Extent) -> bytes:
        """From the cache, else from the server: a second time if what came is not what was written."""
        kept = self.cache.get(extent.sha256) if self.cache else None
        if kept is not None:
            self._count(range_hits=1)
            return kept
        self._count(range_misses=1)
        content = self._fetch(url, extent)
        if digest(content) != extent.sha256:
            self._count(retries=1)
            content = self._fetch(url, extent)
        if self.cache and digest(content) == extent.sha256:
            self.cache.put(extent.sha256, content)
        return content

    def _fetch(self, url: Url, extent: Extent) -> bytes:
        content = url.read_range(extent.offset, extent.size, lambda: self._count(retries=1))
        self._count(num_bytes=len(content))
        return content

    def _count(self, **more: Any) -> None:
        with self._lock:
            sums = {name: getattr(self._traffic, name) + value for name, value in more.items()}
            self._traffic = replace(self._traffic, **sums)


def digest(content: bytes) -> str:
    """sha256 in hex."""
    return hashlib.sha256(content).hexdigest()


def digest_file(location: Location) -> str:
    """sha256 of a file in hex, read in pieces. Raises CorpusError if it cannot be read."""
    if isinstance(location, Url):
        return _digest_remote(location)
    with location.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_remote(url: Url) -> str:
    hasher, offset = hashlib.sha256(), 0
    while piece := url.read_range(offset, _PIECE):
        hasher.update(piece)
        offset += len(piece)
    return hasher.hexdigest()


def disk_error(path: Path, error: Exception) -> CorpusError:
    """The clear form of "no space left" and its relatives."""
    do = "Free some space or choose another directory, then run the same command again; what was finished is kept."
    return CorpusError(f"cannot write {path}", got=str(error), expected="a disk with room", do=do)
