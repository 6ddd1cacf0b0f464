"""A desktop without a screen: its window paints a number, its hand remembers, its ear hears what the test says."""

import time
from collections.abc import Callable

import numpy as np

from gi_data.desktop.protocol import choose
from gi_data.ingest.events import Event, Press, Release
from gi_model.actions import NEUTRAL, InputState
from gi_model.errors import GameError
from gi_model.frames import Frame


class FakeWindow:
    """Every picture is one grey level brighter than the one before."""

    title = "My Game 1.0"

    def __init__(self, height: int = 48, width: int = 64) -> None:
        self.height, self.width = height, width
        self.is_focused, self.is_open, self.num_grabs = True, True, 0

    def grab(self) -> Frame:
        if not self.is_open:
            raise GameError(f"the window {self.title!r} was closed", do="Start the game again.")
        self.num_grabs += 1
        return np.full((self.height, self.width, 3), self.num_grabs % 256, np.uint8)


class FakeHand:
    def __init__(self) -> None:
        self.held = NEUTRAL

    def hold(self, state: InputState) -> None:
        self.held = state

    def release(self) -> None:
        self.held = NEUTRAL


class FakeEar:
    def __init__(self, on_press: Callable[[str], None]) -> None:
        self.on_press = on_press
        self.heard: list[Event] = []
        self.is_closed = False

    def take(self) -> list[Event]:
        heard, self.heard = self.heard, []
        return heard

    def close(self) -> None:
        self.is_closed = True

    def press(self, control: str) -> None:
        self.heard.append(Press(time.monotonic_ns(), control))
        self.on_press(control)

    def release(self, control: str) -> None:
        self.heard.append(Release(time.monotonic_ns(), control))


class FakeDesktop:
    def __init__(self) -> None:
        self.window, self.the_hand = FakeWindow(), FakeHand()
        self.ears: list[FakeEar] = []
        self.is_closed = False

    def find(self, title: str) -> FakeWindow:
        return [self.window][choose(title, [self.window.title])]

    def hand(self) -> FakeHand:
        return self.the_hand

    def listen(self, on_press: Callable[[str], None] = lambda _: None) -> FakeEar:
        self.ears.append(FakeEar(on_press))
        return self.ears[-1]

    def close(self) -> None:
        self.is_closed = True
