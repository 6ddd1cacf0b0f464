"""`DoomPerson`: a person plays a Doom scenario in its window, and we read what was pressed.

ViZDoom's spectator mode, stepped by us at 35 tics a second: each tic the engine takes the window's keys and mouse and
tells us, button by button, what it executed. So a label is what moved the game, bound controls are all there is to
read, and text typed elsewhere cannot enter. Rejected: a keyboard hook (sees passwords, and is not what the game
executed).
"""

import time
from typing import Final

from gi_data.envs import gather_maps
from gi_data.envs.doom import TICS_PER_SECOND, TICS_PER_TICK
from gi_data.envs.doom_engine import HEIGHT, WIDTH, DoomEngine
from gi_data.envs.doom_scenarios import ANALOGUE, DIGITAL, find_scenario
from gi_model.actions import Bindings, InputState, merge
from gi_model.frames import Frame, resize

_COMMANDS: Final = {
    "MOVE_FORWARD": "+forward",
    "MOVE_BACKWARD": "+back",
    "MOVE_LEFT": "+moveleft",
    "MOVE_RIGHT": "+moveright",
    "ATTACK": "+attack",
    "USE": "+use",
    "JUMP": "+jump",
    "CROUCH": "+crouch",
    "SPEED": "+speed",
    "SELECT_NEXT_WEAPON": "weapnext",
    "SELECT_PREV_WEAPON": "weapprev",
    **{f"SELECT_WEAPON{slot}": f"slot {slot}" for slot in range(1, 8)},
}
_KEYS: Final = {"MouseLeft": "mouse1", "Space": "space", "ControlLeft": "ctrl", "ShiftLeft": "shift"}


class DoomPerson:
    """One game in a window. `begin`, then `play` a tick at a time until `is_over`."""

    def __init__(self, name: str, *, seed: int) -> None:
        self._scenario = find_scenario(name)
        block_id, self._level = gather_maps.locate(seed) if self._scenario.is_generated else (0, "")
        wad = gather_maps.write_block(block_id) if self._scenario.is_generated else b""
        self._engine = DoomEngine(self._scenario, wad=wad, window=True)
        self._seed, self._due = seed, 0.0
        self._rest: dict[str, float] = {}  # of each axis: movement too small for a whole count yet

    @property
    def bindings(self) -> Bindings:
        """What the controls do."""
        return self._scenario.bindings

    @property
    def is_over(self) -> bool:
        """Whether the episode ended."""
        return self._engine.is_finished

    @property
    def score(self) -> float:
        """The game's score so far."""
        return self._engine.score(self._scenario.score)

    def begin(self) -> None:
        """Start the episode, with only the bound controls bound."""
        self._engine.begin(seed=self._seed, level=self._level)
        self._engine.command("unbindall")
        for button in self._scenario.buttons:
            if button in _COMMANDS:
                control = DIGITAL[button][1]
                key = _KEYS.get(control, control.removeprefix("Key").removeprefix("Digit").lower())
                self._engine.command(f"bind {key} {_COMMANDS[button]}")
        self._due = time.monotonic()

    def look(self) -> Frame | None:
        """The frame on the screen, uint8 (120, 160, 3); None after the end."""
        frame = self._engine.frame()
        return None if frame is None else resize(frame, HEIGHT, WIDTH)

    def play(self) -> InputState:
        """Let one tick pass at the game's speed; returns what the person held and moved in it."""
        tics = []
        for _ in range(TICS_PER_TICK):
            if not self.is_over:
                self._due = max(self._due + 1 / TICS_PER_SECOND, time.monotonic() - 1 / TICS_PER_SECOND)
                time.sleep(max(0.0, self._due - time.monotonic()))
                self._engine.advance_person()
                tics.append(self._read())
        return merge(tics)

    def close(self) -> None:
        """Close the window. Idempotent."""
        self._engine.close()

    def _read(self) -> InputState:
        """The input state of the last tic."""
        executed = dict(zip(self._scenario.buttons, self._engine.last_action(), strict=True))
        held = frozenset(DIGITAL[button][0] for button, value in executed.items() if button in DIGITAL and value)
        moved = {ANALOGUE[button][0]: value for button, value in executed.items() if button in ANALOGUE}
        amounts = {action: value + self._rest.get(action, 0.0) for action, value in moved.items()}
        state = self.bindings.press(held, amounts)
        self._rest = {action: amount - self.bindings.amount(state, action) for action, amount in amounts.items()}
        return state
