"""OpenAPI and AsyncAPI: made of the code, valid, committed as they are made, and true of what a server sends."""

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from typer.testing import CliRunner

from gi_model.cli import build_app as build_cli
from gi_serve import streams
from gi_serve.asyncapi import build_asyncapi, client_events, name_of
from gi_serve.problems import KINDS
from gi_serve.protocol import Codec, FrameMessage
from gi_serve.protocol_json import frame_to_event
from gi_serve.realtime import _EVENTS
from gi_serve.server_events import SERVER_EVENTS
from gi_serve.service import ServiceConfig
from tests.serve.fake_steppers import EchoStepper, FailingStepper
from tests.serve.pictures import jpeg_of, paint, png_of
from tests.serve.robot_bodies import rover
from tests.serve.serving import serving, wait_until
from tests.serve.streaming import next_event, open_stream

DOCS = Path(__file__).parents[2] / "docs"


def printed(flag: str) -> dict[str, Any]:
    ran = CliRunner().invoke(build_cli(), ["serve", flag])
    assert ran.exit_code == 0, ran.output
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def follow(document: Any, reference: str) -> Any:
    """What `#/a/b` names. Raises KeyError if nothing is there."""
    for part in reference.removeprefix("#/").split("/"):
        document = document[part.replace("~1", "/")]
    return document


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
def test_the_committed_document_is_the_one_that_is_made(name: str) -> None:
    committed = json.loads((DOCS / f"{name}.json").read_text())
    assert committed == printed(f"--print-{name}"), f"run: gi serve --print-{name} > docs/{name}.json"


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
def test_every_reference_leads_somewhere(name: str) -> None:
    document = printed(f"--print-{name}")
    found = list(references(document))
    assert len(found) > 20
    for reference in found:
        follow(document, reference)


# ---------------------------------------------------------------------- OpenAPI


def test_openapi_is_valid_and_whole() -> None:
    document = printed("--print-openapi")
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()
    described = set()
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            answers = route["responses"]
            described |= {int(status) for status in answers if int(status) >= 400}
            assert route["summary"], path
            assert route["tags"], path
            for status, answer in answers.items():
                if int(status) >= 400:
                    assert set(answer["content"]) == {"application/problem+json"}, (method, path, status)
            if "requestBody" in route:
                assert {"408", "413", "422"} <= set(answers), (method, path)
            if "health" not in path and (method, path) != ("get", "/v1/recordings"):  # an offer, to anybody
                assert {"400", "401", "403", "429"} <= set(answers), (method, path)
                assert route["security"] == [{"key": []}], (method, path)
    assert {kind.status for kind in KINDS} - {431} <= described  # of a whole head, before a route is known


# ---------------------------------------------------------------------- AsyncAPI


def test_asyncapi_is_valid() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own, at import
        from asyncapi3.models.asyncapi import AsyncAPI3  # type: ignore[import-untyped]
    document = build_asyncapi()
    AsyncAPI3.model_validate(document)
    channel = set(document["channels"]["realtime"]["messages"])
    assert channel == set(document["components"]["messages"])
    said = [reference["$ref"] for each in document["operations"].values() for reference in each["messages"]]
    assert {reference.rsplit("/", 1)[1] for reference in said} == channel
    assert len(said) == len(channel)


def test_every_event_that_is_read_is_described() -> None:
    assert {name_of(model) for model in client_events()} == set(_EVENTS)


def test_every_event_that_is_sent_is_described() -> None:
    source = Path(streams.__file__).read_text()
    sent = set(re.findall(r'_send(?:_session)?\(\s*"([a-z_.]+)"', source))
    assert sent | {"action.chunk"} == {name_of(model) for model in SERVER_EVENTS}


def validator(model: str) -> jsonschema_rs.Validator:
    document = build_asyncapi()
    return jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{model}", "components": document["components"]})


def test_a_busy_stream_says_what_the_document_says() -> None:
    """Both ways: what we send is of the schema and is taken; what comes back is of its schema."""
    reads = {name_of(model): validator(model.__name__) for model in client_events()}
    writes = {name_of(model): validator(model.__name__) for model in SERVER_EVENTS}
    sent, heard = set(), set()
    pictures = [
        FrameMessage(0, 5, Codec.PNG, png_of(paint(1))),
        FrameMessage(1, 6, Codec.JPEG, jpeg_of(paint(2))),
        FrameMessage(2, 7, Codec.PNG, png_of(paint(13))),
    ]
    events: list[dict[str, Any]] = [
        {"type": "session.update", "seed": 3, "sampling": {"temperature": 0.5}, "model": "failing", "resume": True}
        | {"embodiment": rover().to_dict(), "lockstep": True},
        {"type": "session.update", "deadline_ms": 0.001, "notify": True},
        *(frame_to_event(picture) for picture in pictures),
        {"type": "session.fork", "to_stream_id": 3},
        {"type": "action.executed", "seq": 1, "action": {"keys": ["KeyA"]}},
        {"type": "robot.stop"},
        {"type": "robot.release"},
        {"type": "clock.sync", "client_ns": -4},
        {"type": "session.resume", "session_id": "x", "token": "y", "stream_id": 4},
        {"type": "session.reset", "seed": 4},
        {"type": "session.close"},
    ]
    config = ServiceConfig(drain_s=0.1)
    with (
        serving(FailingStepper(), EchoStepper(), config=config) as running,
        open_stream(running, "gi.v1.json") as connection,
    ):
        metrics = running.service.engines["failing"].metrics
        connection.send(json.dumps({"type": "session.update", "stream_id": 9, "model": "echo"}))
        for event in events:
            reads[event["type"]].validate(event)
            sent.add(event["type"])
            connection.send(json.dumps(event))
            if event["type"] == "frame":
                wait_until(lambda seq=event["seq"]: metrics.answers + metrics.step_failures == seq + 1)  # type: ignore[misc]
        connection.send(json.dumps({"type": "session.update", "stream_id": 9}))
        running.server.should_exit = True
        while True:
            event = next_event(connection)
            assert event["type"] in writes
            writes[event["type"]].validate(event)
            heard.add(event["type"])
            if event["type"] == "session.closed" and event["reason"] == "going_away":
                break
    assert sent == set(reads)
    told = {"session.created", "session.updated", "session.closed", "session.going_away", "action.chunk", "error"}
    assert told | {"clock.sync", "deadline.missed", "robot.plan", "robot.released"} <= heard


def test_a_wrong_event_is_not_of_its_schema() -> None:
    update = validator("StreamUpdate")
    for wrong in ({"type": "session.update", "seed": -1}, {"type": "session.update", "colour": 1}, {"type": "x"}, {}):
        assert not update.is_valid(wrong)
