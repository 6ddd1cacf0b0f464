"""`ClipCache`: decoded clips at the model's size, in bounded memory: one decode serves many windows.

Clips are decoded by a few threads (PyAV lets go of the GIL), ahead of need: `request` starts, `get` waits. The least
recently wanted clip goes first. Sizes are known before decoding, so the bound counts what is still being decoded.
Only one thread may call a cache.
"""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from gi_data.clip_loader import DecodedClip


class ClipCache:
    """Decoded clips by id; `load` decodes one, `size_of` says its bytes."""

    def __init__(
        self,
        load: Callable[[int], DecodedClip],
        size_of: Callable[[int], int],
        *,
        max_bytes: int,
        num_threads: int,
    ) -> None:
        self._load, self._size_of, self._max_bytes = load, size_of, max_bytes
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
        self._clips: OrderedDict[int, Future[DecodedClip]] = OrderedDict()
        self.num_bytes = 0
        self.num_loads = 0

    def request(self, clip_id: int) -> Future[DecodedClip]:
        """Start decoding a clip, or mark it as wanted again."""
        if clip_id in self._clips:
            self._clips.move_to_end(clip_id)
            return self._clips[clip_id]
        self.num_bytes += self._size_of(clip_id)
        while self.num_bytes > self._max_bytes and self._clips:
            self._drop(next(iter(self._clips)))
        self.num_loads += 1
        self._clips[clip_id] = self._pool.submit(self._load, clip_id)
        return self._clips[clip_id]

    def get(self, clip_id: int) -> DecodedClip:
        """Wait for a clip. Raises what decoding raised."""
        return self.request(clip_id).result()

    def cancel(self) -> None:
        """Forget what is not decoded yet."""
        for clip_id in [clip_id for clip_id, future in self._clips.items() if not future.done()]:
            self._drop(clip_id)

    def close(self) -> None:
        """Stop the threads and free the memory."""
        self._pool.shutdown(cancel_futures=True)
        self._clips.clear()
        self.num_bytes = 0

    def _drop(self, clip_id: int) -> None:
        self._clips.pop(clip_id).cancel()
        self.num_bytes -= self._size_of(clip_id)
