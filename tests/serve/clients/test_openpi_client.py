"""An unmodified `openpi-client`, of the version that PyPI has, gets its actions from us.

It pins numpy below 2, so it lives in a virtual environment of its own, made once by uv in the user's cache.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.serve.fake_steppers import EchoStepper
from tests.serve.keyed import serving_with_keys
from tests.serve.pictures import HEIGHT, WIDTH
from tests.serve.serving import serving

pytestmark = pytest.mark.slow  # installs numpy once, and starts a Python
VERSION: Final = "0.1.2"
NEEDED: Final = ("numpy<2", "msgpack", "websockets", "typing_extensions")  # of what it imports; it asks for more
UV: Final = Path(sys.executable).parent / "uv"
PROGRAM: Final = Path(__file__).parent / "play_openpi.py"


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python that has the client; skips where the registry cannot be reached."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "gi-model-tests" / f"openpi-client-{VERSION}"
    python, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        install = (UV, "pip", "install", "--quiet", "--python", python)
        steps = (
            (UV, "venv", "--quiet", "--clear", "--python", sys.executable, folder),
            (*install, "--no-deps", f"openpi-client=={VERSION}"),
            (*install, *NEEDED),
        )
        for step in steps:
            ran = subprocess.run(step, capture_output=True, text=True, check=False)
            if ran.returncode:
                pytest.skip(f"openpi-client cannot be installed here: {ran.stderr.strip()[-300:]}")
        done.touch()
    return python


def play(python: Path, *arguments: str) -> str:
    command = [str(python), str(PROGRAM), *arguments, str(HEIGHT), str(WIDTH)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_it_gets_the_actions_of_its_own_pictures(python: Path) -> None:
    with serving(EchoStepper()) as running:
        said = play(python, "127.0.0.1", str(running.port), "")
    assert said.splitlines() == ["echo", *(f"(1, 139) float32 {number}" for number in (3, 500, 77)), "RuntimeError"]


def test_it_shows_its_key(python: Path, tmp_path: Path) -> None:
    with serving_with_keys(tmp_path, EchoStepper()) as keyed:
        said = play(python, "127.0.0.1", str(keyed.running.port), keyed.keys["alice"])
    assert said.splitlines()[:2] == ["echo", "(1, 139) float32 3"]
