"""`RangeCache`: what came over the network, on disk under its own sha256, in bounded space.

Named by content, so corpora, views, and ranks that share clips share entries, and a damaged entry gives itself away.
Processes agree through one lock, which holds while a file is written: whatever is unfinished when the lock is taken was
left by a killed process. The least recently used goes first; use is the file's modification time. A disk that refuses
(full, read-only) ends the keeping, with a warning, never the reading.
"""

import fcntl
import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gi_model.errors import ConfigError

LOCK: Final = ".lock"
_ROOM = 0.9  # share of the bound that is left full when room is made: so that it is made rarely


class RangeCache:
    """At most `max_bytes` in `directory`, which is made. Safe to use from many threads and processes at once."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        if max_bytes < 1:
            raise ConfigError("range cache without room", got=max_bytes, expected="1 byte or more", do="--cache-gb 10")
        self.directory, self._max_bytes = directory, max_bytes
        self._is_writable = True

    def get(self, sha256: str) -> bytes | None:
        """The bytes with this hash, None if they are not here; a damaged entry is dropped."""
        path = self._path(sha256)
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                path.unlink(missing_ok=True)
                return None
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up(error)
            return None
        return content

    def put(self, sha256: str, content: bytes) -> None:
        """Keep bytes whose hash this is, if there can be room for them."""
        if not self._is_writable or len(content) > self._max_bytes:
            return
        try:
            with self._locked() as lock:
                path = self._path(sha256)
                if path.exists():
                    return
                total = self._make_room(_read_total(lock), len(content))
                path.parent.mkdir(exist_ok=True)
                unfinished = path.with_suffix(".unfinished")
                unfinished.write_bytes(content)
                unfinished.replace(path)
                _write_total(lock, total + len(content))
        except OSError as error:
            self._give_up(error)

    def num_bytes(self) -> int:
        """What is kept now, counted on disk."""
        return sum(size for _, size, _ in self._entries())

    def _make_room(self, total: int | None, size: int) -> int:
        """Delete the least recently used until `size` more bytes fit; the bytes that are left."""
        if total is not None and total + size <= self._max_bytes:
            return total
        entries = sorted(self._entries(), key=lambda entry: entry[0])
        left = sum(size for _, size, _ in entries)
        goal = self._max_bytes - size if left + size <= self._max_bytes else _ROOM * self._max_bytes - size
        for _, num_bytes, path in entries:
            if left <= goal:
                break
            path.unlink(missing_ok=True)
            left -= num_bytes
        return left

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        """(last use in ns, bytes, path) of each file, the leftovers of killed processes included."""
        for path in self.directory.glob("??/*"):
            with suppress(FileNotFoundError):
                facts = path.stat()
                yield facts.st_mtime_ns, facts.st_size, path

    def _path(self, sha256: str) -> Path:
        return self.directory / sha256[:2] / sha256

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.directory / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)  # unlocks

    def _give_up(self, error: OSError) -> None:
        if self._is_writable:
            self._is_writable = False
            warnings.warn(f"range cache {self.directory} is off: {error}; reading goes on", stacklevel=3)


def _read_total(lock: int) -> int | None:
    """Bytes that were kept when the lock was last held; None if that is not known."""
    text = os.pread(lock, 32, 0)
    return int(text) if text.isdigit() else None


def _write_total(lock: int, total: int) -> None:
    os.pwrite(lock, f"{total:032d}".encode(), 0)
