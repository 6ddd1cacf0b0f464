"""The REST side over a real socket: sessions, frames, and a problem for everything that is wrong."""

import json
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from gi_model.actions import ActionSpace, InputState
from gi_model.stepper import Steps
from gi_serve.problems import KINDS
from gi_serve.protocol import MAX_IMAGE_BYTES
from tests.serve.fake_steppers import EchoStepper, FailingStepper
from tests.serve.pictures import HEIGHT, WIDTH, jpeg_of, paint, png_of, read_age, read_identity
from tests.serve.serving import Running, serving, wait_until

PNG = {"Content-Type": "image/png"}
RAW = {"Content-Type": "application/octet-stream", "Frame-Width": str(WIDTH), "Frame-Height": str(HEIGHT)}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(EchoStepper(num_slots=3)) as started:
        yield started


@pytest.fixture
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
def session(http: httpx.Client) -> Iterator[str]:
    where = http.post("/v1/sessions", json={"seed": 4}).headers["Location"]
    yield where
    http.delete(where)


def state_of(answer: httpx.Response) -> InputState:
    assert answer.status_code == 200, answer.text
    return InputState.from_dict(answer.json()["actions"][0])


def check_problem(answer: httpx.Response, status: int, kind: str = "") -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert "Traceback" not in answer.text
    if kind:
        assert body["type"] == f"urn:gi:problem:{kind}"
    return body


def test_health_and_models(http: httpx.Client) -> None:
    assert http.get("/v1/health/live").json() == {"status": "live"}
    assert http.get("/v1/health/ready").json() == {"status": "ready"}
    (model,) = http.get("/v1/models").json()
    assert model == http.get("/v1/models/echo").json()
    assert model["observation_space"]["shape"] == [HEIGHT, WIDTH, 3]
    assert model["action_space"] == ActionSpace().to_dict()
    assert (model["fps"], model["action_horizon"]) == (20.0, 1)
    steps = {"base": 0.0, "per_session": 0.0}  # nothing was measured yet
    assert model["capacity"] == {"num_slots": 3, "num_free": 3, "num_on_time": 3, "step_ms": steps}


def test_a_session_lives_from_post_to_delete(http: httpx.Client, running: Running) -> None:
    opened = http.post("/v1/sessions", json={"seed": 9, "deadline_ms": 5.0, "sampling": {"temperature": 0.5}})
    assert opened.status_code == 201
    where, view = opened.headers["Location"], opened.json()
    assert (view["seed"], view["deadline_ms"], view["sampling"]["temperature"]) == (9, 5.0, 0.5)
    assert http.get(where).json() == view
    assert http.patch(where, json={"deadline_ms": 80.0}).json()["deadline_ms"] == 80.0
    for tick in range(3):
        answer = http.post(f"{where}/frames", content=paint(70 + tick).tobytes(), headers=RAW)
        assert (read_identity(state_of(answer)), read_age(state_of(answer))) == (70 + tick, tick)
        assert ActionSpace().decode(answer.json()["tokens"][0]) == state_of(answer)
    assert http.post(f"{where}/reset", json={"seed": 10}).json()["seed"] == 10
    answer = http.post(f"{where}/frames", content=paint(7).tobytes(), headers=RAW)
    assert read_age(state_of(answer)) == 0
    assert http.get(where).json()["num_answers"] == 4
    assert http.delete(where).status_code == 204
    check_problem(http.get(where), 404, "session-unknown")
    assert not running.engine.sessions


@pytest.mark.parametrize(
    ("media", "code"), [("image/png", png_of), ("image/jpeg", jpeg_of), ("IMAGE/PNG; x=y", png_of)]
)
def test_coded_frames(http: httpx.Client, session: str, media: str, code: Any) -> None:
    big = np.kron(paint(543), np.ones((4, 4, 1), np.uint8))
    answer = http.post(f"{session}/frames", content=code(big), headers={"Content-Type": media})
    assert read_identity(state_of(answer)) == 543


def test_concurrent_sessions_keep_apart(http: httpx.Client, running: Running) -> None:
    def play(player: int) -> None:
        where = http.post("/v1/sessions").headers["Location"]
        for tick in range(20):
            identity = player * 100 + tick
            answer = http.post(f"{where}/frames", content=paint(identity).tobytes(), headers=RAW)
            assert read_identity(state_of(answer)) == identity
            assert read_age(state_of(answer)) == min(tick, 9)
        http.delete(where)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(play, range(3)))
    assert not running.engine.sessions


