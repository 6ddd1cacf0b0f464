"""Clips that know their body, and what a body refuses of demonstrations."""

from pathlib import Path

import numpy as np
import pytest

from gi_data.embodied import check_commands, check_rate, embodied, read_embodied
from gi_data.envs.robots import make_robot
from gi_data.metadata import ClipMetadata
from gi_data.record import Recorder, RecordPlan
from gi_model.errors import ClipError

ROVER = make_robot("robot/rover").embodiment


def test_metadata_gives_the_body_back() -> None:
    assert read_embodied(embodied(ROVER), "clip") == ROVER
    assert embodied(None) == {}
    assert read_embodied({"camera": "front"}, "clip") is None


def test_a_recording_carries_its_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gi_data.envs.robots.environment.EPISODE_S", 1.0)
    recorder = Recorder(RecordPlan(game="robot/rover_keys", out=tmp_path, episodes=1, perturb=True))
    recorded = recorder.record(3)
    recorder.close()
    assert recorded.ticks == 18
    path = next(tmp_path.glob("*.json"))
    info = ClipMetadata.from_json(path.read_bytes(), path.stem).info
    body = read_embodied(info.extra, path.stem)
    assert body is not None
    assert body == make_robot("robot/rover_keys").embodiment
    assert (info.fps, info.bindings) == (body.fps, body.bindings)
    assert (info.width, info.height) == (body.camera.width, body.camera.height)


def test_a_damaged_body_is_refused_by_clip() -> None:
    facts = embodied(ROVER)
    with pytest.raises(ClipError, match=r"clip c7 .* another embodiment"):
        read_embodied(facts | {"embodiment_fingerprint": "0" * 64}, "c7")
    with pytest.raises(ClipError, match="embodiment of clip c7 cannot be read"):
        read_embodied(facts | {"embodiment_toml": "fps = 3"}, "c7")


def test_rates_must_agree() -> None:
    check_rate(17.5, ROVER, "r")
    check_rate(17.52, ROVER, "r")  # a camera's own clock
    with pytest.raises(ClipError, match=r"recording r has another rate.*got 20 ticks a second; expected 17\.5"):
        check_rate(20.0, ROVER, "r")


def test_commands_must_be_within_the_limits() -> None:
    commands = np.zeros((10, 2), np.float32)
    commands[0] = ROVER.maximum + 0.9 * ROVER.resolution  # rounded
    commands[1] = np.nan  # missing
    check_commands(commands, ROVER, "r")
    commands[4, 1] = commands[6, 1] = -3.5
    with pytest.raises(ClipError, match=r"angular.z = -3.5 rad/s in row 4, and 1 more; expected -3 to 3 rad/s"):
        check_commands(commands, ROVER, "r")
