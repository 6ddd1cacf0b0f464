"""`Worker`: a process that records one episode at a time, seen from outside, and what runs in it.

It leads a process group of its own: a Ctrl-C at the terminal reaches only the parent, which then ends each group, its
game included. A worker whose parent was killed finds the pipe broken at its next report, and ends by itself.
"""

import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Final

from gi_data.record import Recorded, Recorder, RecordPlan
from gi_model.errors import GameError, GiError

PATIENCE_S: Final = 5.0

Report = Recorded | int | GiError  # an episode, ticks since the last report, or why there is no episode


class Worker:
    """One recording process and the episode it is at; `seed` is None while it is idle."""

    def __init__(self, plan: RecordPlan) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=run_worker, args=(theirs, plan))
        self._process.start()
        theirs.close()
        self.seed: int | None = None

    @property
    def is_usable(self) -> bool:
        """Whether it may still report."""
        return not self.pipe.closed

    def give(self, seed: int) -> None:
        """Start episode `seed`."""
        self.seed = seed
        with suppress(BrokenPipeError):  # a dead worker is noticed by `hear`
            self.pipe.send(seed)

    def hear(self) -> Report:
        """The next report; GameError if the process died."""
        try:
            report: Report = self.pipe.recv()
        except (EOFError, OSError):
            self.stop()
            return GameError("its process died", got=f"exit code {self._process.exitcode}")
        return report

    def stop(self) -> None:
        """End the process and its game: kindly, so that the game can clear up, then not. Idempotent."""
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(PATIENCE_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.join()
        self.pipe.close()


def run_worker(pipe: Connection, plan: RecordPlan) -> None:
    """Record the seeds that come down the pipe, until it closes."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    recorder: Recorder | None = None
    try:
        while True:
            seed = pipe.recv()
            try:
                recorder = recorder or Recorder(plan)
                pipe.send(recorder.record(seed, pipe.send))
            except GiError as error:
                pipe.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone: nobody wants more
    finally:
        if recorder is not None:
            recorder.close()
