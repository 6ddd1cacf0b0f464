"""`Prefetch`: runs an iterator in a thread, a few items ahead of whoever consumes it."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
_POLL_S = 0.1  # how soon either side notices that it was closed


@dataclass(frozen=True)
class _End:
    """The iterator is exhausted, or failed."""

    error: BaseException | None = None


class Prefetch(Generic[Item]):
    """An iterator over `source`, which runs in its own thread up to `depth` items ahead; errors come through."""

    def __init__(self, source: Iterator[Item], depth: int) -> None:
        self._queue: queue.Queue[Item | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(source,), name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while not self._stop.is_set():
            try:
                item = self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if not isinstance(item, _End):
                return item
            self.close()
            if item.error is not None:
                raise item.error
        raise StopIteration

    def close(self) -> None:
        """Stop the thread and wait for it. Idempotent."""
        self._stop.set()
        self._thread.join()

    def _run(self, source: Iterator[Item]) -> None:
        try:
            for item in source:
                self._put(item)
                if self._stop.is_set():
                    return
            self._put(_End())
        except BaseException as error:  # raised again where it is consumed
            self._put(_End(error))

    def _put(self, item: Item | _End) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
        return None
