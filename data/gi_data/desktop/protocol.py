"""`Desktop`, `Window`, `Hand`, `Ear`: what recording and playing a game in a window need of a desktop.

A `Hand` types and moves the mouse for the game, an `Ear` hears what a person does. Both speak of input states and
events as everything else does; what a key is called by the desktop stays behind this interface.
"""

from collections.abc import Callable
from typing import Protocol

from gi_data.ingest.events import Event
from gi_model.actions import InputState
from gi_model.errors import GameError
from gi_model.frames import Frame


class Window(Protocol):
    """One window. Its size may change while it is open."""

    title: str

    def grab(self) -> Frame:
        """What it shows, uint8 (H, W, 3). Raises GameError once it is closed, minimised, or off the screen."""
        ...

    @property
    def is_focused(self) -> bool:
        """Whether what is typed now goes to it."""
        ...


class Hand(Protocol):
    """Presses, holds, and moves, in whatever has the focus."""

    def hold(self, state: InputState) -> None:
        """Hold exactly the keys and buttons of `state` from now on; its motion and wheel happen once, now."""
        ...

    def release(self) -> None:
        """Let go of everything. Any thread may call it, and any number of times."""
        ...


class Ear(Protocol):
    """Hears keyboard and mouse, whoever has the focus."""

    def take(self) -> list[Event]:
        """What happened since the last call, in order of time (`time.monotonic_ns`)."""
        ...

    def close(self) -> None:
        """Stop listening. Idempotent."""
        ...


class Desktop(Protocol):
    """The screen that this program runs on."""

    def find(self, title: str) -> Window:
        """The window whose title contains `title`, whatever the case. Raises GameError that names those there are."""
        ...

    def hand(self) -> Hand:
        """A hand with nothing held."""
        ...

    def listen(self, on_press: Callable[[str], None] = lambda _: None) -> Ear:
        """An ear. on_press: hears of every control that goes down at once, in the ear's thread; what it raises is lost.

        It also hears what programs type, our own hand among them.
        """
        ...

    def close(self) -> None:
        """Let go of the desktop. Idempotent."""
        ...


def choose(title: str, titles: list[str]) -> int:
    """The place of the one title that contains `title`; one that equals it goes first. Raises GameError."""
    wanted = title.casefold()
    found = [place for place, each in enumerate(titles) if wanted in each.casefold()]
    exact = [place for place in found if titles[place].casefold() == wanted]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        got = [titles[place] for place in found[:5]]
        raise GameError(f"{len(found)} windows match {title!r}", got=got, expected="one", do="Give more of the title.")
    do = "Start the game first; give a part of its window's title."
    raise GameError(f"no window matches {title!r}", got=titles[:10], expected="one of the open windows", do=do)
