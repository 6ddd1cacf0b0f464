"""Processes of a benchmark: each on cores of its own, CPU time and memory read from outside, ended for sure. Linux.

CPU seconds are those of a process and everything below it, so that a server which spreads over processes is charged
for all of them.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from gi_model.errors import ConfigError, ServeError

_SECONDS_TO_END: Final = 5.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where. The generator has the last core; a machine with one core shares it."""

    server: tuple[int, ...]
    generator: tuple[int, ...]

    @classmethod
    def split(cls) -> Self:
        """The cores this process may use. Raises ConfigError on a system that cannot pin."""
        if not hasattr(os, "sched_setaffinity"):
            raise ConfigError("this benchmark pins processes to cores", got=sys.platform, expected="Linux")
        cores = sorted(os.sched_getaffinity(0))
        return cls(tuple(cores[:-1] or cores), (cores[-1],))

    @property
    def are_shared(self) -> bool:
        """Whether server and generator take time from each other."""
        return bool(set(self.server) & set(self.generator))


class Child:
    """A process in a session of its own, so that it and all below it end together; a context manager."""

    def __init__(self, command: Sequence[str], cores: Sequence[int], *, stdout: int = subprocess.PIPE) -> None:
        self._command = " ".join(command)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the process)
        settings = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # more threads cost CPU time even idle
        settings["PYTHONUNBUFFERED"] = ""  # unbuffered, Python loses the end of a long line that a signal interrupts
        self.process = subprocess.Popen(
            list(command),
            stdout=stdout,
            stderr=self._errors,
            text=True,
            start_new_session=True,
            env=os.environ | settings,
        )
        with suppress(ProcessLookupError):
            os.sched_setaffinity(self.process.pid, cores)  # before it has threads; they inherit it

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    def read(self) -> dict[str, Any]:
        """The next line it prints, as JSON. Raises ServeError if it ended instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise ServeError("a process of the benchmark ended", got=self.last_words(), do=f"It was: {self._command}")
        facts: dict[str, Any] = json.loads(line)
        return facts

    def last_words(self) -> str:
        """The last line of its stderr so far."""
        self._errors.seek(0)
        return (self._errors.read().strip().splitlines() or ["nothing"])[-1]

    def kill(self) -> None:
        """End it and all below it, without a last word."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_SECONDS_TO_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        self._errors.close()
        if self.process.stdout is not None:
            self.process.stdout.close()


def run_module(module: str, job: dict[str, Any], cores: Sequence[int]) -> Child:
    """`module` of this package as a process, with `job` as its one argument, JSON."""
    return Child([sys.executable, "-m", f"gi_serve.{module}", json.dumps(job)], cores)


def cpu_s(pid: int) -> float:
    """CPU seconds of `pid` and everything below it so far."""
    return sum(_clock_s(each) for each in family(pid))


def family(pid: int) -> Iterator[int]:
    """`pid` and all processes below it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                yield from family(int(child))


def _clock_s(pid: int) -> float:
    try:
        return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) gives, which Python does not wrap
    except OSError:  # it has ended
        return 0.0


def resident_mb(pid: int) -> float:
    """Memory of `pid` now, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def num_files(pid: int) -> int:
    """Open files and sockets of `pid`."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
