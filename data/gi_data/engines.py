"""`map_local`: a function over many jobs, each in one of a few processes, whatever a job does to its process.

A worker that dies (a decoder that crashes on a hostile file) costs the job it was at, which is reported through
`on_death`; a new worker takes its place. Workers end with their parent, however that ends: two runs must never write
the same recording. Rejected: a process pool (one crash breaks it, and it does not say whose).
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Final, Generic, Literal, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

EngineName = Literal["local", "ray"]
PATIENCE_S: Final = 5.0


def map_on(
    engine: EngineName,
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    on_death: Callable[[Job, str], Result],
) -> Generator[Result, None, None]:
    """`map_local`, or the same on a Ray cluster (`gi_data.engine_ray`)."""
    if engine == "ray":
        from gi_data.engine_ray import map_ray

        return map_ray(function, jobs, workers=workers, on_death=on_death)
    return map_local(function, jobs, workers=workers, on_death=on_death)


def map_local(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    on_death: Callable[[Job, str], Result],
) -> Generator[Result, None, None]:
    """Results of a function that can be imported, as they come; in this process if `workers` is 0."""
    if not workers:
        yield from map(function, jobs)
        return
    waiting, hands = deque(jobs), list[_Hand[Job, Result]]()
    try:
        while waiting or hands:
            while waiting and len(hands) < workers:
                hands.append(_Hand(function))
                hands[-1].give(waiting.popleft())
            ready = wait([hand.pipe for hand in hands])
            for hand in [hand for hand in hands if hand.pipe in ready]:
                yield hand.hear(on_death)
                if hand.is_usable and waiting:
                    hand.give(waiting.popleft())
                else:
                    hand.stop()
                    hands.remove(hand)
    finally:
        for hand in hands:
            hand.stop()


class _Hand(Generic[Job, Result]):
    """One worker process and the job it is at, seen from outside."""

    def __init__(self, function: Callable[[Job], Result]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, function), daemon=True)
        self._process.start()
        theirs.close()
        self.is_usable = True
        self._job: Job

    def give(self, job: Job) -> None:
        """Start a job."""
        self._job = job
        with suppress(BrokenPipeError):  # a dead worker is noticed by `hear`
            self.pipe.send(job)

    def hear(self, on_death: Callable[[Job, str], Result]) -> Result:
        """The result of the job it is at."""
        try:
            result: Result = self.pipe.recv()
        except (EOFError, OSError):
            self.stop()
            return on_death(self._job, f"its process died with exit code {self._process.exitcode}")
        return result

    def stop(self) -> None:
        """End the process. Idempotent."""
        self.is_usable = False
        self.pipe.close()
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()


def work(pipe: Connection, function: Callable[[Job], Result]) -> None:
    """Run in a worker: the jobs that come down the pipe, until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            pipe.send(function(pipe.recv()))


def _end_with_parent() -> None:
    """Even in the middle of a job."""
    if (parent := multiprocessing.parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)