def test_a_full_server_says_when_to_come_back(http: httpx.Client, running: Running) -> None:
    opened = [http.post("/v1/sessions").headers["Location"] for _ in range(3)]
    refused = http.post("/v1/sessions")
    assert check_problem(refused, 503, "capacity-full")["retry_after_s"] == int(refused.headers["Retry-After"]) >= 1
    for where in opened:
        http.delete(where)
    assert not running.engine.sessions


class GatedStepper(EchoStepper):
    """Answers when the gate is open: a test decides what happens during a step."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        assert self.gate.wait(30)
        return super().step(frames, slots)


def test_a_newer_frame_supersedes_and_an_end_answers_all() -> None:
    stepper = GatedStepper()
    with serving(stepper) as running, ThreadPoolExecutor(4) as pool:
        http = httpx.Client(base_url=running.url, trust_env=False, timeout=30)
        where = http.post("/v1/sessions").headers["Location"]

        def post(identity: int) -> Future[httpx.Response]:
            """Post a frame without waiting for its answer, but until it has arrived."""
            count = http.get(where).json()["num_frames"] + 1
            answer = pool.submit(http.post, f"{where}/frames", content=paint(identity).tobytes(), headers=RAW)
            wait_until(lambda: bool(http.get(where).json()["num_frames"] == count))
            return answer

        first, second, third = post(1), post(2), post(3)
        check_problem(second.result(), 409, "frame-superseded")
        stepper.gate.set()
        assert read_identity(state_of(first.result())) == 1
        assert read_identity(state_of(third.result())) == 3
        assert first.result().json()["num_dropped"] + third.result().json()["num_dropped"] == 1
        for end, status, kind in (("reset", 409, "frame-superseded"), ("delete", 410, "session-closed")):
            stepper.gate.clear()
            waiting = post(4)
            http.post(f"{where}/reset") if end == "reset" else http.delete(where)
            stepper.gate.set()
            check_problem(waiting.result(), status, kind)
        http.close()


# ---------------------------------------------------------------------- what is wrong


def huge_png(width: int, height: int) -> bytes:
    """A small PNG that says it has width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 10_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def raw_headers(width: int, height: int) -> dict[str, str]:
    return {"Content-Type": "application/octet-stream", "Frame-Width": str(width), "Frame-Height": str(height)}


NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
BAD_FRAMES: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"", PNG, 422, "frame-invalid"),
    (b"GIF89a", PNG, 422, "frame-invalid"),
    (png_of(NOISE)[:3000], PNG, 422, "frame-invalid"),
    (png_of(paint(1)).replace(b"IDAT", b"IDOT"), PNG, 422, "frame-invalid"),
    (png_of(paint(1)), {"Content-Type": "image/jpeg"}, 422, "frame-invalid"),
    (jpeg_of(NOISE)[:3000], {"Content-Type": "image/jpeg"}, 422, "frame-invalid"),
    (png_of(paint(1)), {"Content-Type": "image/webp"}, 415, "media-type-unknown"),
    (png_of(paint(1)), {}, 415, "media-type-unknown"),
    (paint(1).tobytes()[:-1], RAW, 422, "message-invalid"),
    (paint(1).tobytes(), raw_headers(0, 0), 422, "message-invalid"),
    (paint(1).tobytes(), raw_headers(WIDTH, 65536), 422, "request-invalid"),
    (paint(1).tobytes(), RAW | {"Frame-Width": "wide"}, 422, "request-invalid"),
    (b"\0" * 3, raw_headers(1, 1), 422, "frame-invalid"),
    (b"\0" * 3 * 8 * 5000, raw_headers(8, 5000), 413, "frame-too-large"),
    (png_of(np.zeros((1, 1, 3), np.uint8)), PNG, 422, "frame-invalid"),
    (huge_png(10_000, 10_000), PNG, 413, "frame-too-large"),
    (huge_png(2**31 - 1, 2**31 - 1), PNG, 413, "frame-too-large"),
    (huge_png(8, 5000), PNG, 413, "frame-too-large"),
    (b"\0" * (MAX_IMAGE_BYTES + 1), PNG, 413, "frame-too-large"),
]


@pytest.mark.parametrize(("body", "headers", "status", "kind"), BAD_FRAMES)
def test_a_bad_frame_is_a_problem_and_the_session_lives(
    http: httpx.Client, session: str, body: bytes, headers: dict[str, str], status: int, kind: str
) -> None:
    check_problem(http.post(f"{session}/frames", content=body, headers=headers), status, kind)
    assert read_identity(state_of(http.post(f"{session}/frames", content=png_of(paint(8)), headers=PNG))) == 8


