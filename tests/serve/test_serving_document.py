"""docs/serving.md says what the server does: every flag, metric, stage, limit, and code in it is real."""

import re
from pathlib import Path

import typer.main

from gi_data.ingest.page_chunk import MAX_CHUNK_BYTES
from gi_model.cli import build_app
from gi_serve.cli_serve import serve_command
from gi_serve.connections import HEAD_SECONDS, MAX_CONNECTIONS, MAX_HEAD_BYTES
from gi_serve.guard import MAX_BODY_BYTES, MAX_WINDOW_BYTES, SECONDS_FOR_A_BODY
from gi_serve.images import MAX_PIXELS, MAX_SIDE
from gi_serve.metrics import STAGES, MetricsCollector, ModelMetrics, ServerMetrics
from gi_serve.play_uploads import UploadLimits
from gi_serve.problems import KINDS
from gi_serve.protocol import MAX_IMAGE_BYTES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()


def flags_of(*names: str) -> set[str]:
    command = typer.main.get_command(build_app())
    for name in names:
        command = command.commands[name]  # type: ignore[attr-defined]
    return {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}


def test_every_flag_exists() -> None:
    commands = (("serve",), ("record",), ("keys", "new"), ("play",), ("bench", "serve"), ("bench", "faults"))
    known = set[str]().union(*(flags_of(*command) for command in commands))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", DOCUMENT))
    assert named - known == set()
    assert len(named) > 20


def test_every_metric_is_in_the_table_and_no_other() -> None:
    server = ServerMetrics()
    server.problems[404, "x"] += 1
    families = MetricsCollector(server, lambda: {"m": ModelMetrics()}).collect()
    real = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert set(re.findall(r"`(gi_serve_\w+)`", DOCUMENT)) == real


def test_every_stage_is_explained() -> None:
    (line,) = [line for line in DOCUMENT.splitlines() if line.startswith("A frame's stages")]
    assert [name for name in re.findall(r"`(\w+)`", line) if name in STAGES] == list(STAGES)


def test_problems_have_their_names_and_status() -> None:
    known = {(str(kind.status), kind.slug) for kind in KINDS}
    named = set(re.findall(r"(\d{3}) `([a-z-]+)`", DOCUMENT))
    assert named <= known
    assert len(named) >= 4


def test_limits_are_as_said() -> None:
    kib, mib = 1024, 1024 * 1024
    for said in (
        f"{MAX_PIXELS:,} pixels, {MAX_SIDE} a side, {MAX_IMAGE_BYTES // mib} MiB",
        f"{MAX_BODY_BYTES // kib} KiB ({MAX_WINDOW_BYTES // mib} MiB for `/v1/actions`) and {SECONDS_FOR_A_BODY:g} s",
        f"A chunk has at most {MAX_CHUNK_BYTES // mib} MiB, a recording {UploadLimits().max_bytes // mib} MiB; "
        f"{UploadLimits().max_open} pages record at a time",
        f"{UploadLimits().silence_s:g} s later, when the server ends",
        f"URL and headers have {MAX_HEAD_BYTES // kib} KiB and {HEAD_SECONDS:g} s; {MAX_CONNECTIONS} sockets",
    ):
        assert said in DOCUMENT


def test_defaults_are_as_said() -> None:
    parameters = serve_command.__annotations__
    assert {"drain_seconds", "otel_share", "log_level"} <= set(parameters)
    command = typer.main.get_command(build_app()).commands["serve"]  # type: ignore[attr-defined]
    defaults = {parameter.name: parameter.default for parameter in command.params}
    assert f"`--drain-seconds` is {defaults['drain_seconds']:g} unless" in DOCUMENT
    assert f"(`--otel-share`, {defaults['otel_share']:g})" in DOCUMENT
    assert defaults["log_level"] == "warning"
