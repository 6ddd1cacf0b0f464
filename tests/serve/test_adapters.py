"""Adapters are named by sessions, come and go while others are played, and are never mixed up."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gi_model.adapters import Adapter, load_adapter, save_adapter
from gi_model.attachment import attach
from gi_model.checkpoint import load_policy, save_policy
from gi_model.cli import build_app
from gi_model.errors import BaseMismatchError, ConfigError, ServeError
from gi_model.policy_stepper import PolicyStepper, load_stepper
from gi_model.stepper import Sampling
from gi_serve.client import Client, SessionConfig
from gi_serve.client_async import AsyncClient
from gi_serve.model_loading import ModelLoader, ModelSpec
from gi_serve.remote_agent import make_remote_agent
from gi_serve.replay import ServerReplayer, StepperReplayer, replay
from gi_serve.service import Service, ServiceConfig
from gi_serve.session_record import SessionRecord
from tests.model.adapter_factory import make_adapter
from tests.model.factories import make_policy, random_frames
from tests.serve.fake_game import CountingGame
from tests.serve.fake_steppers import EchoStepper
from tests.serve.keyed import Keyed, serving_with_keys
from tests.serve.pictures import paint, read_age
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, next_event, open_stream
from tests.serve.test_rest import check_problem

FRAMES = random_frames(6).permute(0, 2, 3, 1).numpy()
NAMES = ("rover", "drone")
CALM = {"motion": "mode", "keys": "sample"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and below `adapters`: two of it, one of another, one cut off, one of an echo, a link that leads away."""
    folder = tmp_path_factory.mktemp("served")
    save_policy(make_policy(), folder / "base")
    save_policy(make_policy(seed=1), folder / "other")
    base, other = load_policy(folder / "base"), load_policy(folder / "other")
    for seed, name in enumerate(NAMES):
        save_adapter(make_adapter(base, seed, name=name), folder / "adapters" / name)
    save_adapter(make_adapter(other), folder / "adapters" / "foreign")
    save_adapter(echo_adapter(), folder / "adapters" / "echoed")
    save_adapter(make_adapter(base), folder / "adapters" / "cut")
    tensors = folder / "adapters" / "cut" / "adapter.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-9])
    save_adapter(make_adapter(base), folder / "outside")
    (folder / "adapters" / "link").symlink_to(folder / "outside")
    return folder


def echo_adapter() -> Adapter:
    return make_adapter(make_policy(), base_fingerprint=EchoStepper.fingerprint, base_name="echo", name="echoed")


def load_base(folder: Path, *names: str) -> PolicyStepper:
    stepper = load_stepper(folder / "base", num_slots=6)
    for name in names:
        stepper.add_adapter(load_adapter(folder / "adapters" / name))
    return stepper


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Running]:
    """A real policy and its two adapters."""
    with serving(load_base(folder, *NAMES), config=ServiceConfig(admits_late=True)) as started:
        yield started


def play_alone(folder: Path, name: str | None, seed: int) -> list[Any]:
    """What the base answers with `name` attached, as input states."""
    policy = load_policy(folder / "base")
    if name is not None:
        attach(policy, load_adapter(folder / "adapters" / name))
    stepper = PolicyStepper(policy, num_slots=1)
    stepper.open(0, Sampling(seed=seed))
    return [policy.space.decode(stepper.step(frame[None], [0]).tokens[0]) for frame in FRAMES]


# ---------------------------------------------------------------------- playing


def test_each_session_plays_with_its_own_beside_the_others(running: Running, folder: Path) -> None:
    wanted = [None, "rover", "drone", "rover"]
    sessions = [running.session(SessionConfig(seed=seed, adapter=name)) for seed, name in enumerate(wanted)]
    played: list[list[Any]] = [[] for _ in wanted]
    for frame in FRAMES:
        for session in sessions:
            session.send(frame)
        for session, states in zip(sessions, played, strict=True):
            action = session.latest(5.0)
            assert action is not None
            states.append(action.state)
    assert [session.adapter for session in sessions] == wanted
    assert [round(session.model.fps, 1) for session in sessions] == [17.5, 10.0, 10.0, 10.0]
    for session in sessions:
        session.close()
    for seed, (name, states) in enumerate(zip(wanted, played, strict=True)):
        assert states == play_alone(folder, name, seed)
    assert played[1] != play_alone(folder, None, 1)


