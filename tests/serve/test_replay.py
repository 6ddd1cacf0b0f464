"""A recorded session plays again exactly as it was; damage and strangers' models are told."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gi_model.actions import InputState
from gi_model.cli import build_app
from gi_model.errors import ServeError
from gi_serve.client import Session
from gi_serve.protocol import Codec, FrameMessage, encode_frame
from gi_serve.recorder import Recorder
from gi_serve.replay import Replayer, ServerReplayer, StepperReplayer, replay
from gi_serve.service import ServiceConfig
from gi_serve.session_record import EVENTS, FRAMES, SessionRecord
from tests.serve.fake_steppers import EchoStepper, HistoryStepper
from tests.serve.pictures import jpeg_of, paint, png_of
from tests.serve.serving import Running, serving, wait_until
from tests.serve.streaming import ask, next_action, open_stream, raw

HELD = InputState(keys=frozenset({"KeyQ"}), motion=(3, 3))
Play = Callable[[Running], None]


def with_resets_and_corrections(running: Running) -> None:
    with running.session(seed=3) as session:
        for tick in range(8):
            session.act(paint(tick))
            if tick % 3 == 0:
                session.execute(HELD)
            if tick == 5:
                session.reset(seed=99)


def in_every_codec(running: Running) -> None:
    big = np.kron(paint(40), np.ones((3, 3, 1), np.uint8))
    with open_stream(running) as connection:
        ask(connection, type="session.update", seed=1, sampling={"temperature": 0.5, "top_p": 0.9})
        for seq, (codec, data) in enumerate(
            [(Codec.JPEG, jpeg_of(big)), (Codec.PNG, png_of(big)), (Codec.RAW, big.tobytes())]
        ):
            size = (big.shape[1], big.shape[0]) if codec == Codec.RAW else (0, 0)
            connection.send(encode_frame(FrameMessage(seq, seq * 7, codec, data, *size)))
            next_action(connection)


def with_drops(running: Running) -> None:
    with running.session(seed=4) as session:
        for tick in range(60):
            last = session.send(paint(tick))
            session.latest(0.01 if tick % 9 == 0 else 0.0)
        while (action := session.latest(5.0)) is not None and action.seq < last:
            pass


def record(play: Play, folder: Path) -> SessionRecord:
    with serving(HistoryStepper(), config=ServiceConfig(record_dir=folder)) as running:
        play(running)
        wait_until(lambda: not running.engine.sessions)
    (path,) = folder.iterdir()
    return SessionRecord.open(path)


@pytest.mark.parametrize("play", [with_resets_and_corrections, in_every_codec, with_drops])
@pytest.mark.parametrize("where", ["here", "on a server"])
def test_a_recorded_session_plays_again_exactly(tmp_path: Path, play: Play, where: str) -> None:
    recorded = record(play, tmp_path)
    assert list(recorded.events())[-1] == {"event": "end", "reason": "client"}

    def check(replayer: Replayer) -> None:
        report = replay(recorded, replayer)
        assert report.same_model
        assert report.difference is None
        assert report.num_compared == report.num_steps >= 3
        assert report.max_confidence_error == 0.0

    if where == "here":
        check(StepperReplayer(HistoryStepper()))
    else:
        with serving(HistoryStepper()) as running, ServerReplayer(running.url) as replayer:
            check(replayer)


def test_a_fork_s_recording_has_its_origin_s_past(tmp_path: Path) -> None:
    address = serving(HistoryStepper(), config=ServiceConfig(record_dir=tmp_path))
    with address as running, open_stream(running) as connection:
        ask(connection, type="session.update", seed=3)
        for seq in range(4):
            connection.send(encode_frame(raw(seq, seq)))
            next_action(connection)
        ask(connection, type="session.fork", to_stream_id=1)
        for seq in range(4, 7):
            connection.send(encode_frame(raw(seq, 100 + seq, 1)))
            next_action(connection)
    reports = [replay(SessionRecord.open(path), StepperReplayer(HistoryStepper())) for path in tmp_path.iterdir()]
    assert sorted(report.num_compared for report in reports) == [4, 7]
    assert all(report.difference is None for report in reports)


class ForgetfulStepper(HistoryStepper):
    """Forgets its corrections."""

    def correct(self, slot: int, tokens: object) -> None:
        """Nothing."""


def test_the_first_difference_is_named(tmp_path: Path) -> None:
    recorded = record(with_resets_and_corrections, tmp_path)
    stepper = ForgetfulStepper()
    stepper.fingerprint = "another"
    report = replay(recorded, StepperReplayer(stepper))
    assert not report.same_model
    assert report.difference is not None
    assert (report.difference.seq, report.difference.step, report.num_compared) == (1, 1, 1)
    assert report.difference.expected != report.difference.got


def test_without_the_flag_nothing_is_kept_and_with_it_only_the_owner_may_look(tmp_path: Path) -> None:
    path = record(with_drops, tmp_path).path
    assert path.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in path.iterdir()} == {EVENTS: 0o600, FRAMES: 0o600}


def test_no_secret_is_in_a_recording(tmp_path: Path) -> None:
    secrets: list[str] = []

    def play(running: Running) -> None:
        with running.session() as session:
            session.act(paint(1))
            secrets.extend([session.id, running.engine.sessions[session.id].resume_token])

    path = record(play, tmp_path).path
    text = (path / EVENTS).read_text() + path.name
    assert not any(secret in text for secret in secrets)


def test_a_cut_off_recording_is_read_up_to_there(tmp_path: Path) -> None:
    recorded = record(with_resets_and_corrections, tmp_path)
    file = recorded.path / EVENTS
    file.write_bytes(file.read_bytes()[:-30])
    report = replay(SessionRecord.open(recorded.path), StepperReplayer(HistoryStepper()))
    assert report.difference is None
    assert report.num_compared == 8


@pytest.mark.parametrize(
    "damage", ["no folder", "no header", "other version", "bad line", "bad event", "no field", "short frames"]
)
def test_damage_is_told(tmp_path: Path, damage: str) -> None:
    path = record(with_resets_and_corrections, tmp_path).path
    lines = (path / EVENTS).read_text().splitlines(keepends=True)
    match damage:
        case "no folder":
            path = tmp_path / "nothing"
        case "no header":
            (path / EVENTS).write_text("")
        case "other version":
            (path / EVENTS).write_text(json.dumps(json.loads(lines[0]) | {"version": 2}) + "\n")
        case "bad line":
            (path / EVENTS).write_text("".join([*lines[:3], "{\n", *lines[3:]]))
        case "bad event":
            (path / EVENTS).write_text("".join([*lines[:3], "[1]\n", *lines[3:]]))
        case "no field":
            (path / EVENTS).write_text("".join([*lines, '{"event": "step"}\n']))
        case _:
            (path / FRAMES).write_bytes((path / FRAMES).read_bytes()[:-20])
    with pytest.raises(ServeError, match=r"damaged|recorded session"):
        replay(SessionRecord.open(path), StepperReplayer(HistoryStepper()))


def test_a_disk_that_refuses_ends_the_recording_and_not_the_play(tmp_path: Path) -> None:
    def play(session: Session) -> None:
        for tick in range(3):
            assert session.act(paint(tick)).seq == tick

    with serving(EchoStepper(), config=ServiceConfig(record_dir=tmp_path / "full")) as running:
        (tmp_path / "full").rmdir()
        (tmp_path / "full").write_text("not a folder any more")
        with running.session() as session:
            play(session)
    with pytest.raises(ServeError, match="cannot record"):
        Recorder(tmp_path / "full")


def test_the_command_says_same_or_where_not(tmp_path: Path) -> None:
    recorded = record(with_resets_and_corrections, tmp_path)
    run = CliRunner()
    with serving(HistoryStepper()) as same:
        result = run.invoke(build_app(), ["replay", str(recorded.path), "--url", same.url])
        assert (result.exit_code, result.output.split(",")[0]) == (0, "8 of 8 steps compared")
    with serving(EchoStepper()) as other:
        result = run.invoke(build_app(), ["replay", str(recorded.path), "--url", other.url, "--json"])
        assert result.exit_code == 1
        assert json.loads(result.output)["difference"]["seq"] == 0
