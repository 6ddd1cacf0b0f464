"""What one engine counts, in plain numbers that cost a frame nothing, and their Prometheus form, made when read.

Rejected: prometheus_client's own counters on a frame's path: each takes a lock and a Python call, ten times a frame.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

SECONDS: Final = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0)
BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
COUNTERS: Final = {
    "frames": "Frames received",
    "bad_frames": "Frames refused",
    "answers": "Frames answered",
    "dropped_frames": "Frames that gave way to newer ones",
    "deadline_misses": "Answers after the deadline",
    "step_failures": "Batches the model failed on",
}
STAGES: Final = ("decode", "queue", "step", "total")


class Distribution:
    """How often a value fell into each bucket, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        """Count `value`."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Prometheus' cumulative buckets."""
        names = [*(f"{float(bound)}" for bound in self.bounds), "+Inf"]
        return list(zip(names, accumulate(map(float, self.counts)), strict=True))


def _seconds() -> Distribution:
    return Distribution(SECONDS)


@dataclass(slots=True)
class ModelMetrics:
    """What one engine counts. Belongs to the event loop's thread, readers included."""

    decode: Distribution = field(default_factory=_seconds)
    queue: Distribution = field(default_factory=_seconds)
    step: Distribution = field(default_factory=_seconds)
    total: Distribution = field(default_factory=_seconds)
    batch_size: Distribution = field(default_factory=lambda: Distribution(BATCH_SIZES))
    sessions: int = 0
    slots: int = 0
    frames: int = 0
    bad_frames: int = 0
    answers: int = 0
    dropped_frames: int = 0
    deadline_misses: int = 0
    step_failures: int = 0


class MetricsCollector(Collector):
    """The metrics of every model of a server, as Prometheus reads them."""

    def __init__(self, models: Mapping[str, ModelMetrics]) -> None:
        self._models = models
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def collect(self) -> "Iterable[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]":
        """All of it."""
        stages = HistogramMetricFamily("gi_serve_stage_seconds", "Time a frame spends", labels=["model", "stage"])
        batches = HistogramMetricFamily("gi_serve_batch_size", "Frames a step", labels=["model"])
        sessions = GaugeMetricFamily("gi_serve_sessions", "Open sessions", labels=["model"])
        slots = GaugeMetricFamily("gi_serve_slots", "Sessions the model can hold", labels=["model"])
        for model, metrics in self._models.items():
            for stage in STAGES:
                spent: Distribution = getattr(metrics, stage)
                stages.add_metric([model, stage], spent.buckets, spent.total)
            batches.add_metric([model], metrics.batch_size.buckets, metrics.batch_size.total)
            sessions.add_metric([model], metrics.sessions)
            slots.add_metric([model], metrics.slots)
        yield from (stages, batches, sessions, slots)
        for name, meaning in COUNTERS.items():
            counter = CounterMetricFamily(f"gi_serve_{name}", meaning, labels=["model"])
            for model, metrics in self._models.items():
                counter.add_metric([model], getattr(metrics, name))
            yield counter
