"""`Decoders`: the threads that turn images into frames. Work goes in, results come back to the event loop.

One thread does it all as long as it keeps up, and wakes the loop when no work is left: images that came together come
back together, into one batch. `PATIENCE_S` after work came in the loop looks by itself, and calls another thread if
some of it is still untouched, so a small image waits neither for somebody's large one nor for a crowd. Threads that
take turns on a core, and wake the loop with every result, cost a small image a tenth of its decode; an executor's
futures a quarter. Rejected: decoding on the loop (no cheaper, and holds up everybody for the time of an image).
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from gi_serve.problems import Problem, as_problem

T = TypeVar("T")
PATIENCE_S: Final = 0.004


class Decoders:
    """`num` threads. `put` and `start` belong to the event loop's thread, and so does whoever hears of results."""

    def __init__(self, num: int) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()  # for help
        self._results: deque[Callable[[], None]] = deque()
        self._num_open = 0  # jobs that the loop has not heard of again
        self._timer: asyncio.TimerHandle | None = None  # while there are any
        self._is_told = False  # the loop, that there are results
        self._threads = [
            threading.Thread(target=self._run, args=(n > 0,), name=f"decode-{n}", daemon=True) for n in range(num)
        ]

    def start(self) -> None:
        """Start. Call on the running event loop."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, after the work there is; nobody hears of it any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._num_open = 0
        self._results.clear()
        for _ in self._threads:
            self._jobs.put(None)
            self._calls.put(None)

    def put(self, work: Callable[[], T], done: Callable[[T | Problem], None]) -> None:
        """Do `work` in a thread; `done` is called on the loop with what it returned, or a problem if it raised."""
        self._num_open += 1
        if self._timer is None:
            self._timer = self._loop.call_later(PATIENCE_S, self._look)
        self._jobs.put(partial(self._do, work, done))

    # ------------------------------------------------------------------ the threads

    def _run(self, is_helper: bool) -> None:
        while (job := self._next(is_helper)) is not None:
            job()

    def _next(self, is_helper: bool) -> Callable[[], None] | None:
        while True:
            try:
                return self._jobs.get_nowait()
            except queue.Empty:
                pass
            try:
                self._tell()
            except RuntimeError:  # the loop is closed: nobody is left to hear
                return None
            if not is_helper:
                return self._jobs.get()
            self._calls.get()

    def _do(self, work: Callable[[], T], done: Callable[[T | Problem], None]) -> None:
        result: T | Problem
        try:
            result = work()
        except Exception as error:  # a codec's own exception must not reach a client, nor end the thread
            result = as_problem(error)
        self._results.append(partial(done, result))

    def _tell(self) -> None:
        if self._results and not self._is_told:
            self._is_told = True
            self._loop.call_soon_threadsafe(self._collect)

    # ------------------------------------------------------------------ the loop

    def _look(self) -> None:
        if not self._jobs.empty() and self._calls.empty():
            self._calls.put(None)
        self._collect()

    def _collect(self) -> None:
        self._is_told = False  # before: what is appended from now on wakes the loop again
        if self._timer is not None:
            self._timer.cancel()
        while self._results:
            self._num_open -= 1
            self._loop.call_soon(self._results.popleft())
        self._timer = self._loop.call_later(PATIENCE_S, self._look) if self._num_open > 0 else None
