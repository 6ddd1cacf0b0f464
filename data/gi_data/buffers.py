"""`BufferPool`: large arrays that are used again once nobody holds them: fresh memory costs more than filling it.

The kernel maps and clears each page of a new array; for a batch of frames, that takes three times as long as copying
the frames into it.
"""

import math
import sys
import threading

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
_HELD_BY_POOL = 3  # references of a free buffer while it is looked at: the list, the loop, and getrefcount's own


class BufferPool:
    """Arrays uint8 of any shape. Views, and tensors made of them, count as holders. Safe to use from many threads.

    max_free: how many buffers that nobody holds are kept, beside those in use.
    """

    def __init__(self, *, max_free: int) -> None:
        self._max_free = max_free
        self._buffers: list[Bytes] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...]) -> Bytes:
        """An array of any content that nobody else holds."""
        size = math.prod(shape)
        with self._lock:
            buffer = self._find(size)
            return buffer[:size].reshape(shape)

    def _find(self, size: int) -> Bytes:
        """A free buffer at least that large, not twice; or a new one. Forgets free ones beyond those to keep."""
        free = [buffer for buffer in self._buffers if sys.getrefcount(buffer) == _HELD_BY_POOL]
        found = next((buffer for buffer in free if size <= buffer.size <= 2 * size), None)
        chosen = np.empty(size, dtype=np.uint8) if found is None else found
        forgotten = {id(buffer) for buffer in free[: -self._max_free]} | {id(chosen)}
        self._buffers = [buffer for buffer in self._buffers if id(buffer) not in forgotten] + [chosen]
        return chosen
