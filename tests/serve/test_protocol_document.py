"""docs/protocol.md says what the code does: its example runs, its tables are complete."""

import json
import re
import struct
from pathlib import Path
from typing import Any, get_args

import pytest
from websockets.sync.client import connect

from gi_model.actions import KEYS
from gi_serve import protocol
from gi_serve.client_core import OnLate
from gi_serve.controls import RECORD_SIZE
from gi_serve.outbox import CLOSE_GOING_AWAY, CLOSE_IDLE, CLOSE_KEY_REVOKED, CLOSE_RESUMED, CLOSE_SLOW_READER
from gi_serve.problems import KINDS
from gi_serve.protocol_json import _FRAME_FIELDS
from gi_serve.schemas import (
    ActionExecuted,
    ClockSync,
    RobotRelease,
    RobotStop,
    StreamClose,
    StreamFork,
    StreamReset,
    StreamResume,
    StreamUpdate,
)
from tests.serve.fake_steppers import EchoStepper
from tests.serve.serving import serving

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def rows(first: str) -> list[list[str]]:
    """Cells of the rows of the table whose header begins with `first`."""
    lines = DOCUMENT.split(f"| {first} |", 1)[1].splitlines()[2:]
    table = []
    for line in lines:
        if not line.startswith("|"):
            break
        table.append([cell.strip(" `") for cell in line.strip("|").split("|")])
    return table


def test_every_kind_of_problem_is_documented() -> None:
    assert [(name, int(status)) for name, status, _meaning in rows("name")] == [
        (kind.slug, kind.status) for kind in KINDS
    ]


def test_every_event_of_a_client_is_documented_with_its_fields() -> None:
    tables = re.findall(r"\| `type` \| fields \| meaning \|\n\|[-|]+\|\n((?:\|.*\n)+)", DOCUMENT)
    cells = [line.strip("|").split("|") for line in tables[0].splitlines()]
    documented = {row[0].strip(" `"): set(re.findall(r"`(\w+)`", row[1])) for row in cells}
    streams = (StreamUpdate, StreamReset, StreamClose, StreamResume, StreamFork)
    events = (*streams, ActionExecuted, RobotStop, RobotRelease, ClockSync)
    expected = {get_args(event.model_fields["type"].annotation)[0]: set(event.model_fields) for event in events}
    assert documented == {name: fields - {"type"} for name, fields in expected.items()} | {
        "frame": set(_FRAME_FIELDS) - {"type"}
    }


def test_every_contract_for_late_actions_is_documented() -> None:
    assert {row[0].split("`")[0] for row in rows("`on_late`")} == set(get_args(OnLate))


def test_compression_is_refused() -> None:
    with serving(EchoStepper()) as running, connect(running.stream_url, compression="deflate", proxy=None) as stream:
        assert stream.protocol.extensions == []


def test_every_close_code_is_documented() -> None:
    codes = {CLOSE_GOING_AWAY, CLOSE_IDLE, CLOSE_KEY_REVOKED, CLOSE_RESUMED, CLOSE_SLOW_READER}
    assert codes <= {int(row[0]) for row in rows("code")}


def test_the_tables_of_bytes_have_the_sizes_of_the_code() -> None:
    sizes = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8, "8 x u8": 8, "i16, i16": 4, "f32, f32": 8}
    tables = re.findall(r"\| offset \| type \| field \|\n\|[-|]+\|\n((?:\|.*\n)+)", DOCUMENT)
    header, state = tables[0], tables[-1]
    for table, size in ((header, protocol._HEADER.size), (state, RECORD_SIZE)):
        at = 0
        for line in table.splitlines():
            offset, kind, _field = (cell.strip() for cell in line.strip("|").split("|"))
            assert int(offset) == at
            at += sizes[kind]
        assert at == size


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    with serving(EchoStepper()) as running:
        exec(example.replace("127.0.0.1:8000", f"127.0.0.1:{running.port}"), {})
    age, keys = capsys.readouterr().out.splitlines()
    assert 0 < float(age.split()[-1]) < 5_000
    assert f"key ids {KEYS.index('KeyW') + 1:02x} motion (-16, -16)" == keys


def test_the_openapi_document_has_every_route_of_the_table() -> None:
    documented = {path for row in rows("route") for path in re.findall(r"/[\w/{}.]+", row[0])}
    with serving(EchoStepper()) as running:
        import httpx

        document: dict[str, Any] = json.loads(httpx.get(f"{running.url}/openapi.json", trust_env=False).text)
    served = {path.replace("{session_id}", "{id}") for path in document["paths"]}
    assert served <= documented


def test_the_answer_begins_where_the_document_says() -> None:
    assert struct.calcsize("<BBBBIQqHH") == 28
    assert protocol._HEADER.size + protocol._ANSWER.size == 36
