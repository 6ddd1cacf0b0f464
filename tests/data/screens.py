"""A virtual screen, a person's hands on it, and a real game in a window. Needs Xvfb and xdotool, as on CI."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

GAME = shutil.which("chocolate-doom", path="/usr/games:/usr/bin")
GAME_DATA = Path("/usr/share/games/doom/freedoom1.wad")
TITLE = "Chocolate Doom"
needs_game = pytest.mark.skipif(
    GAME is None or not GAME_DATA.exists(), reason="no SDL game: apt-get install chocolate-doom freedoom"
)


@contextmanager
def virtual_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An X server of its own, named by DISPLAY."""
    missing = [program for program in ("Xvfb", "xdotool") if shutil.which(program) is None]
    assert not missing, f"this test needs {missing}: apt-get install xvfb xdotool"
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24"], pass_fds=[write], stderr=subprocess.DEVNULL
    )
    os.close(write)
    with os.fdopen(read) as display:
        monkeypatch.setenv("DISPLAY", f":{display.readline().strip()}")
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def press(*words: str) -> str:
    """What xdotool does, and says."""
    return subprocess.run(["xdotool", *words], capture_output=True, text=True, check=True, timeout=10).stdout


@contextmanager
def doom_in_a_window(home: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Chocolate Doom on the first map, in a window that has the keyboard."""
    assert GAME is not None
    command = [GAME, "-iwad", str(GAME_DATA), "-window", "-width", "320", "-height", "240", "-warp", "1", "1"]
    environment = {**os.environ, "HOME": str(home), "SDL_AUDIODRIVER": "dummy"}
    with (home / "game.log").open("wb") as log:
        game = subprocess.Popen([*command, "-skill", "1", "-nosound"], env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 30
        while not subprocess.run(["xdotool", "search", "--name", TITLE], capture_output=True, check=False).stdout:
            assert time.monotonic() < until, (home / "game.log").read_text()
            time.sleep(0.1)
        yield game
    finally:
        game.kill()
        game.wait()
