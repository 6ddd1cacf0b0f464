"""The desktop of X11, on a virtual screen, with a real game in a window. Needs Xvfb, xdotool, chocolate-doom."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gi_data.desktop.system import open_desktop
from gi_data.desktop.window_game import WindowGame, WindowPlan
from gi_data.desktop.x11 import X11Desktop
from gi_data.ingest.events import Move, Press, Release, Scroll, Snapshot
from gi_data.recording import is_finished
from gi_model.actions import NEUTRAL, InputState
from gi_model.errors import GameError
from gi_model.frames import Frame
from tests.data.screens import TITLE, doom_in_a_window, needs_game, press, virtual_screen

GI = [sys.executable, "-c", "from gi_model.cli import main; main()"]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with virtual_screen(monkeypatch):
        yield


def test_the_ear_hears_what_the_hand_does(screen: None) -> None:
    desktop = X11Desktop()
    pressed: list[str] = []
    ear, hand = desktop.listen(pressed.append), desktop.hand()
    try:
        hand.hold(InputState(frozenset({"KeyW", "ShiftLeft"}), frozenset({"MouseRight"}), (13, -5), (0, -2)))
        hand.hold(InputState(frozenset({"KeyW"})))
        hand.release()
        time.sleep(0.3)
        heard = ear.take()
    finally:
        ear.close()
        desktop.close()
    assert isinstance(heard[0], Snapshot)
    controls = [event.control for event in heard if isinstance(event, Press)]
    assert controls == pressed == ["KeyW", "ShiftLeft", "MouseRight"]
    assert [event.control for event in heard if isinstance(event, Release)] == ["ShiftLeft", "MouseRight", "KeyW"]
    assert [(event.dx, event.dy) for event in heard if isinstance(event, Move)] == [(13.0, -5.0)]
    assert [(event.dx, event.dy) for event in heard if isinstance(event, Scroll)] == [(0, -1)] * 2
    times = [event.t_ns for event in heard]
    assert times == sorted(times)
    assert abs(times[-1] - time.monotonic_ns()) < 5e9


def test_a_key_that_was_down_before_is_known(screen: None) -> None:
    desktop = X11Desktop()
    press("keydown", "d")
    ear = desktop.listen()
    try:
        (first, *_rest) = ear.take()
    finally:
        ear.close()
        desktop.close()
    assert isinstance(first, Snapshot)
    assert first.held == {"KeyD"}


def test_without_an_x_server_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(GameError, match="no X server to play on"):
        open_desktop()


def test_wayland_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    with pytest.raises(GameError, match="Wayland lets no program"):
        open_desktop()


def test_a_window_that_is_not_there_names_those_that_are(screen: None) -> None:
    desktop = X11Desktop()
    with pytest.raises(GameError, match="no window matches 'Quake'"):
        desktop.find("Quake")
    desktop.close()


def change(before: Frame, after: Frame) -> float:
    """Mean difference of two pictures of the game, without its status bar."""
    return float(np.abs(after[20:90].astype(int) - before[20:90]).mean())


def wait_until_still(game: WindowGame) -> Frame:
    """The map, once it is on the screen and nothing moves."""
    frames = [game.observe()[0]]
    until = time.monotonic() + 30
    while len(frames) < 4 or max(change(a, b) for a, b in pairwise(frames[-4:])) > 1:
        assert time.monotonic() < until
        frames.append(game.step(NEUTRAL)[0])
    return frames[-1]


@needs_game
@pytest.mark.slow
def test_a_real_game_is_seen_moved_and_taken_over(screen: None, tmp_path: Path) -> None:
    with doom_in_a_window(tmp_path) as running:
        game = WindowGame(WindowPlan("doom/window", TITLE, fps=17.5), X11Desktop())
        try:
            game.reset()
            still = wait_until_still(game)
            for _ in range(12):
                turned = game.step(InputState(motion=(60, 0)))[0]
            assert change(still, turned) > 5
            press("key", "F10")
            time.sleep(0.2)
            assert game.is_taken_over
            running.kill()
            running.wait()
            time.sleep(0.3)
            with pytest.raises(GameError, match="was closed"):
                game.observe()
        finally:
            game.close()


@needs_game
@pytest.mark.slow
def test_a_person_is_recorded_in_a_real_game(screen: None, tmp_path: Path) -> None:
    out = tmp_path / "recordings"
    with doom_in_a_window(tmp_path):
        command = [*GI, "record", "my/doom", "--window", TITLE, "--out", str(out), "--last", "1s", "--json"]
        recorder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert recorder.stderr is not None
        assert "Recording" in recorder.stderr.readline()
        time.sleep(1)
        press("keydown", "w")
        time.sleep(0.5)
        press("keyup", "w")
        os.kill(recorder.pid, signal.SIGUSR1)
        time.sleep(1)
        recorder.send_signal(signal.SIGINT)
        told = json.loads(recorder.communicate(timeout=20)[0])
    assert recorder.returncode == 0
    assert told["saved"] == ["my-doom-human-000000"]
    assert is_finished(out, told["saved"][0])
    lines = [json.loads(line) for line in next(out.glob("*.jsonl")).read_text().splitlines()]
    assert 18 <= len(lines) <= 21
    assert 5 <= sum("KeyW" in line.get("keys", ()) for line in lines) <= 16