BAD_REQUESTS: list[tuple[str, str, Any, int]] = [
    ("GET", "/v1/sessions/nobody", None, 404),
    ("PATCH", "/v1/sessions/nobody", b"{}", 404),
    ("DELETE", "/v1/sessions/nobody", None, 404),
    ("POST", "/v1/sessions/nobody/reset", None, 404),
    ("POST", "/v1/sessions/nobody/frames", b"", 404),
    ("GET", "/v1/models/nobody", None, 404),
    ("GET", "/v2", None, 404),
    ("GET", "/v1/realtime", None, 404),
    ("PUT", "/v1/sessions", None, 405),
    ("GET", "/v1/sessions/nobody/frames", None, 405),
    ("POST", "/v1/sessions", b"{", 422),
    ("POST", "/v1/sessions", b"[1, 2]", 422),
    ("POST", "/v1/sessions", b'{"seed": "one"}', 422),
    ("POST", "/v1/sessions", b'{"seed": -1}', 422),
    ("POST", "/v1/sessions", b'{"seed": 1e99}', 422),
    ("POST", "/v1/sessions", b'{"speed": 1}', 422),
    ("POST", "/v1/sessions", b'{"deadline_ms": NaN}', 422),
    ("POST", "/v1/sessions", b'{"sampling": {"motion": "mean"}}', 422),
    ("POST", "/v1/sessions", b'{"model": "nobody"}', 404),
    ("POST", "/v1/sessions", b"\xff\xfe", 422),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), BAD_REQUESTS)
def test_a_bad_request_is_a_problem(
    http: httpx.Client, running: Running, method: str, path: str, body: Any, status: int
) -> None:
    headers = {"Content-Type": "application/json"} if body else {}
    check_problem(http.request(method, path, content=body, headers=headers), status)
    assert not running.engine.sessions


def test_frames_of_a_stream_cannot_be_posted(http: httpx.Client, running: Running) -> None:
    with running.session() as stream:
        stream.act(paint(1))
        (session_id,) = running.engine.sessions
        answer = http.post(f"/v1/sessions/{session_id}/frames", content=png_of(paint(1)), headers=PNG)
        check_problem(answer, 409, "session-streams")
    wait_until(lambda: not running.engine.sessions)


def test_what_fails_inside_stays_inside() -> None:
    with serving(FailingStepper()) as running:
        http = httpx.Client(base_url=running.url, trust_env=False, timeout=10)
        where = http.post("/v1/sessions").headers["Location"]
        answer = http.post(f"{where}/frames", content=paint(13).tobytes(), headers=RAW)
        assert "secret" not in check_problem(answer, 500, "step-failed")
        assert "secret" not in answer.text
        assert read_identity(state_of(http.post(f"{where}/frames", content=png_of(paint(3)), headers=PNG))) == 3
        http.close()


# ---------------------------------------------------------------------- what is told


def test_metrics_count_what_happened() -> None:
    with serving(EchoStepper()) as running:
        http = httpx.Client(base_url=running.url, trust_env=False)
        with running.session() as session:
            for tick in range(5):
                session.act(paint(tick))
            text = http.get("/metrics").text
        http.close()
    assert 'gi_serve_answers_total{model="echo"} 5.0' in text
    assert 'gi_serve_frames_total{model="echo"} 5.0' in text
    assert 'gi_serve_sessions{model="echo"} 1.0' in text
    for stage in ("queue", "total"):
        assert f'gi_serve_stage_seconds_count{{model="echo",stage="{stage}"}} 5.0' in text


def test_openapi_tells_every_route_and_its_problems(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    routes = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    session, frames = "/v1/sessions/{session_id}", "/v1/sessions/{session_id}/frames"
    assert {("GET", "/v1/health/live"), ("POST", "/v1/sessions"), ("PATCH", session), ("POST", frames)} <= routes
    post = document["paths"][frames]["post"]
    assert set(post["requestBody"]["content"]) == {"image/jpeg", "image/png", "application/octet-stream"}
    for status in ("404", "413", "415", "422"):
        assert "application/problem+json" in post["responses"][status]["content"]
    assert "HTTPValidationError" not in json.dumps(document)


def test_kinds_of_problems_have_names_of_their_own() -> None:
    assert len({kind.slug for kind in KINDS}) == len(KINDS)
