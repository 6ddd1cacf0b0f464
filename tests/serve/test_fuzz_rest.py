"""Requests that nobody would send, by the hundred, to a real server: no 500, only documented answers, nobody hurt."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import gi_model.policy_stepper  # noqa: F401 - a server has imported torch before its first request
from gi_serve.client import Client, Session
from gi_serve.model_loading import ModelLoader
from tests.serve.fake_steppers import EchoStepper
from tests.serve.keyed import Keyed, serving_with_keys
from tests.serve.pictures import paint, read_identity

SCHEMA = schemathesis.openapi.from_path(Path(__file__).parents[2] / "docs" / "openapi.json")
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
SOME = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
MANY = settings(SOME, max_examples=60)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    loader = ModelLoader(models_dir=tmp_path_factory.mktemp("models"))
    with serving_with_keys(tmp_path_factory.mktemp("keys"), EchoStepper(num_slots=64), loader=loader) as started:
        yield started


@pytest.fixture(scope="module")
def neighbour(keyed: Keyed) -> Iterator[Session]:
    """A player who must not notice."""
    with Client(keyed.running.url, key=keyed.keys["bob"]).session() as session:
        yield session


def send(case: "schemathesis.Case[Any]", keyed: Keyed) -> None:
    """Send it with the key that may most, and hold the answer against the document."""
    headers = {"Authorization": f"Bearer {keyed.keys['root']}"}
    case.call_and_validate(base_url=keyed.running.url, headers=headers, checks=CHECKS, timeout=20)
    for session in list(keyed.running.engine.sessions.values()):  # made by chance: room for more
        if session.owner == keyed.running.service.access.identify(headers["Authorization"]).id:
            with keyed.http("root") as root:
                root.delete(f"/v1/sessions/{session.id}")


@SCHEMA.parametrize()
@SOME
def test_no_request_breaks_a_route(case: "schemathesis.Case[Any]", keyed: Keyed, neighbour: Session) -> None:
    send(case, keyed)


def test_the_neighbour_played_on(keyed: Keyed, neighbour: Session) -> None:
    assert read_identity(neighbour.act(paint(7)).state) == 7
    with keyed.http() as stranger:
        assert stranger.get("/v1/health/ready").status_code == 200


@pytest.mark.slow
@SCHEMA.parametrize()
@MANY
def test_no_request_of_very_many_breaks_a_route(
    case: "schemathesis.Case[Any]", keyed: Keyed, neighbour: Session
) -> None:
    """Slow: 60 requests a route, about a thousand in all."""
    send(case, keyed)


@SCHEMA.parametrize()
@settings(SOME, max_examples=3)
def test_no_request_without_a_key_gets_in(case: "schemathesis.Case[Any]", keyed: Keyed) -> None:
    if "health" in case.path or (case.method, case.path) == ("GET", "/v1/recordings"):
        return
    response = case.call(base_url=keyed.running.url, timeout=20)
    assert response.status_code in (400, 401, 404, 405, 431), response.status_code
