"""Bytes on disk: the few reads and writes that everything of the corpus goes through.

Whatever is written appears complete or not at all (a temporary file, then a rename), so that Ctrl-C, a full disk, or a
killed process never leaves half a file under a final name. Reads are by byte range: the one place that will learn about
object stores.
"""

import hashlib
import os
from pathlib import Path

from gi_model.errors import CorpusError

UNFINISHED_SUFFIX = ".unfinished"


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


def read_range(path: Path, offset: int, size: int) -> bytes:
    """Read `size` bytes at `offset`; fewer where the file ends early. Raises CorpusError if it cannot be opened."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise CorpusError(f"{path} cannot be read", got=error.strerror, do="Check path and permissions.") from error


def digest(content: bytes) -> str:
    """sha256 in hex."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 of a file in hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_error(path: Path, error: Exception) -> CorpusError:
    """The clear form of "no space left" and its relatives."""
    do = "Free some space or choose another directory, then run the same command again; what was finished is kept."
    return CorpusError(f"cannot write {path}", got=str(error), expected="a disk with room", do=do)
