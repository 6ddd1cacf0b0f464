"""The WebSocket of openpi's clients: one answer an observation, errors as text, sessions like all others."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from gi_serve.openpi_messages import ACTION_NAMES, pack_map, read_observation
from gi_serve.service import ServiceConfig
from tests.model.adapter_factory import make_adapter
from tests.model.factories import make_policy
from tests.serve.fake_steppers import EchoStepper, FailingStepper
from tests.serve.keyed import serving_with_keys
from tests.serve.pictures import HEIGHT, WIDTH, paint
from tests.serve.robot_bodies import identity_of, rover
from tests.serve.serving import Running, serving, wait_until


@contextmanager
def connecting(running: Running, path: str = "", **settings: Any) -> Iterator[tuple[ClientConnection, dict[str, Any]]]:
    """As `openpi-client` connects; the connection and the server's metadata."""
    with connect(f"ws://127.0.0.1:{running.port}{path}", compression=None, proxy=None, **settings) as connection:
        data = connection.recv(timeout=5)
        assert isinstance(data, bytes)
        yield connection, read_observation(data)


def infer(connection: ClientConnection, **observation: Any) -> dict[str, Any]:
    """What comes back; a RuntimeError with the server's words if that is a text, as in `openpi-client`."""
    connection.send(pack_map(observation))
    answer = connection.recv(timeout=5)
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return read_observation(answer)


def identity(actions: np.ndarray[Any, Any]) -> int:
    """What `EchoStepper` saw."""
    row = dict(zip(ACTION_NAMES, actions[0].tolist(), strict=True))
    return int(row["motion.x"] + 16 + 33 * (row["motion.y"] + 16))


@pytest.mark.parametrize("path", ["", "/", "/openpi"])
def test_each_observation_is_answered_by_its_own_actions(path: str) -> None:
    with serving(EchoStepper()) as running, connecting(running, path) as (connection, metadata):
        assert metadata["model"] == "echo"
        assert metadata["fps"] == 20.0
        assert metadata["image_size"] == [HEIGHT, WIDTH]
        assert metadata["action_names"] == list(ACTION_NAMES)
        for number in (3, 500, 77):
            found = infer(connection, **{"observation/image": paint(number), "observation/state": np.zeros(8)})
            assert found["actions"].shape == (1, len(ACTION_NAMES))
            assert identity(found["actions"]) == number
            assert found["server_timing"]["infer_ms"] >= 0


def test_pictures_of_any_size_are_brought_to_the_models() -> None:
    with serving(EchoStepper()) as running, connecting(running) as (connection, _):
        big = paint(700).repeat(5, axis=0).repeat(4, axis=1)
        assert identity(infer(connection, image=big)["actions"]) == 700


def test_the_url_names_model_and_seed() -> None:
    with serving(EchoStepper()) as running, connecting(running, "/openpi?model=echo&seed=7") as (_, metadata):
        assert metadata["seed"] == 7
        assert next(iter(running.engine.sessions.values())).options.lockstep


def test_an_adapter_with_a_body_gives_its_actuators_commands() -> None:
    stepper, adapter = EchoStepper(), make_adapter(make_policy())
    config = replace(adapter.config, name="rover", fps=stepper.fps, embodiment=rover())
    stepper.add_adapter(replace(adapter, config=config))
    with serving(stepper) as running, connecting(running, "/openpi?adapter=rover") as (connection, metadata):
        assert metadata["adapter"] == "rover"
        assert metadata["action_names"] == [actuator.name for actuator in rover().actuators]
        for _ in range(3):
            commands = infer(connection, image=paint(identity_of(16, -16)))["actions"]
            assert commands.dtype == np.float32
            assert commands.shape[1] == rover().num_actuators
            assert (commands <= rover().maximum).all()
            assert (commands >= rover().minimum).all()
        assert commands.any()


