"""A game played through the server: a frame a tick, the newest answer held, everything released at the end."""

from collections.abc import Callable

from gi_model.actions import NEUTRAL, InputState
from gi_model.frames import Frame
from gi_serve.client import Client


def play_game(grab: Callable[[], Frame | None], press: Callable[[InputState], None]) -> None:
    """`grab` gives uint8 (height, width, 3) RGB a tick, None at the end; `press` holds what it is given."""
    try:
        with Client("http://127.0.0.1:8000").session(seed=1) as session:
            while (frame := grab()) is not None:
                session.send(frame)
                session.latest(timeout_s=1 / session.model.fps)
                if (state := session.due()) is not None:
                    press(state)  # .keys {"KeyW"}, .buttons {"MouseLeft"}, .motion (dx, dy) in mouse counts
    finally:
        press(NEUTRAL)  # the game is over or the server is gone
