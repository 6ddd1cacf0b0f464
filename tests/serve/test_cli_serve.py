"""`gi serve` and `gi play` as a person runs them: a real checkpoint, a real process, a real game."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gi_model.checkpoint import save_policy
from gi_model.cli import build_app
from gi_model.errors import CheckpointError, ServeError
from gi_serve.client import Client, ConnectionLostError, Session
from tests.model.factories import DEBUG, make_policy, random_frames

FRAMES = random_frames(12).permute(0, 2, 3, 1).numpy()
GI = [sys.executable, "-c", "from gi_model.cli import main; main()"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "small"
    save_policy(make_policy(), folder)
    return folder


@pytest.fixture(scope="module")
def announced(checkpoint: Path) -> Iterator[dict[str, Any]]:
    """What `gi serve` announces on a free port; at last it is ended by SIGTERM, in the middle of a session."""
    command = [*GI, "serve", "--checkpoint", str(checkpoint), "--port", "0", "--max-sessions", "3"]
    command += ["--drain-seconds", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        try:
            facts = json.loads(line)
            yield facts
            session = Client(facts["url"]).session()
            session.act(FRAMES[0])
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionLostError, match="going_away"):
                play_on(session)
            _out, noise = process.communicate(timeout=20)
            assert (process.returncode, noise) == (0, "")
        finally:
            process.kill()


def play_on(session: Session) -> None:
    """Until the connection is lost."""
    while True:
        session.latest(10.0)


def run(*words: str) -> Any:
    return CliRunner().invoke(build_app(), words)


def test_a_real_game_is_played_through_a_real_server(announced: dict[str, Any]) -> None:
    assert (announced["model"], announced["device"], announced["max_sessions"]) == ("small", "cpu", 3)
    played = run("play", "doom/basic", "--server", announced["url"], "--lockstep", "--episodes", "2", "--json")
    assert played.exit_code == 0, played.output
    report = json.loads(played.stdout)
    assert [episode["seed"] for episode in report["episodes"]] == [1_000_000, 1_000_001]
    assert report["summary"]["frame_to_action_ms_p95"] > 0
    assert report["summary"]["num_dropped"] == 0


@pytest.mark.slow
def test_a_real_game_is_played_in_real_time(announced: dict[str, Any]) -> None:
    """Slow: an episode takes as long as it takes a person, up to nine seconds."""
    live = run("play", "doom/basic", "--server", announced["url"], "--seed", "5")
    assert live.exit_code == 0, live.output
    assert "frame to action" in live.stdout


def test_the_same_seed_and_frames_give_the_same_actions_beside_other_players(announced: dict[str, Any]) -> None:
    client = Client(announced["url"])
    with client.session(seed=7) as first, client.session(seed=8) as other:
        assert (first.model.height, first.model.width) == (DEBUG.height, DEBUG.width)
        alone = [first.act(frame).state for frame in FRAMES]
        first.reset(seed=7)
        beside = []
        for frame in FRAMES:
            other.send(frame)
            beside.append(first.act(frame).state)
        first.reset(seed=9)
        different = [first.act(frame).state for frame in FRAMES]
    assert alone == beside
    assert alone != different


def test_a_taken_port_is_known_before_the_model_is_loaded(checkpoint: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("serve", "--checkpoint", str(checkpoint / "missing"), "--port", port)
    assert isinstance(result.exception, ServeError)
    assert "--port" in result.exception.do


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    result = run("serve", "--checkpoint", str(tmp_path / "nowhere"), "--port", "0")
    assert isinstance(result.exception, CheckpointError)
    assert "nowhere" in str(result.exception)


def test_play_without_a_server_says_how_to_start_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    result = run("play", "doom/basic", "--server", f"http://127.0.0.1:{port}")
    assert isinstance(result.exception, ServeError)
    assert "gi serve" in result.exception.do


@pytest.mark.parametrize("module", ["gi_serve.client", "gi_serve.protocol_json"])
def test_the_client_needs_numpy_and_websockets_only(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{name.partition('.')[0] for name in sys.modules}}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    third_party = set(json.loads(ran.stdout.replace("'", '"'))) - sys.stdlib_module_names
    assert {name for name in third_party if not name.startswith("_")} <= {"gi_model", "gi_serve", "numpy", "websockets"}
