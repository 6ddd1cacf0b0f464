"""CS:GO's action vector of 51 numbers -> input states: 11 keys, 2 mouse buttons, one of 23 turns, one of 15 looks.

Turns and looks are kept as the counts that their bins stand for, all of them: the published training code merges the
two outermost bins on each side into the next ones, which is a choice of a model, not of the data. As there, gaps of one
or two ticks in the left mouse button are filled: it was inferred from ammunition, and guns fire slower than 16 Hz.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import NEUTRAL, InputState

KEYS: Final = (
    *("KeyW", "KeyA", "KeyS", "KeyD", "Space", "ControlLeft", "ShiftLeft"),
    *("Digit1", "Digit2", "Digit3", "KeyR"),
)
BUTTONS: Final = ("MouseLeft", "MouseRight")
_RIGHT: Final = (2, 4, 10, 20, 30, 60, 100, 200, 300, 500, 1000)
_DOWN: Final = (2, 4, 10, 20, 50, 100, 200)
TURNS: Final = (*(-x for x in reversed(_RIGHT)), 0, *_RIGHT)  # counts to the right
LOOKS: Final = (*(-y for y in reversed(_DOWN)), 0, *_DOWN)  # counts down
_STARTS: Final = np.cumsum([0, len(KEYS), len(BUTTONS), len(TURNS), len(LOOKS)]).tolist()
SIZE: Final = _STARTS[-1]  # 51
_LONGEST_GAP: Final = 2


def decode(vectors: NDArray[np.float64]) -> list[tuple[InputState, bool]]:
    """States of vectors (T, 51), and whether each is known: one that is no 0s and 1s, or two turns at once, is not."""
    hot = vectors == 1
    known = (hot | (vectors == 0)).all(axis=1)
    keys, buttons, turns, looks = (hot[:, a:b] for a, b in pairwise(_STARTS))
    known &= (turns.sum(axis=1) == 1) & (looks.sum(axis=1) == 1)
    buttons = buttons.copy()
    buttons[:, 0] = fill_gaps(buttons[:, 0])
    return [
        (_state(*row), True) if is_known else (NEUTRAL, False)
        for *row, is_known in zip(keys, buttons, turns.argmax(axis=1), looks.argmax(axis=1), known, strict=True)
    ]


def encode(state: InputState) -> NDArray[np.float64]:
    """The vector (51,) of a state: motion becomes that of the nearest bin, what has no place is left out."""
    vector = np.zeros(SIZE)
    for start, names, held in ((0, KEYS, state.keys), (_STARTS[1], BUTTONS, state.buttons)):
        vector[start : start + len(names)] = [name in held for name in names]
    for start, bins, counts in ((_STARTS[2], TURNS, state.motion[0]), (_STARTS[3], LOOKS, state.motion[1])):
        vector[start + int(np.abs(np.array(bins) - counts).argmin())] = 1
    return vector


def fill_gaps(down: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Held (T,) without releases of up to two ticks between two presses."""
    filled = down.copy()
    (pressed,) = np.nonzero(down)
    for before, after in zip(pressed[:-1].tolist(), pressed[1:].tolist(), strict=True):
        if after - before <= _LONGEST_GAP + 1:
            filled[before:after] = True
    return filled


def _state(keys: NDArray[np.bool_], buttons: NDArray[np.bool_], turn: np.int64, look: np.int64) -> InputState:
    return InputState(_held(KEYS, keys), _held(BUTTONS, buttons), (TURNS[int(turn)], LOOKS[int(look)]))


def _held(names: Sequence[str], down: NDArray[np.bool_]) -> frozenset[str]:
    return frozenset(name for name, is_down in zip(names, down, strict=True) if is_down)
