"""Prometheus metrics of the service, labels bound once per model so that a frame pays for additions only."""

from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0)
_BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Every metric of one server, in its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        model, registry = ["model"], self.registry
        self.stage = Histogram(
            "gi_serve_stage_seconds", "Time a frame spends", ["model", "stage"], buckets=_SECONDS, registry=registry
        )
        self.batch = Histogram("gi_serve_batch_size", "Frames a step", model, buckets=_BATCH_SIZES, registry=registry)
        self.sessions = Gauge("gi_serve_sessions", "Open sessions", model, registry=registry)
        self.slots = Gauge("gi_serve_slots", "Sessions the model can hold", model, registry=registry)
        self.frames = Counter("gi_serve_frames", "Frames received", model, registry=registry)
        self.bad = Counter("gi_serve_bad_frames", "Frames refused", model, registry=registry)
        self.answers = Counter("gi_serve_answers", "Frames answered", model, registry=registry)
        self.drops = Counter("gi_serve_dropped_frames", "Frames superseded by newer ones", model, registry=registry)
        self.late = Counter("gi_serve_deadline_misses", "Answers after the deadline", model, registry=registry)
        self.failures = Counter("gi_serve_step_failures", "Batches the model failed on", model, registry=registry)

    def of(self, model: str) -> "ModelMetrics":
        """The metrics of one model."""
        return ModelMetrics.bind(self, model)


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """The metrics of one model, bound to its label."""

    decode: Histogram
    queue: Histogram
    step: Histogram
    total: Histogram
    batch: Histogram
    sessions: Gauge
    slots: Gauge
    frames: Counter
    bad: Counter
    answers: Counter
    drops: Counter
    late: Counter
    failures: Counter

    @classmethod
    def bind(cls, metrics: Metrics, model: str) -> Self:
        """Bind the label `model`."""
        return cls(
            decode=metrics.stage.labels(model, "decode"),
            queue=metrics.stage.labels(model, "queue"),
            step=metrics.stage.labels(model, "step"),
            total=metrics.stage.labels(model, "total"),
            batch=metrics.batch.labels(model),
            sessions=metrics.sessions.labels(model),
            slots=metrics.slots.labels(model),
            frames=metrics.frames.labels(model),
            bad=metrics.bad.labels(model),
            answers=metrics.answers.labels(model),
            drops=metrics.drops.labels(model),
            late=metrics.late.labels(model),
            failures=metrics.failures.labels(model),
        )
