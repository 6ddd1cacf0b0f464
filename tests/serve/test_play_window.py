"""`gi play --window`: a served model plays a real game in a window. Needs Xvfb, xdotool, chocolate-doom."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gi_data.desktop.window_game import WindowGame, WindowPlan
from gi_data.desktop.x11 import X11Desktop
from gi_data.envs.realtime import RealTimeEnvironment
from gi_data.ingest.events import Snapshot
from gi_model.actions import NEUTRAL, ActionSpace, InputState
from gi_model.errors import ServeError
from gi_model.stepper import Steps
from gi_serve.client import SessionConfig
from gi_serve.play import RealTimePlay
from tests.data.fake_desktop import FakeDesktop
from tests.data.screens import TITLE, doom_in_a_window, needs_game, press, virtual_screen
from tests.serve.fake_steppers import FACTORS, HistoryStepper
from tests.serve.serving import serving, wait_until

GI = [sys.executable, "-c", "from gi_model.cli import main; main()"]


class Turner(HistoryStepper):
    """Walks and turns to the right, whatever it sees."""

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        super().step(frames, slots)
        tokens = ActionSpace().encode(InputState(frozenset({"KeyW"}), motion=(30, 0)))
        return Steps(np.stack([tokens] * len(slots)), np.ones((len(slots), len(FACTORS)), np.float32))


def test_a_window_that_closes_ends_the_play_with_what_was_played() -> None:
    desktop = FakeDesktop()
    env = RealTimeEnvironment(WindowGame(WindowPlan("my/game", "my game", fps=20.0), desktop))
    with serving(Turner()) as running, running.session() as session:
        threading.Timer(0.6, lambda: setattr(desktop.window, "is_open", False)).start()
        played, why = RealTimePlay(env, session).run_until_it_ends()
    env.close()
    assert "was closed" in why
    assert played.ticks >= 5
    assert len(played.latencies_ms) >= 5
    assert desktop.the_hand.held == NEUTRAL


def test_a_lost_server_releases_every_key() -> None:
    desktop = FakeDesktop()
    env = RealTimeEnvironment(WindowGame(WindowPlan("my/game", "my game", fps=20.0), desktop))
    with serving(Turner()) as running:
        session = running.session(SessionConfig(on_late="hold", resume_s=0))
        threading.Timer(0.6, running.stop).start()
        with pytest.raises(ServeError):
            RealTimePlay(env, session).run_until_it_ends()
    env.close()
    assert desktop.the_hand.held == NEUTRAL


def test_what_a_person_did_enters_the_models_past() -> None:
    """The memory of a session whose player was taken over is that of one that was told what was held."""
    desktop = FakeDesktop()
    env = RealTimeEnvironment(WindowGame(WindowPlan("my/game", "my game", fps=20.0), desktop))
    with serving(Turner()) as running, running.session() as session:
        threading.Timer(0.4, lambda: desktop.ears[0].press("F10")).start()
        threading.Timer(1.2, lambda: setattr(desktop.window, "is_open", False)).start()
        RealTimePlay(env, session).run_until_it_ends()
        corrected = running.engine.sessions[session.id].executed_seq
        assert session.num_late_feedback <= 2
    env.close()
    assert corrected > 5


@needs_game
@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_served_model_plays_a_real_game_until_it_is_ended(
    ending: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with virtual_screen(monkeypatch), doom_in_a_window(tmp_path), serving(Turner()) as running:
        command = [*GI, "play", "doom/window", "--window", TITLE, "--server", running.url, "--json"]
        player = subprocess.Popen([*command, "--record", str(tmp_path / "film")], stdout=subprocess.PIPE, text=True)
        wait_until(lambda: running.engine.metrics.frames > 20, seconds=30)
        assert keys_down() == {"KeyW"}
        if ending == signal.SIGINT:
            press("key", "F10")
            time.sleep(1)
        player.send_signal(ending)
        told = json.loads(player.communicate(timeout=20)[0])
        assert not keys_down()
    assert player.returncode == 0
    assert told["summary"]["num_answers"] >= 20
    lines = [json.loads(line) for line in next((tmp_path / "film").glob("*.jsonl")).read_text().splitlines()]
    assert sum(line.get("motion") == [30, 0] for line in lines) >= 10


def keys_down() -> frozenset[str]:
    """What the X server holds down."""
    desktop = X11Desktop()
    ear = desktop.listen()
    try:
        (first, *_rest) = ear.take()
    finally:
        ear.close()
        desktop.close()
    assert isinstance(first, Snapshot)
    return first.held
