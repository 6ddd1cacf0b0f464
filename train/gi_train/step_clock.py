"""`StepClock`: where a step's time goes, by part, and which rank holds the others up.

On a GPU parts are timed by events on its own clock, read when somebody asks: nothing waits for them. Ranks run in step,
since each waits for all in the backward pass: a step takes equally long on all of them, and only what they do before
(fetch a batch, compute forward) tells which one is slow. Where weights are sharded even forward waits for the others,
and only a slow reader shows.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Final

import torch
from torch import Tensor

SLOW: Final = 1.2  # times the median rank's own work: worth a line
OWN_PARTS: Final = ("fetch", "forward")


class StepClock:
    """Seconds of named parts of a step since they were last read."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is inside as `name`; "fetch" is the host's time, all else the device's."""
        if self._on_gpu and name != "fetch":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            yield
            end.record()
            self._events.append((name, start, end))
            return
        begun = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - begun

    def read(self) -> dict[str, float]:
        """Seconds by part since the last reading; on a GPU waits for its work to end."""
        for name, start, end in self._events:
            end.synchronize()
            self._seconds[name] += start.elapsed_time(end) / 1000
        read, self._seconds, self._events = dict(self._seconds), defaultdict(float), []
        return read


def find_straggler(parts: dict[str, float], gather: Callable[[Tensor], Tensor], device: torch.device) -> str | None:
    """What to say about the slowest rank, if it is worth a line; every rank must call it.

    parts: this rank's, from `StepClock.read`; gather: one float32 (1, P) a rank -> (ranks, P), in order of rank.
    """
    own = torch.tensor([[parts.get(name, 0.0) for name in OWN_PARTS]], device=device)
    return describe_straggler(gather(own).tolist())


def describe_straggler(ranks: Sequence[Sequence[float]]) -> str | None:
    """A line naming the slowest rank if its own work takes more than SLOW times the median. ranks: seconds by part."""
    times = [sum(parts) for parts in ranks]
    middle = median(times)
    slowest = max(range(len(times)), key=times.__getitem__)
    if len(times) < 2 or times[slowest] <= SLOW * middle or not middle:
        return None
    excess = [mine - median(column) for mine, column in zip(ranks[slowest], zip(*ranks, strict=True), strict=True)]
    why = "waits for data" if excess[0] >= excess[1] else "computes slowly"
    return f"rank {slowest} holds the others up: {times[slowest] / middle:.1f} x the median rank's work; it {why}"
