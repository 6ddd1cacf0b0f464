"""Models come and go while others are played: nobody notices, and what fails changes nothing."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gi_model.checkpoint import save_policy
from gi_model.errors import CheckpointError, ConfigError
from gi_serve.client import Client, SessionConfig
from gi_serve.model_loading import LoadedModel, ModelLoader, ModelSpec
from gi_serve.problems import MODEL_INVALID, Problem
from gi_serve.service import Service, ServiceConfig
from tests.model.factories import make_policy, random_frames
from tests.serve.fake_steppers import EchoStepper, FailingStepper
from tests.serve.keyed import Keyed, serving_with_keys
from tests.serve.pictures import paint, read_age, read_identity
from tests.serve.serving import serving, wait_until
from tests.serve.streaming import ask, next_event, open_stream
from tests.serve.test_rest import check_problem

FRAMES = random_frames(3).permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one good checkpoint, one damaged, and a link that leads outside."""
    folder = tmp_path_factory.mktemp("models")
    save_policy(make_policy(), folder / "good")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "config.json").write_text("{")
    outside = tmp_path_factory.mktemp("outside")
    save_policy(make_policy(), outside / "secret")
    (folder / "link").symlink_to(outside / "secret")
    return folder


@pytest.fixture
def keyed(models_dir: Path, tmp_path: Path) -> Iterator[Keyed]:
    loader = ModelLoader(num_slots=2, models_dir=models_dir)
    with serving_with_keys(tmp_path, EchoStepper(), loader=loader, config=ServiceConfig(drain_s=30.0)) as started:
        yield started


def test_a_model_comes_and_goes_while_another_is_played(keyed: Keyed) -> None:
    stop, ages = threading.Event(), list[int]()
    with keyed.http("root") as root:
        client = Client(keyed.running.url, key=keyed.keys["alice"])
        with client.session(SessionConfig(model="echo")) as player:

            def play() -> None:
                while not stop.is_set():
                    action = player.act(paint(3))
                    assert read_identity(action.state) == 3
                    assert action.num_dropped == 0
                    ages.append(read_age(action.state))

            thread = threading.Thread(target=play)
            thread.start()
            made = root.post("/v1/models", json={"name": "new", "path": "good"})
            assert (made.status_code, made.headers["Location"]) == (201, "/v1/models/new")
            assert made.json()["state"] == "ready"
            assert [model["name"] for model in root.get("/v1/models").json()] == ["echo", "new"]
            check_problem(root.post("/v1/sessions"), 422, "request-invalid")  # which of the two?
            with client.session(SessionConfig(model="new")) as newcomer:
                assert newcomer.model.name == "new"
                newcomer.act(FRAMES[0])
                assert root.delete("/v1/models/new").status_code == 202
                newcomer.act(FRAMES[1])  # its session plays on
                check_problem(root.post("/v1/sessions", json={"model": "new"}), 503, "draining")
                other = root.post("/v1/sessions")
                assert other.json()["model"] == "echo"
                root.delete(other.headers["Location"])
                assert root.get("/v1/health/ready").status_code == 200
            wait_until(lambda: [model["name"] for model in root.get("/v1/models").json()] == ["echo"])
            check_problem(root.post("/v1/sessions", json={"model": "new"}), 404, "model-unknown")
            stop.set()
            thread.join(20)
        assert len(ages) > 10
        assert ages[:10] == list(range(10))
        assert set(ages[10:]) == {9}  # one life: nothing was lost
    with keyed.http("scraper") as scraper:
        assert 'model="new"' not in scraper.get("/metrics").text


