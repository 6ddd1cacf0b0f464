"""What a benchmark counts: frames, CPU seconds of the process and of children it has waited for, wall seconds, memory.

CPU time, not wall time, is the measure: a loader shares its machine with training, and other processes on the machine
disturb it less. Best of several is the figure of a quiet machine; the median says how quiet it was. On a noisy one two
bests come from different minutes: the fairer ratio is that of two readings which followed each other, by its median.
"""

import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Self


@dataclass(frozen=True, slots=True)
class Sample:
    """One repetition: `frames` that reached the consumer. decoded: frames decoded for them; 0: not known."""

    frames: int
    cpu_s: float
    wall_s: float
    decoded: int = 0

    @property
    def frames_per_cpu_s(self) -> float:
        """Frames for a second of one core."""
        return self.frames / max(self.cpu_s, 1e-9)


@dataclass(frozen=True, slots=True)
class Score:
    """Repetitions of one contestant, summed up."""

    name: str
    order: str
    frames: int
    repetitions: int
    best: float  # frames a CPU-second
    median: float  # frames a CPU-second
    wall: float  # frames a second of the clock, best
    decoded: int  # frames, in one repetition; 0: not known
    speeds: tuple[float, ...] = ()  # frames a CPU-second, of each repetition

    @classmethod
    def of(cls, name: str, order: str, samples: Sequence[Sample]) -> Self:
        """Sum up at least one sample."""
        speeds = [sample.frames_per_cpu_s for sample in samples]
        wall = max(sample.frames / max(sample.wall_s, 1e-9) for sample in samples)
        first = samples[0]
        return cls(
            name, order, first.frames, len(samples), max(speeds), median(speeds), wall, first.decoded, tuple(speeds)
        )


def paired(ours: Score, theirs: Score) -> float:
    """Our speed over theirs: the median of the ratios of readings that followed each other."""
    return median(one / other for one, other in zip(ours.speeds, theirs.speeds, strict=False))


def measure(work: Callable[[], int]) -> Sample:
    """Run `work`, which returns the frames it delivered."""
    cpu_s, wall_s = _cpu_s(), time.perf_counter()
    frames = work()
    return Sample(frames, _cpu_s() - cpu_s, time.perf_counter() - wall_s)


def resident_mb() -> float:
    """Memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
