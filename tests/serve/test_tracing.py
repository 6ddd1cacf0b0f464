"""Spans: one a step, its times true, linked to whoever asked; sent by OTLP; and not one unless asked for."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gi_model.errors import ConfigError
from gi_serve.protocol import encode_frame
from gi_serve.tracing import StepTracer, make_otlp_tracer, read_trace_parent
from tests.serve.fake_steppers import EchoStepper, FailingStepper
from tests.serve.pictures import paint, png_of
from tests.serve.serving import Running, serving
from tests.serve.streaming import ask, next_action, next_event, open_stream, raw

TRACE_ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def play(running: Running, num_frames: int) -> None:
    """Frames posted by a player whose game traces itself."""
    with httpx.Client(base_url=running.url, trust_env=False, headers={"traceparent": PARENT}) as http:
        where = http.post("/v1/sessions").headers["Location"]
        for _ in range(num_frames):
            http.post(f"{where}/frames", content=png_of(paint(1)), headers={"Content-Type": "image/png"})


def test_a_step_is_a_span_that_leads_to_its_player() -> None:
    exporter, before_ns = InMemorySpanExporter(), time.time_ns()
    with serving(EchoStepper(seconds=0.01), tracer=StepTracer(exporter, share=1.0)) as running:
        play(running, 3)
    spans = exporter.get_finished_spans()
    assert len(spans) == 3
    for span in spans:
        assert span.name == "gi.step"
        assert span.parent is None
        assert [f"{link.context.trace_id:032x}" for link in span.links] == [TRACE_ID]
        assert span.attributes is not None
        assert span.attributes["gi.model"] == "echo"
        assert span.attributes["gi.batch_size"] == 1
        assert span.start_time is not None
        assert span.end_time is not None
        assert before_ns <= span.start_time < span.end_time <= time.time_ns()
        assert span.end_time - span.start_time >= 10_000_000
    assert spans[0].resource.attributes["service.name"] == "gi-serve"


def test_a_failed_step_says_so() -> None:
    exporter = InMemorySpanExporter()
    with (
        serving(FailingStepper(), tracer=StepTracer(exporter, share=1.0)) as running,
        open_stream(running) as connection,
    ):
        ask(connection, type="session.update")
        connection.send(encode_frame(raw(0, identity=13)))
        assert next_event(connection)["type"] == "error"
        connection.send(encode_frame(raw(1)))
        next_action(connection)
    failed, good = exporter.get_finished_spans()
    assert (failed.status.is_ok, good.status.is_ok) == (False, True)
    assert failed.links == good.links == ()


def test_a_share_of_nothing_is_nothing() -> None:
    exporter = InMemorySpanExporter()
    with serving(EchoStepper(), tracer=StepTracer(exporter, share=0.0)) as running:
        play(running, 5)
    assert exporter.get_finished_spans() == ()
    for wrong in (-0.1, 1.1):
        with pytest.raises(ConfigError):
            StepTracer(exporter, share=wrong)


@pytest.mark.parametrize("text", ["", "x", "00-0-0-01", PARENT.replace("b7ad6b7169203331", "0" * 16), "\0" * 99])
def test_a_wrong_traceparent_links_to_nothing(text: str) -> None:
    assert not read_trace_parent(text).is_valid
    assert read_trace_parent(PARENT).is_valid


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector of spans on a real socket, and what it got."""
    got: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        server.server_close()


def test_spans_reach_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (url, got):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with serving(EchoStepper(), tracer=make_otlp_tracer(1.0)) as running:
            play(running, 2)
    spans = [span for each in got for of in each.resource_spans for scope in of.scope_spans for span in scope.spans]
    assert [span.name for span in spans] == ["gi.step"] * 2
