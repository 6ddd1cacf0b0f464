"""mp4 files that break off: how far they are whole, and a view of a file that ends there.

A fragmented mp4 is a row of boxes. FFmpeg plays one that ends within the pictures of a fragment, but refuses one that
ends within a fragment's header: up to a sixth of all places where a recorder can be killed.
ISO/IEC 14496-12, 4.2: a box begins with its size in bytes (32 bits, 1: 64 bits follow the type) and its type.
"""

import io
from pathlib import Path

_HEADER = 8


def whole_boxes(path: Path) -> int:
    """Where the fragment header begins that an mp4 breaks off in; 0 if it does not, or is no mp4."""
    num_bytes, end = path.stat().st_size, 0
    with path.open("rb") as file:
        while end + _HEADER <= num_bytes:
            file.seek(end)
            head = file.read(2 * _HEADER)
            size, kind = int.from_bytes(head[:4], "big"), head[4:_HEADER]
            if size == 1:
                size = int.from_bytes(head[_HEADER:], "big")
            if (not end and kind != b"ftyp") or size < _HEADER:
                return 0
            if end + size > num_bytes:
                return end if kind == b"moof" else 0
            end += size
    return end if end < num_bytes else 0


class CutFile(io.RawIOBase):
    """The first `size` bytes of a file, for reading."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__()
        self._file, self._size = path.open("rb"), size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._file.tell())
        return self._file.read(left if size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            return self._file.seek(self._size + offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()
