"""A person at the window: keys and mouse that really moved the game are the labels, and only those that the game uses.

Needs Xvfb and xdotool (`apt-get install xvfb xdotool`), as on CI.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gi_data.metadata import ClipMetadata
from gi_data.record import RecordPlan
from gi_data.record_person import record_person
from gi_data.recording import is_finished
from gi_model.errors import ConfigError
from tests.data.screens import press, virtual_screen

pytestmark = pytest.mark.slow  # plays a game in a window for some seconds
GAME = "doom/health_gathering_supreme"
GI = [sys.executable, "-c", "from gi_model.cli import main; main()"]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with virtual_screen(monkeypatch):
        yield


def focus_window() -> None:
    """Wait for the game's window and give it the keyboard, as a desktop would."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = subprocess.run(["xdotool", "search", "--onlyvisible", "--name", "."], capture_output=True, check=False)
        if found.stdout:
            press("windowfocus", "--sync", found.stdout.decode().split()[-1])
            return
        time.sleep(0.1)
    raise AssertionError("the game opened no window")


def move_mouse(counts: int) -> None:
    """Move like a mouse: many small reports, the first of which only tells the game where the pointer is."""
    for _ in range(8):
        press("mousemove_relative", "--", str(counts), "0")
        time.sleep(0.06)


def recorded_lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(out.glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_what_is_pressed_is_recorded_and_ctrl_c_finishes_the_recording(screen: None, tmp_path: Path) -> None:
    command = [*GI, "record", GAME, "--demonstrator", "human", "--out", str(tmp_path)]
    recorder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    focus_window()
    time.sleep(0.3)
    press("keydown", "q")  # bound to nothing in this game
    press("keydown", "w")
    move_mouse(12)
    press("keyup", "w")
    press("keyup", "q")
    time.sleep(0.3)
    move_mouse(-12)
    recorder.send_signal(signal.SIGINT)
    _, errors = recorder.communicate(timeout=30)
    assert recorder.returncode == 130
    assert "Traceback" not in errors

    lines = recorded_lines(tmp_path)
    walked = [index for index, line in enumerate(lines) if "keys" in line]
    assert {key for line in lines for key in line.get("keys", [])} == {"KeyW"}
    assert walked == list(range(walked[0], walked[-1] + 1))
    turns = [(index, line["motion"][0]) for index, line in enumerate(lines) if "motion" in line]
    rights, lefts = [i for i, dx in turns if dx > 0], [i for i, dx in turns if dx < 0]
    assert len(rights) >= 3
    assert len(lefts) >= 3
    assert max(rights) < min(lefts)
    assert set(rights) & set(walked)

    key = next(tmp_path.glob("*-0000.json"))
    metadata = ClipMetadata.from_json(key.read_bytes(), key.stem)
    assert is_finished(tmp_path, metadata.recording_id)
    assert not metadata.recovered
    assert "player" in metadata.info.consent
    periods = [after["t_ns"] - before["t_ns"] for before, after in pairwise(lines)]
    assert sorted(periods)[len(periods) // 2] == pytest.approx(1e9 / 17.5, rel=0.1)


def test_a_game_without_a_window_is_refused(tmp_path: Path) -> None:
    plan = RecordPlan(game="gym/ALE/Pong-v5", out=tmp_path, demonstrator="human", episodes=1)
    with pytest.raises(ConfigError, match="no window"):
        record_person(plan)
