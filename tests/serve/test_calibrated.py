"""Keys drawn as players hold them, over the wire, where the model was calibrated; else a problem says what to do."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gi_model.stepper import Sampling
from tests.serve.fake_steppers import EchoStepper
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, open_stream
from tests.serve.test_rest import check_problem

CALIBRATED: dict[str, Any] = {"sampling": {"keys": "calibrated"}}


class CalibratedStepper(EchoStepper):
    """An echo that says it has a calibration."""

    name = "calibrated"

    def check(self, sampling: Sampling, adapter: str | None = None) -> None:
        """Whatever is asked."""


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(EchoStepper(), CalibratedStepper()) as started:
        yield started


@pytest.fixture
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, trust_env=False) as client:
        yield client


def test_a_calibrated_model_plays_so(http: httpx.Client) -> None:
    opened = http.post("/v1/sessions", json={"model": "calibrated"} | CALIBRATED)
    assert opened.status_code == 201
    where = opened.headers["Location"]
    assert http.get(where).json()["sampling"]["keys"] == "calibrated"
    http.delete(where)


def test_another_says_what_to_do_and_keeps_what_it_had(http: httpx.Client, running: Running) -> None:
    check_problem(http.post("/v1/sessions", json={"model": "echo"} | CALIBRATED), 422, "request-invalid")
    where = http.post("/v1/sessions", json={"model": "echo"}).headers["Location"]
    for refused in (http.patch(where, json=CALIBRATED), http.post(f"{where}/reset", json=CALIBRATED)):
        check_problem(refused, 422, "request-invalid")
        assert "no calibration" in refused.json()["detail"]
    assert http.get(where).json()["sampling"]["keys"] == "sample"
    http.delete(where)
    with open_stream(running) as stream:
        for kind in ("session.update", "session.reset"):
            refused_event = ask(
                stream, type=kind, **({"model": "echo"} if kind == "session.update" else {}), **CALIBRATED
            )
            assert refused_event["type"] == "error"
        assert ask(stream, type="session.update", model="echo")["type"] == "session.created"
        for kind in ("session.update", "session.reset"):
            assert "no calibration" in ask(stream, type=kind, **CALIBRATED)["error"]["detail"]
    wait_until(lambda: not running.service.num_sessions)
