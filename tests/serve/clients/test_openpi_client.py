"""An unmodified `openpi-client`, of the version that PyPI has, gets its actions from us.

It pins numpy below 2, so it lives in a virtual environment of its own.
"""

import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.serve.clients.environments import environment
from tests.serve.fake_steppers import EchoStepper
from tests.serve.keyed import serving_with_keys
from tests.serve.pictures import HEIGHT, WIDTH
from tests.serve.serving import serving

pytestmark = pytest.mark.slow  # installs numpy once, and starts a Python
VERSION: Final = "0.1.2"
NEEDED: Final = ("numpy<2", "msgpack", "websockets", "typing_extensions")  # of what it imports; it asks for more
PROGRAM: Final = Path(__file__).parent / "play_openpi.py"


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python that has the client."""
    client = ("--no-deps", f"openpi-client=={VERSION}")
    return environment(f"openpi-client-{VERSION}", client, NEEDED) / "python"


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
