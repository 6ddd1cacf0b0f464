"""`Decoders`: the threads that turn images into frames. Work goes in, results come back to the event loop.

However many results are there when the loop looks, it was woken once. An executor's futures cost a small image a
quarter of its decode: two futures, three locks, and a wake-up of the loop for each. Rejected: decoding on the loop
(saves another tenth, and holds up everybody for the time of an image).
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from gi_serve.problems import Problem, as_problem

T = TypeVar("T")


class Decoders:
    """`num` threads. `put` and `start` belong to the event loop's thread, and so does whoever hears of results."""

    def __init__(self, num: int) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._results: deque[Callable[[], None]] = deque()
        self._is_told = False  # the loop, that there are results
        self._threads = [threading.Thread(target=self._run, name=f"decode-{n}", daemon=True) for n in range(num)]

    def start(self) -> None:
        """Start. Call on the running event loop."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, after the work there is; nobody hears of it any more."""
        self._results.clear()
        for _ in self._threads:
            self._jobs.put(None)

    def put(self, work: Callable[[], T], done: Callable[[T | Problem], None]) -> None:
        """Do `work` in a thread; `done` is called on the loop with what it returned, or a problem if it raised."""
        self._jobs.put(partial(self._do, work, done))

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except RuntimeError:  # the loop is closed: nobody is left to hear
                return

    def _do(self, work: Callable[[], T], done: Callable[[T | Problem], None]) -> None:
        result: T | Problem
        try:
            result = work()
        except Exception as error:  # a codec's own exception must not reach a client, nor end the thread
            result = as_problem(error)
        self._results.append(partial(done, result))
        if not self._is_told:
            self._is_told = True
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_told = False  # before: what is appended from now on wakes the loop again
        while self._results:
            self._loop.call_soon(self._results.popleft())
