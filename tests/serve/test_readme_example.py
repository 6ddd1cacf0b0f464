"""The ten lines of the README, run as they stand against a real server."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from gi_model.actions import NEUTRAL, InputState
from tests.serve.fake_steppers import EchoStepper
from tests.serve.serving import serving

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_example_plays_a_game() -> None:
    found = re.search(r"<!-- example -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(compile(found.group(1), "README.md", "exec"), names)
    frames = [np.full((60, 80, 3), 40 * shade, dtype=np.uint8) for shade in range(5)]
    screen = iter([*frames, None])
    pressed: list[InputState] = []
    with serving(EchoStepper(num_slots=1)) as running:
        names["play"](running.url, lambda: next(screen), pressed.append)
    assert len(pressed) == len(frames) + 1
    assert NEUTRAL not in pressed[:-1]
    assert pressed[-1] == NEUTRAL