def test_a_stream_hears_that_its_model_goes() -> None:
    with (
        serving(EchoStepper(), FailingStepper(), config=ServiceConfig(drain_s=0.5)) as running,
        open_stream(running) as connection,
    ):
        ask(connection, type="session.update", stream_id=1, model="echo")
        ask(connection, type="session.update", stream_id=2, model="failing")
        assert httpx.delete(f"{running.url}/v1/models/failing", trust_env=False).status_code == 202
        assert next_event(connection) == {"type": "session.going_away", "stream_id": 2, "grace_s": 0.5}
        closed = next_event(connection)
        assert (closed["type"], closed["stream_id"], closed["reason"]) == ("session.closed", 2, "going_away")
        assert ask(connection, type="session.update", stream_id=1)["type"] == "session.updated"
        wait_until(lambda: list(running.service.engines) == ["echo"])


@pytest.mark.parametrize(
    ("name", "path", "status", "problem"),
    [
        ("echo", "good", 409, "model-exists"),
        ("new", "damaged", 422, "model-invalid"),
        ("new", "nowhere", 422, "model-invalid"),
        ("new", "link", 422, "model-invalid"),
        ("new", "../outside0/secret", 422, "model-invalid"),
        ("new", "/etc", 422, "model-invalid"),
        ("new", ".", 422, "model-invalid"),
        ("new", "a" * 1000, 422, "model-invalid"),
        ("new", "good\0", 422, "model-invalid"),
        ("new", "good/config.json", 422, "model-invalid"),
        ("a b", "good", 422, "request-invalid"),
        ("../x", "good", 422, "request-invalid"),
        ("", "good", 422, "request-invalid"),
    ],
)
def test_what_cannot_be_loaded_changes_nothing(keyed: Keyed, name: str, path: str, status: int, problem: str) -> None:
    with keyed.http("root") as root:
        before = root.get("/v1/models").json()
        answer = root.post("/v1/models", json={"name": name, "path": path})
        check_problem(answer, status, problem)
        assert "/tmp" not in answer.text
        assert root.get("/v1/models").json() == before
        assert root.get("/v1/health/ready").status_code == 200


def test_without_a_folder_nothing_is_loaded() -> None:
    with pytest.raises(Problem) as refused:
        ModelLoader().find("good")
    assert refused.value.kind is MODEL_INVALID


def test_a_server_may_start_without_a_model(models_dir: Path, tmp_path: Path) -> None:
    loader = ModelLoader(num_slots=2, models_dir=models_dir)
    with serving_with_keys(tmp_path, loader=loader) as keyed, keyed.http("root") as root:
        check_problem(root.get("/v1/health/ready"), 503, "draining")
        check_problem(root.post("/v1/sessions"), 404, "model-unknown")
        assert root.post("/v1/models", json={"name": "m", "path": "good"}).status_code == 201
        assert root.get("/v1/health/ready").status_code == 200
        assert root.post("/v1/sessions").status_code == 201


def test_two_at_once_with_one_name_become_one(keyed: Keyed) -> None:
    answers: list[Any] = []

    def load() -> None:
        with keyed.http("root") as root:
            answers.append(root.post("/v1/models", json={"name": "twin", "path": "good"}).status_code)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == [201, 409]


def test_models_are_named_on_the_command_line() -> None:
    assert ModelSpec.parse("runs/a/checkpoint") == ModelSpec(Path("runs/a/checkpoint"))
    assert ModelSpec.parse("fast=runs/a") == ModelSpec(Path("runs/a"), "fast")
    for wrong in ("=runs/a", "fast=", "two words=runs/a"):
        with pytest.raises(ConfigError):
            ModelSpec.parse(wrong)
    with pytest.raises(ConfigError, match="names of their own"):
        Service([EchoStepper(), EchoStepper()])


def test_a_loaded_model_is_warm_and_named(models_dir: Path, tmp_path: Path) -> None:
    loaded = ModelLoader(num_slots=2).load(ModelSpec(models_dir / "good", "mine"))
    assert isinstance(loaded, LoadedModel)
    assert loaded.stepper.name == "mine"
    assert loaded.times.is_known
    with pytest.raises(CheckpointError):
        ModelLoader().load(ModelSpec(tmp_path))
