"""Ceilings for files of strangers: what is absurd is refused before it is read, with a clear error."""

from pathlib import Path
from typing import Final

from gi_model.errors import ClipError

MAX_VIDEO_BYTES: Final = 64 * 2**30
MAX_LABEL_BYTES: Final = 2 * 2**30
MAX_RECORDING_S: Final = 24 * 3600
MAX_EVENTS: Final = 200_000_000


def check_file(path: Path, what: str, *, max_bytes: int = MAX_LABEL_BYTES) -> Path:
    """Return `path` if it is a regular file of sane size. Raises ClipError."""
    if not path.is_file():
        raise ClipError(f"{what} is missing", got=path, expected="a file")
    if not 0 < (size := path.stat().st_size) <= max_bytes:
        raise ClipError(f"{what} has an absurd size", got=f"{path.name}: {size} bytes", expected=f"1 to {max_bytes}")
    return path


def check_span(start_ns: int, end_ns: int, what: str) -> None:
    """Raise ClipError unless a recording lasts more than nothing and less than a day."""
    if not 0 < end_ns - start_ns <= MAX_RECORDING_S * 10**9:
        got = f"{(end_ns - start_ns) / 1e9:.1f} s"
        raise ClipError(f"{what} has an absurd length", got=got, expected=f"above 0, at most {MAX_RECORDING_S} s")