@pytest.mark.parametrize("subprotocol", ["gi.v1.bin", "gi.v1.json"])
def test_a_stream_names_its_adapter_and_keeps_it(running: Running, folder: Path, subprotocol: str) -> None:
    fingerprint = load_adapter(folder / "adapters" / "rover").config.fingerprint
    with open_stream(running, subprotocol) as connection:
        refused = ask(connection, type="session.update", adapter="nobody")
        assert (refused["type"], refused["error"]["type"]) == ("error", "urn:gi:problem:adapter-unknown")
        assert "rover, drone" in refused["error"]["detail"]
        created = ask(connection, type="session.update", adapter="rover")
        assert created["session"]["adapter"] == {"name": "rover", "fingerprint": fingerprint, "fps": 10.0}
        assert created["session"]["deadline_ms"] == pytest.approx(100.0)  # a tick of the adapter's
        other = ask(connection, type="session.update", adapter="drone", deadline_ms=50)
        assert other["error"]["type"] == "urn:gi:problem:request-invalid"
        same = ask(connection, type="session.update", adapter="rover", deadline_ms=50)
        assert (same["type"], same["session"]["deadline_ms"]) == ("session.updated", 50.0)
        reset = ask(connection, type="session.reset", seed=4)
        assert reset["session"]["adapter"]["name"] == "rover"
        fork = ask(connection, type="session.fork", to_stream_id=1)
        assert fork["session"]["adapter"]["name"] == "rover"


def test_sessions_windows_and_agents_name_theirs_over_rest(running: Running, folder: Path) -> None:
    with httpx.Client(base_url=running.url, trust_env=False) as http:
        check_problem(http.post("/v1/sessions", json={"adapter": "nobody"}), 404, "adapter-unknown")
        check_problem(http.post("/v1/sessions", json={"adapter": "x" * 65}), 422, "request-invalid")
        made = http.post("/v1/sessions", json={"adapter": "drone", "seed": 3, "sampling": CALM}).json()
        assert made["adapter"]["name"] == "drone"
        assert http.post("/v1/sessions").json()["adapter"] is None
        size = {"Frame-Width": str(FRAMES.shape[2]), "Frame-Height": str(FRAMES.shape[1])}
        media = {"Content-Type": "application/octet-stream", **size}
        before = count_frames(http, "drone")
        answer = http.post(f"/v1/sessions/{made['id']}/frames", content=FRAMES[0].tobytes(), headers=media).json()
        assert answer["actions"][0] == play_alone(folder, "drone", 3)[0].to_dict()
        fork = http.post(f"/v1/sessions/{made['id']}/fork").json()
        both = [
            http.post(f"/v1/sessions/{each['id']}/frames", content=FRAMES[1].tobytes(), headers=media).json()["actions"]
            for each in (made, fork)
        ]
        assert both[0] == both[1]
        assert [each["num_sessions"] for each in http.get("/v1/adapters").json()] == [0, 2]
        assert 'gi_serve_adapter_sessions{adapter="drone",model="base"} 2.0' in http.get("/metrics").text
        assert count_frames(http, "drone") == before + 3
        for each in (made, fork):
            http.delete(f"/v1/sessions/{each['id']}")
    assert [each["name"] for each in Client(running.url).adapters()] == ["rover", "drone"]
    assert asyncio.run(AsyncClient(running.url).adapters()) == Client(running.url).adapters()


