"""`InputColumns`: many input states as arrays, for what handles whole clips at once: no Python object a tick."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from gi_model.actions.controls import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS
from gi_model.actions.inputs import Gamepad, InputState
from gi_model.errors import ActionError

CONTROLS: Final = (*KEYS, *MOUSE_BUTTONS, *GAMEPAD_BUTTONS)
CONTROL_IDS: Final = {name: index for index, name in enumerate(CONTROLS)}
KEY_COLUMNS: Final = slice(0, len(KEYS))
MOUSE_COLUMNS: Final = slice(len(KEYS), len(KEYS) + len(MOUSE_BUTTONS))
PAD_COLUMNS: Final = slice(len(KEYS) + len(MOUSE_BUTTONS), len(CONTROLS))


@dataclass(frozen=True)
class InputColumns:
    """T ticks. What a tick lacks (cursor, gamepad) is zero where its `has_` is False; commands are NaN there."""

    held: NDArray[np.bool_]  # (T, C): column i is CONTROLS[i]
    motion: NDArray[np.int64]  # (T, 2)
    wheel: NDArray[np.int64]  # (T, 2)
    has_cursor: NDArray[np.bool_]  # (T,)
    cursor: NDArray[np.float64]  # (T, 2)
    has_gamepad: NDArray[np.bool_]  # (T,)
    axes: NDArray[np.float64]  # (T, 6): left stick x, y, right stick x, y, left trigger, right trigger
    commands: NDArray[np.float64]  # (T, A): of direct actuators; A is 0 where there are none

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, ticks: slice) -> Self:
        return type(self)(**{name: column[ticks] for name, column in vars(self).items()})

    @property
    def is_null(self) -> NDArray[np.bool_]:
        """bool (T,): nothing held, nothing moved; `InputState.is_null`."""
        parts = (self.held, self.motion, self.wheel, self.axes, np.nan_to_num(self.commands))
        busy = np.concatenate([part != 0 for part in parts], axis=1)
        return np.asarray(~busy.any(axis=1), dtype=np.bool_)

    @classmethod
    def of(cls, states: Sequence[InputState]) -> Self:
        """The columns of some states."""
        num = len(states)
        held = np.zeros((num, len(CONTROLS)), dtype=bool)
        axes = np.zeros((num, 6), dtype=np.float64)
        for row, state in enumerate(states):
            held[row, [CONTROL_IDS[name] for name in state.held]] = True
            if (pad := state.gamepad) is not None:
                axes[row] = (*pad.left_stick, *pad.right_stick, *pad.triggers)
        return cls(
            held=held,
            motion=np.array([state.motion for state in states], dtype=np.int64).reshape(num, 2),
            wheel=np.array([state.wheel for state in states], dtype=np.int64).reshape(num, 2),
            has_cursor=np.array([state.cursor is not None for state in states], dtype=bool),
            cursor=np.array([state.cursor or (0.0, 0.0) for state in states], dtype=np.float64).reshape(num, 2),
            has_gamepad=np.array([state.gamepad is not None for state in states], dtype=bool),
            axes=axes,
            commands=_stack_commands(states),
        )

    def states(self) -> tuple[InputState, ...]:
        """Inverse of `of`."""
        return tuple(self._state(row) for row in range(len(self)))

    def _state(self, row: int) -> InputState:
        names = [CONTROLS[index] for index in np.flatnonzero(self.held[row]).tolist()]
        held = frozenset(names)
        axes = self.axes[row].tolist()
        pad = Gamepad(held & _PAD, (axes[0], axes[1]), (axes[2], axes[3]), (axes[4], axes[5]))
        x, y = self.cursor[row].tolist()
        commands = self.commands[row].tolist()
        return InputState(
            keys=held & _KEYS,
            buttons=held & _MOUSE,
            motion=(int(self.motion[row, 0]), int(self.motion[row, 1])),
            wheel=(int(self.wheel[row, 0]), int(self.wheel[row, 1])),
            cursor=(x, y) if self.has_cursor[row] else None,
            gamepad=pad if self.has_gamepad[row] else None,
            commands=() if any(map(math.isnan, commands)) else tuple(commands),
        )


def _stack_commands(states: Sequence[InputState]) -> NDArray[np.float64]:
    """float (T, A). Raises ActionError where ticks have other numbers of them."""
    if len(counts := {len(state.commands) for state in states} - {0}) > 1:
        raise ActionError("ticks with other numbers of commands", got=sorted(counts), expected="one body's")
    count = counts.pop() if counts else 0
    rows = [state.commands or (math.nan,) * count for state in states]
    return np.array(rows, dtype=np.float64).reshape(len(states), count)


_KEYS, _MOUSE, _PAD = frozenset(KEYS), frozenset(MOUSE_BUTTONS), frozenset(GAMEPAD_BUTTONS)
