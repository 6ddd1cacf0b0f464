"""`POST /v1/actions`: the answer of a fresh session that saw the same frames, and nothing left behind."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from gi_model.frames import Frame
from gi_model.policy_stepper import PolicyStepper
from gi_serve.access import Access
from gi_serve.limits import Limits
from gi_serve.service import ServiceConfig
from tests.model.factories import make_policy, random_frames
from tests.serve.fake_steppers import EchoStepper, FailingStepper
from tests.serve.pictures import WIDTH, jpeg_of, paint, png_of, read_age, read_identity
from tests.serve.serving import Running, serving, wait_until
from tests.serve.test_rest import check_problem, state_of

FRAMES = random_frames(6).permute(0, 2, 3, 1).numpy()


@pytest.fixture
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(EchoStepper(num_slots=2), FailingStepper()) as started:
        yield started


def coded(codec: str, data: bytes) -> dict[str, Any]:
    return {"codec": codec, "data": base64.b64encode(data).decode()}


def raw(frame: Frame) -> dict[str, Any]:
    return {**coded("raw", frame.tobytes()), "height": frame.shape[0], "width": frame.shape[1]}


def test_a_window_is_answered_as_a_fresh_session_that_saw_it() -> None:
    """The law: over real weights, with dice, whatever the window's length and whoever else plays."""
    everybody = ServiceConfig(admits_late=True)  # however busy the machine
    stepper = PolicyStepper(make_policy(), num_slots=3)
    with serving(stepper, config=everybody) as running, running.session(seed=1) as neighbour:
        neighbour.act(FRAMES[0])
        with httpx.Client(base_url=running.url, trust_env=False, timeout=30) as http:
            for length in (1, 2, 6):
                with running.session(seed=5) as session:
                    actions = [session.act(frame).state for frame in FRAMES[:length]]
                answer = http.post("/v1/actions", json={"seed": 5, "frames": [raw(frame) for frame in FRAMES[:length]]})
                assert state_of(answer) == actions[-1]
                assert answer.json()["seed"] == 5


def test_every_codec(http: httpx.Client, running: Running) -> None:
    frames = [raw(paint(1)), coded("png", png_of(paint(2))), coded("jpeg", jpeg_of(paint(3)))]
    answer = http.post("/v1/actions", json={"model": "echo", "frames": frames})
    assert (read_identity(state_of(answer)), read_age(state_of(answer))) == (3, 2)
    assert answer.json()["model"] == "echo"
    wait_until(lambda: not running.service.num_sessions)


FRAME = raw(paint(1))
BAD: list[tuple[dict[str, Any], int, str]] = [
    ({}, 422, "request-invalid"),
    ({"frames": []}, 422, "request-invalid"),
    ({"frames": [FRAME] * 257}, 422, "request-invalid"),
    ({"frames": [{"codec": "gif", "data": ""}]}, 422, "request-invalid"),
    ({"frames": [{**FRAME, "width": WIDTH + 1}]}, 422, "message-invalid"),
    ({"frames": [{**FRAME, "data": "!"}]}, 422, "message-invalid"),
    ({"frames": [{**FRAME, "seq": 1}]}, 422, "request-invalid"),
    ({"frames": [FRAME, coded("png", b"no")]}, 422, "frame-invalid"),
    ({"frames": [raw(np.zeros((1, 1, 3), np.uint8))]}, 422, "frame-invalid"),
    ({"frames": [FRAME], "seed": -1}, 422, "request-invalid"),
    ({"frames": [FRAME], "model": "nobody"}, 404, "model-unknown"),
    ({"frames": [raw(paint(13))], "model": "failing"}, 500, "step-failed"),
]


@pytest.mark.parametrize(("body", "status", "kind"), BAD)
def test_a_bad_window_is_a_problem_and_leaves_nothing(
    http: httpx.Client, running: Running, body: dict[str, Any], status: int, kind: str
) -> None:
    check_problem(http.post("/v1/actions", json={"model": "echo"} | body), status, kind)
    assert not running.service.num_sessions


def test_a_full_server_refuses(http: httpx.Client, running: Running) -> None:
    opened = [http.post("/v1/sessions", json={"model": "echo"}).headers["Location"] for _ in range(2)]
    check_problem(http.post("/v1/actions", json={"model": "echo", "frames": [FRAME]}), 503, "capacity-full")
    for where in opened:
        http.delete(where)


def test_a_window_is_one_request_not_many_frames() -> None:
    with (
        serving(EchoStepper(), access=Access(limits=Limits(frames_per_s=1))) as running,
        httpx.Client(base_url=running.url, trust_env=False) as http,
    ):
        assert read_age(state_of(http.post("/v1/actions", json={"frames": [FRAME] * 8}))) == 7