@pytest.mark.parametrize(
    ("query", "status"),
    [("model=other", 404), ("seed=x", 422), ("seed=99999999999999", 422), ("nonsense=1", 422), ("adapter=none", 404)],
)
def test_wishes_that_cannot_be_granted_are_refused_at_the_handshake(query: str, status: int) -> None:
    with serving(EchoStepper()) as running:
        with pytest.raises(InvalidStatus) as refused, connecting(running, f"/openpi?{query}"):
            pass
        assert refused.value.response.status_code == status
        assert running.service.num_sessions == 0


def test_a_full_server_says_so_at_the_handshake() -> None:
    with serving(EchoStepper(num_slots=1)) as running, connecting(running):
        with pytest.raises(InvalidStatus) as refused, connecting(running):
            pass
        assert refused.value.response.status_code == 503
        assert json.loads(refused.value.response.body or b"")["type"] == "urn:gi:problem:capacity-full"


@pytest.mark.parametrize(
    "bad", [b"", b"\xc1", b"\x91" * 5000, b"\x81\xa1m" * 1010 + b"\x01", pack_map({"state": 1}), "text"]
)
def test_a_bad_observation_is_told_in_words_and_the_session_lives_on(bad: bytes | str) -> None:
    with serving(EchoStepper()) as running, connecting(running) as (connection, _):
        connection.send(bad)
        words = connection.recv(timeout=5)
        assert isinstance(words, str)
        assert "Not a message of the protocol" in words
        assert identity(infer(connection, image=paint(5))["actions"]) == 5


def test_a_model_that_fails_is_told_without_its_secrets() -> None:
    with serving(FailingStepper()) as running, connecting(running) as (connection, _):
        with pytest.raises(RuntimeError) as told:
            infer(connection, image=paint(13))
        assert "secret" not in str(told.value)
        assert identity(infer(connection, image=paint(14))["actions"]) == 14


def test_a_picture_too_small_is_told_in_words() -> None:
    with serving(EchoStepper()) as running, connecting(running) as (connection, _):
        tiny = np.zeros((2, 2, 3), np.uint8)
        with pytest.raises(RuntimeError, match="each side needs 8 or more"):
            infer(connection, image=tiny)


def test_a_key_is_needed_where_there_are_keys_and_comes_as_openpi_sends_it(tmp_path: Path) -> None:
    with serving_with_keys(tmp_path, EchoStepper()) as keyed:
        alice = {"Authorization": f"Api-Key {keyed.keys['alice']}"}
        with connecting(keyed.running, additional_headers=alice) as (connection, _):
            assert identity(infer(connection, image=paint(9))["actions"]) == 9
        for authorization, status in ((None, 401), ("nonsense", 401), (keyed.keys["scraper"], 403)):
            headers = {} if authorization is None else {"Authorization": f"Api-Key {authorization}"}
            with pytest.raises(InvalidStatus) as refused, connecting(keyed.running, additional_headers=headers):
                pass
            assert refused.value.response.status_code == status


def test_an_idle_session_is_ended() -> None:
    with serving(EchoStepper(), idle_timeout_s=0.1) as running, connecting(running) as (connection, _):
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4408


def test_a_client_that_leaves_frees_its_slot_at_once_even_in_the_middle_of_a_step() -> None:
    with serving(EchoStepper(seconds=0.1)) as running:
        with connecting(running) as (connection, _):
            connection.send(pack_map({"image": paint(1)}))
        wait_until(lambda: running.service.num_sessions == 0)


def test_a_server_that_ends_closes_with_going_away() -> None:
    config = ServiceConfig(drain_s=0.0)
    with serving(EchoStepper(), config=config) as running, connecting(running) as (connection, _):
        running.stop()
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


def test_its_health_check_answers() -> None:
    with serving(EchoStepper()) as running, urlopen(f"{running.url}/healthz", timeout=5) as answer:
        assert answer.status == 200
        assert answer.read() == b"OK"
