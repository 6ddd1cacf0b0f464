"""`WindowGame`: any game in a window as an `Environment`: its clock is the wall's, its inputs are typed.

Whoever sits at the keyboard rules: the hot key takes control at once (everything is released in the moment it is
pressed) and gives it back; while the window has not the focus nothing is typed, for it would go elsewhere. What the
person did meanwhile is told as `info["executed"]`, so that a model's memory of what was held stays true. The game
cannot be reset, scores nothing that we know of, and ends when its window closes.
"""

import threading
import time
from dataclasses import dataclass, replace
from typing import Any, Final

from gi_data.desktop.person import Person
from gi_data.desktop.protocol import Desktop
from gi_data.envs.protocol import InputSpace, StepResult, box
from gi_data.ingest.default_bindings import KEYBOARD_MOUSE
from gi_model.actions import NEUTRAL, Bindings, InputState
from gi_model.errors import ConfigError, GameError
from gi_model.frames import Frame, resize

HOTKEY: Final = "F10"
PICTURE_HEIGHT: Final = 120
_NOT_PLAYED: Final = ("menu", "scoreboard")  # of the default bindings: a policy that pauses the game plays no more


@dataclass(frozen=True)
class WindowPlan:
    """Which window, at what rate. height: of the pictures, in pixels; their width follows from the window."""

    game: str
    title: str
    fps: float
    bindings: Bindings | None = None
    height: int = PICTURE_HEIGHT
    hotkey: str = HOTKEY

    def __post_init__(self) -> None:
        if self.height < 2 or self.height % 2:
            raise ConfigError("picture height out of range", got=self.height, expected="an even number from 2 up")

    def width_of(self, frame: Frame) -> int:
        """Pixels that keep the shape of `frame`, even."""
        return max(2, 2 * int(self.height * frame.shape[1] / frame.shape[0] / 2 + 0.5))


def playable(bindings: Bindings | None) -> Bindings:
    """What may be typed: what `bindings` say; without any, what most games use, less what opens menus.

    Never the hot key's row, Alt, or the keys of the system: they are in no default.
    """
    if bindings is not None:
        return bindings
    digital = {action: control for action, control in KEYBOARD_MOUSE.digital.items() if action not in _NOT_PLAYED}
    return Bindings(digital, KEYBOARD_MOUSE.analogue)


class WindowGame:
    """The game in the window that `plan` names. Raises GameError without it."""

    substeps = 1

    def __init__(self, plan: WindowPlan, desktop: Desktop) -> None:
        self._plan, self._desktop = plan, desktop
        self._window, self._hand = desktop.find(plan.title), desktop.hand()
        self.name, self.fps, self.bindings = plan.game, plan.fps, playable(plan.bindings)
        if plan.hotkey in self.bindings.digital.values():
            do = "Choose another one with --hotkey."
            raise ConfigError("the hot key is a control of the game", got=plan.hotkey, do=do)
        first = self._window.grab()
        self.observation_space = box(plan.height, plan.width_of(first))
        self.action_space = InputSpace(self.bindings)
        self._taken_over = threading.Event()
        self._is_blind = False  # the window has not the focus
        self._ear = desktop.listen(self._heard)
        self._person = Person(self._ear)

    @property
    def is_taken_over(self) -> bool:
        """Whether the person plays."""
        return self._taken_over.is_set()

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Begin to play where the game is; `seed` changes nothing."""
        del seed
        self._hand.release()
        return self.observe()[0], self._info()

    def step(self, state: InputState) -> StepResult:
        """Hold `state` for one tick."""
        self.advance(state)
        time.sleep(1 / self.fps)
        return self.observe()

    def advance(self, state: InputState, *, share: float = 1.0) -> None:
        """Hold `state`, and move by `share` of its motion; nothing while the person plays or the focus is elsewhere."""
        self._is_blind = not self._window.is_focused
        if self._is_blind or self.is_taken_over:
            self._hand.release()
            return
        allowed = self.bindings.restrict(state)
        motion = round(allowed.motion[0] * share), round(allowed.motion[1] * share)
        self._hand.hold(replace(allowed, motion=motion))
        if self.is_taken_over:  # pressed meanwhile
            self._hand.release()

    def observe(self) -> StepResult:
        """The newest picture. Never the end: that is a GameError, for a window that closes has no last picture."""
        try:
            frame = resize(self._window.grab(), *self.observation_space.shape[:2])
        except GameError:
            self._hand.release()
            raise
        return frame, 0.0, False, False, self._info()

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        self._hand.release()
        self._ear.close()
        self._desktop.close()

    def _info(self) -> dict[str, Any]:
        """executed: what was really held in the tick that is over, where that was not the player's choice."""
        person = self.bindings.restrict(self._person.state_until(time.monotonic_ns()))
        info: dict[str, Any] = {"score": float("nan")}
        if self.is_taken_over:
            info["executed"] = person
        elif self._is_blind:
            info["executed"] = NEUTRAL
        return info

    def _heard(self, control: str) -> None:
        """In the ear's thread: the hot key takes control, and gives it back."""
        if control != self._plan.hotkey:
            return
        if self._taken_over.is_set():
            self._taken_over.clear()
        else:
            self._taken_over.set()
            self._hand.release()