def count_frames(http: httpx.Client, adapter: str) -> float:
    """Its counter of frames, on the model `base`."""
    start = f'gi_serve_adapter_frames_total{{adapter="{adapter}",model="base"}} '
    lines = http.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def test_an_agent_is_a_server_and_an_adapter() -> None:
    stepper = EchoStepper()
    stepper.add_adapter(make_adapter(make_policy(), fps=20.0), "echoed")
    with serving(stepper) as running:
        agent = make_remote_agent(f"{running.url}?adapter=echoed&model=echo", CountingGame())
        agent.act(paint(1))
        agent.close()
        assert stepper.opened_with == {0: "echoed"}
        with pytest.raises(ConfigError, match="got skin; expected adapter"):
            make_remote_agent(f"{running.url}?skin=red", CountingGame())
        with pytest.raises(ServeError, match="No such adapter"):
            make_remote_agent(f"{running.url}?adapter=nobody", CountingGame())


# ---------------------------------------------------------------------- coming and going


@pytest.fixture
def keyed(folder: Path, tmp_path: Path) -> Iterator[Keyed]:
    loader = ModelLoader(adapters_dir=folder / "adapters")
    steppers = EchoStepper(), load_base(folder)
    with serving_with_keys(
        tmp_path, *steppers, loader=loader, config=ServiceConfig(drain_s=30.0, admits_late=True)
    ) as started:
        yield started


def test_an_adapter_comes_and_goes_while_others_are_played(keyed: Keyed) -> None:
    stop, ages = threading.Event(), list[int]()
    client = Client(keyed.running.url, key=keyed.keys["alice"])
    with keyed.http("root") as root, client.session(SessionConfig(model="echo")) as player:

        def play() -> None:
            while not stop.is_set():
                action = player.act(paint(3))
                assert action.num_dropped == 0
                ages.append(read_age(action.state))

        thread = threading.Thread(target=play)
        thread.start()
        made = root.post("/v1/adapters", json={"name": "new", "path": "echoed"})
        assert (made.status_code, made.headers["Location"]) == (201, "/v1/adapters/new")
        assert (made.json()["model"], made.json()["state"]) == ("echo", "ready")
        assert root.get("/v1/adapters/new").json() == made.json()
        with client.session(SessionConfig(model="echo", adapter="new")) as newcomer:
            newcomer.act(paint(1))
            gone = root.delete("/v1/adapters/new")
            assert (gone.status_code, gone.json()["state"], gone.json()["num_sessions"]) == (202, "draining", 1)
            assert root.delete("/v1/adapters/new").status_code == 202
            assert read_age(newcomer.act(paint(1)).state) == 1  # its session plays on
            check_problem(root.post("/v1/sessions", json={"model": "echo", "adapter": "new"}), 503, "draining")
            other = root.post("/v1/sessions", json={"model": "echo"})
            assert root.delete(other.headers["Location"]).status_code == 204
        wait_until(lambda: not root.get("/v1/adapters").json())
        refused = root.post("/v1/sessions", json={"model": "echo", "adapter": "new"})
        check_problem(refused, 404, "adapter-unknown")
        assert root.post("/v1/adapters", json={"name": "new", "path": "echoed"}).status_code == 201  # and comes again
        stop.set()
        thread.join(20)
    assert ages[:10] == list(range(10))
    assert set(ages[10:]) <= {9}  # one life: nothing was lost


def test_only_the_streams_that_play_with_it_hear_that_it_goes() -> None:
    stepper = EchoStepper()
    for name in ("going", "staying"):
        stepper.add_adapter(make_adapter(make_policy()), name)
    with serving(stepper, config=ServiceConfig(drain_s=0.4)) as running, open_stream(running) as connection:
        for stream_id, adapter in enumerate(["staying", "going", None]):
            ask(connection, type="session.update", stream_id=stream_id, adapter=adapter)
        assert httpx.delete(f"{running.url}/v1/adapters/going", trust_env=False).status_code == 202
        assert next_event(connection) == {"type": "session.going_away", "stream_id": 1, "grace_s": 0.4}
        refused = ask(connection, type="session.fork", stream_id=1, to_stream_id=9)
        assert refused["error"]["type"] == "urn:gi:problem:draining"
        closed = next_event(connection)
        assert (closed["type"], closed["stream_id"], closed["reason"]) == ("session.closed", 1, "going_away")
        assert ask(connection, type="session.update", stream_id=0)["type"] == "session.updated"
        wait_until(lambda: list(stepper.adapters) == ["staying"])


