"""Spans: one a batch step, sampled, sent by OTLP to wherever `OTEL_EXPORTER_OTLP_ENDPOINT` says. Off unless asked for.

A span a frame would cost more than the frame; a step says as much: which model, how many players, how long the
oldest frame waited, how long the model took. It links to the traces that its players' requests named
(`traceparent`), so that a game's own trace leads to the steps that answered it.
"""

import random
import time
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanContext, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gi_model import __version__
from gi_model.errors import ConfigError
from gi_serve.model_thread import Outcome

MAX_LINKS: Final = 64


class StepTracer:
    """Turns steps into spans. share: how many of them, in [0, 1]. Belongs to the event loop's thread."""

    def __init__(self, exporter: SpanExporter, *, share: float) -> None:
        if not 0.0 <= share <= 1.0:
            raise ConfigError("not a share of steps", got=share, expected="0 to 1")
        resource = Resource.create({"service.name": "gi-serve", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer, self._share = self._provider.get_tracer("gi_serve", __version__), share
        self._epoch_ns = time.time_ns() - time.monotonic_ns()

    def record(self, model: str, outcome: Outcome) -> None:
        """A span of the step that ended as `outcome`, or nothing, as chance has it."""
        if random.random() >= self._share:
            return
        span = self._tracer.start_span(
            "gi.step",
            context=trace.set_span_in_context(trace.INVALID_SPAN),  # a root: a step belongs to many traces or none
            start_time=self._epoch_ns + outcome.started_ns,
            links=[Link(context) for context in contexts_of(outcome)],
            attributes={
                "gi.model": model,
                "gi.batch_size": len(outcome.entries),
                "gi.queue_ms": max(outcome.started_ns - entry.frame.ready_ns for entry in outcome.entries) / 1e6,
                "gi.forward_ms": (outcome.done_ns - outcome.stepped_ns) / 1e6,
            },
        )
        if outcome.steps is None:
            span.set_status(Status(StatusCode.ERROR, "the model failed"))
        span.end(self._epoch_ns + outcome.done_ns)

    def stop(self) -> None:
        """Send what waits, and end the exporter's thread."""
        self._provider.shutdown()


def contexts_of(outcome: Outcome) -> list[SpanContext]:
    """The traces that the step's players named, each once."""
    named = {entry.session.trace_parent for entry in outcome.entries if entry.session.trace_parent}
    contexts = [read_trace_parent(text) for text in sorted(named)[:MAX_LINKS]]
    return [context for context in contexts if context.is_valid]


def read_trace_parent(text: str) -> SpanContext:
    """The context of a W3C `traceparent` header; an invalid one for anything else."""
    extracted = TraceContextTextMapPropagator().extract({"traceparent": text}, context=Context())
    return trace.get_current_span(extracted).get_span_context()


def make_otlp_tracer(share: float) -> StepTracer:
    """Spans by OTLP over HTTP, as the standard `OTEL_EXPORTER_OTLP_*` variables say (default: localhost:4318)."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return StepTracer(OTLPSpanExporter(), share=share)
