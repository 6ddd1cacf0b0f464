"""What a server and its engines count, in plain numbers that cost a frame nothing, and their Prometheus form.

A frame's way, stage by stage:

    receive  message or request on the socket -> read and checked     forward  the model's step, of the whole batch
    decode   image -> pixels of the model's size (not of raw frames)  encode   action tokens -> the message that is sent
    queue    pixels ready -> taken into a batch                       send     handed to the socket
    batch    frames of a batch -> one array, slots opened             total    received -> answered

Rejected: prometheus_client's own counters on a frame's path: each takes a lock and a Python call, ten times a frame.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from gi_serve.problems import Problem

SECONDS: Final = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0)
BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
COUNTERS: Final = {
    "frames": "Frames received",
    "bad_frames": "Frames refused",
    "answers": "Frames answered",
    "dropped_frames": "Frames that gave way to newer ones",
    "deadline_misses": "Answers after the deadline",
    "step_failures": "Batches the model failed on",
    "watchdogs": "Times a robot got no action in time",
    "stops": "Emergency stops of robots",
}
STAGES: Final = ("receive", "decode", "queue", "batch", "forward", "encode", "send", "total")


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

    receive: Distribution = field(default_factory=_seconds)
    decode: Distribution = field(default_factory=_seconds)
    queue: Distribution = field(default_factory=_seconds)
    batch: Distribution = field(default_factory=_seconds)
    forward: Distribution = field(default_factory=_seconds)
    encode: Distribution = field(default_factory=_seconds)
    send: Distribution = field(default_factory=_seconds)
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
    adapter_sessions: Counter[str] = field(default_factory=Counter)  # by adapter
    adapter_frames: Counter[str] = field(default_factory=Counter)
    watchdogs: int = 0
    stops: int = 0
    clamps: Counter[tuple[str, str]] = field(default_factory=Counter)  # by actuator and kind of limit
    shielded: Counter[str] = field(default_factory=Counter)  # actions of robots, by what the shield did

    def count_step(self, num_rows: int, started_ns: int, stepped_ns: int, done_ns: int) -> None:
        """Count a batch of the model: when it was begun, when its frames lay together, when it was answered."""
        self.batch_size.observe(num_rows)
        self.batch.observe((stepped_ns - started_ns) / 1e9)
        self.forward.observe((done_ns - stepped_ns) / 1e9)

    def count_answer(self, total_ns: int, *, is_late: bool) -> None:
        """Count an answer, so long after its frame came."""
        self.answers += 1
        self.deadline_misses += is_late
        self.total.observe(total_ns / 1e9)


@dataclass(slots=True)
class ServerMetrics:
    """What the process counts beside its models. problems: answers of each kind, by status and name."""

    loop_lag: Distribution = field(default_factory=_seconds)
    problems: Counter[tuple[int, str]] = field(default_factory=Counter)
    connections: int = 0

    def count(self, problem: Problem) -> None:
        """Count an answer."""
        self.problems[problem.kind.status, problem.kind.slug] += 1


class MetricsCollector(Collector):
    """The metrics of a server and of its models, whichever it has at the time, as Prometheus reads them."""

    def __init__(self, server: ServerMetrics, models: Callable[[], Mapping[str, ModelMetrics]]) -> None:
        self._server, self._models = server, models
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def collect(self) -> "Iterable[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]":
        """All of it."""
        yield from self._collect_server()
        yield from self._collect_models(self._models())

    def _collect_server(self) -> "Iterable[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]":
        lag = HistogramMetricFamily("gi_serve_loop_lag_seconds", "How late the event loop wakes who sleeps")
        lag.add_metric([], self._server.loop_lag.buckets, self._server.loop_lag.total)
        problems = CounterMetricFamily("gi_serve_problems", "Problems answered", labels=["status", "problem"])
        for (status, name), count in self._server.problems.items():
            problems.add_metric([str(status), name], count)
        connections = GaugeMetricFamily("gi_serve_connections", "Open WebSockets", self._server.connections)
        yield from (lag, problems, connections)

    def _collect_models(
        self, models: Mapping[str, ModelMetrics]
    ) -> "Iterable[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]":
        stages = HistogramMetricFamily("gi_serve_stage_seconds", "Time a frame spends", labels=["model", "stage"])
        batches = HistogramMetricFamily("gi_serve_batch_size", "Frames a step", labels=["model"])
        sessions = GaugeMetricFamily("gi_serve_sessions", "Open sessions", labels=["model"])
        slots = GaugeMetricFamily("gi_serve_slots", "Sessions the model can hold", labels=["model"])
        for model, metrics in models.items():
            for stage in STAGES:
                spent: Distribution = getattr(metrics, stage)
                stages.add_metric([model, stage], spent.buckets, spent.total)
            batches.add_metric([model], metrics.batch_size.buckets, metrics.batch_size.total)
            sessions.add_metric([model], metrics.sessions)
            slots.add_metric([model], metrics.slots)
        yield from (stages, batches, sessions, slots)
        yield from _collect_adapters(models)
        yield from _collect_robots(models)
        for name, meaning in COUNTERS.items():
            counter = CounterMetricFamily(f"gi_serve_{name}", meaning, labels=["model"])
            for model, metrics in models.items():
                counter.add_metric([model], getattr(metrics, name))
            yield counter


def _collect_adapters(models: Mapping[str, ModelMetrics]) -> "Iterable[CounterMetricFamily | GaugeMetricFamily]":
    labels = ["model", "adapter"]
    sessions = GaugeMetricFamily("gi_serve_adapter_sessions", "Open sessions of each adapter", labels=labels)
    frames = CounterMetricFamily("gi_serve_adapter_frames", "Frames received for each adapter", labels=labels)
    for model, metrics in models.items():
        for adapter, count in metrics.adapter_sessions.items():
            sessions.add_metric([model, adapter], count)
        for adapter, count in metrics.adapter_frames.items():
            frames.add_metric([model, adapter], count)
    return sessions, frames


def _collect_robots(models: Mapping[str, ModelMetrics]) -> "Iterable[CounterMetricFamily]":
    clamps = CounterMetricFamily("gi_serve_clamps", "Commands a limit changed", labels=["model", "actuator", "kind"])
    actions = CounterMetricFamily("gi_serve_robot_actions", "Actions of robots", labels=["model", "shield"])
    for model, metrics in models.items():
        for (actuator, kind), count in metrics.clamps.items():
            clamps.add_metric([model, actuator, kind], count)
        for outcome, count in metrics.shielded.items():
            actions.add_metric([model, outcome], count)
    return clamps, actions