@pytest.fixture(scope="module")
def refusing(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """An echo, and a base with the adapter `rover`."""
    loader = ModelLoader(adapters_dir=folder / "adapters")
    steppers = EchoStepper(), load_base(folder, "rover")
    with serving_with_keys(tmp_path_factory.mktemp("keys"), *steppers, loader=loader) as started:
        yield started


@pytest.mark.parametrize(
    ("body", "status", "problem", "words"),
    [
        ({"name": "new", "path": "nowhere"}, 422, "adapter-invalid", "No such folder"),
        ({"name": "new", "path": "../outside"}, 422, "adapter-invalid", "No such folder"),
        ({"name": "new", "path": "link"}, 422, "adapter-invalid", "No such folder"),
        ({"name": "new", "path": "rover\0"}, 422, "adapter-invalid", "No such folder"),
        ({"name": "new", "path": "."}, 422, "adapter-invalid", "No such folder"),
        ({"name": "new", "path": "cut"}, 422, "adapter-invalid", "cannot read the adapter in cut"),
        ({"name": "new", "path": "foreign"}, 422, "base-mismatch", "It needs other (.*this server has: echo (ffff"),
        ({"name": "new", "path": "foreign", "model": "base"}, 422, "base-mismatch", "of another base; got base ("),
        ({"name": "new", "path": "rover", "model": "nobody"}, 404, "model-unknown", "echo, base"),
        ({"name": "rover", "path": "drone"}, 409, "adapter-exists", "DELETE /v1/adapters/rover"),
        ({"name": "a b", "path": "rover"}, 422, "request-invalid", "name"),
        ({"name": "new"}, 422, "request-invalid", "path"),
    ],
)
def test_what_cannot_be_loaded_changes_nothing(
    refusing: Keyed, body: dict[str, str], status: int, problem: str, words: str
) -> None:
    with refusing.http("root") as root:
        before = root.get("/v1/adapters").json()
        answer = root.post("/v1/adapters", json=body)
        detail = check_problem(answer, status, problem)["detail"]
        assert all(part in detail for part in words.split(".*"))
        assert "/tmp" not in answer.text
        assert root.get("/v1/adapters").json() == before


def test_only_admins_change_what_everybody_may_list(keyed: Keyed) -> None:
    body = {"name": "new", "path": "rover"}
    with keyed.http("alice") as alice, keyed.http() as nobody:
        assert alice.get("/v1/adapters").json() == []
        check_problem(alice.post("/v1/adapters", json=body), 403, "forbidden")
        check_problem(alice.delete("/v1/adapters/new"), 403, "forbidden")
        check_problem(alice.get("/v1/adapters/new"), 404, "adapter-unknown")
        check_problem(nobody.get("/v1/adapters"), 401, "unauthorized")


def test_a_base_served_twice_has_to_be_named(folder: Path, tmp_path: Path) -> None:
    twins = load_base(folder), load_base(folder)
    twins[1].name = "twin"
    loader, body = ModelLoader(adapters_dir=folder / "adapters"), {"name": "rover", "path": "rover"}
    with serving_with_keys(tmp_path, *twins, loader=loader) as keyed, keyed.http("root") as root:
        check_problem(root.post("/v1/adapters", json=body), 422, "request-invalid")
        for model in ("base", "twin"):
            assert root.post("/v1/adapters", json={**body, "model": model}).json()["model"] == model
        check_problem(root.delete("/v1/adapters/rover"), 422, "request-invalid")
        assert root.delete("/v1/adapters/rover", params={"model": "twin"}).status_code == 202
        wait_until(lambda: [each["model"] for each in root.get("/v1/adapters").json()] == ["base"])


def test_two_at_once_with_one_name_become_one(keyed: Keyed) -> None:
    answers: list[int] = []

    def load() -> None:
        with keyed.http("root") as root:
            answers.append(root.post("/v1/adapters", json={"name": "twin", "path": "rover"}).status_code)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == [201, 409]


def test_a_model_that_goes_takes_no_adapter(keyed: Keyed) -> None:
    config = SessionConfig(model="base")
    client = Client(keyed.running.url, key=keyed.keys["alice"])
    with keyed.http("root") as root, client.session(config):
        assert root.post("/v1/adapters", json={"name": "rover", "path": "rover"}).status_code == 201
        assert root.delete("/v1/models/base").status_code == 202
        check_problem(root.post("/v1/adapters", json={"name": "new", "path": "drone"}), 503, "draining")
        assert root.delete("/v1/adapters/rover").status_code == 202
    with keyed.http("root") as root:
        wait_until(lambda: [each["name"] for each in root.get("/v1/models").json()] == ["echo"])
        assert root.get("/v1/adapters").json() == []


def test_without_a_folder_nothing_is_loaded(running: Running) -> None:
    answer = httpx.post(f"{running.url}/v1/adapters", json={"name": "new", "path": "rover"}, trust_env=False)
    assert "--adapters-dir" in check_problem(answer, 422, "adapter-invalid")["detail"]


# ---------------------------------------------------------------------- recordings, command line, GPUs


def test_a_recording_keeps_its_adapter_and_is_not_replayed_with_another(folder: Path, tmp_path: Path) -> None:
    with serving(load_base(folder, *NAMES), config=ServiceConfig(record_dir=tmp_path)) as running:
        with running.session(SessionConfig(seed=1, adapter="rover")) as session:
            for frame in FRAMES:
                session.act(frame)
        record = SessionRecord.open(next(tmp_path.iterdir()))
        assert record.header["adapter"] == "rover"
        with ServerReplayer(running.url, adapter="rover") as same:
            assert replay(record, same).num_compared == len(FRAMES)
        with (
            ServerReplayer(running.url) as none,
            pytest.raises(ServeError, match="another adapter; got none; expected"),
        ):
            replay(record, none)
        with pytest.raises(ServeError, match="no such adapter; got nobody"):
            ServerReplayer(running.url, adapter="nobody")
    with pytest.raises(ServeError, match="recorded with another adapter"):
        replay(record, StepperReplayer(load_base(folder, "drone"), "drone"))
    command = ["replay", str(record.path), "--checkpoint", str(folder / "base"), "--json"]
    again = CliRunner().invoke(build_app(), [*command, "--adapter", str(folder / "adapters" / "rover")])
    assert json.loads(again.stdout)["difference"] is None, again.output
    assert isinstance(CliRunner().invoke(build_app(), command).exception, ServeError)


def test_adapters_of_the_command_line_find_their_base(folder: Path) -> None:
    service = Service([EchoStepper(), load_base(folder)])
    service.adapters.load_at_start(ModelSpec.parse(f"mine={folder / 'adapters' / 'rover'}"))
    service.adapters.load_at_start(ModelSpec.parse(str(folder / "adapters" / "drone")))
    assert [(engine.stepper.name, config.name) for engine, config in service.adapters.all()] == [
        ("base", "mine"),
        ("base", "drone"),
    ]
    with pytest.raises(ConfigError, match="names of their own; got mine"):
        service.adapters.load_at_start(ModelSpec.parse(f"mine={folder / 'adapters' / 'drone'}"))
    with pytest.raises(BaseMismatchError, match=r"another base; got echo \(ffff.*expected other"):
        service.adapters.load_at_start(ModelSpec.parse(str(folder / "adapters" / "foreign")))


def test_a_model_on_a_gpu_steps_through_graphs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class GpuStepper(EchoStepper):
        uses_graphs = False

        def use_graphs(self) -> None:
            self.uses_graphs = True

    def load(path: Path, *, num_slots: int, device: str) -> EchoStepper:
        assert (path, device) == (folder / "base", "cuda:1")
        return GpuStepper(num_slots)

    monkeypatch.setattr("gi_model.policy_stepper.load_stepper", load)
    loaded = ModelLoader(device="cuda:1", num_slots=2).load(ModelSpec(folder / "base"))
    assert isinstance(loaded.stepper, GpuStepper)
    assert loaded.stepper.uses_graphs
