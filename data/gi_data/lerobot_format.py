"""The names of LeRobot's dataset format, version 3.0, as our export writes them and our importer finds them again.

A dataset has one vector of actions for all its games: an entry for each control that any of them binds, by the names of
`gi_model.actions`, so that the file explains itself. float32 cannot hold everything that an input state holds, so the
state itself travels along as JSON (`gi.input`), with whether it is known and when it was.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, Bindings, Gamepad, InputState
from gi_model.actions.bindings import MOUSE_AXES, PAD_AXES

VERSION: Final = "v3.0"
SCREEN: Final = "observation.images.screen"
ACTION: Final = "action"
KNOWN: Final = "gi.known"
T_NS: Final = "gi.t_ns"
INPUT: Final = "gi.input"
FACTS: Final = "gi/"  # of the columns of an episode that are ours

INFO_PATH: Final = "meta/info.json"
STATS_PATH: Final = "meta/stats.json"
TASKS_PATH: Final = "meta/tasks.parquet"
EPISODES_PATH: Final = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH: Final = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH: Final = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
CHUNK_FILES: Final = 1000  # files in a chunk's folder
DATA_MB, VIDEO_MB = 100, 200  # of a file, at most

BUTTONS: Final = (*KEYS, *MOUSE_BUTTONS, *GAMEPAD_BUTTONS)
CURSOR: Final = ("cursor.x", "cursor.y", "cursor.visible")
AXES: Final = (*MOUSE_AXES, *PAD_AXES)


def action_names(bindings: Iterable[Bindings], held: Iterable[str]) -> list[str]:
    """Entries of the vector for these bindings, and for controls held without being bound."""
    all_bindings = list(bindings)
    used = {control for each in all_bindings for control in each.digital.values()} | set(held)
    used |= {binding.axis for each in all_bindings for binding in each.analogue.values()}
    cursor = CURSOR if any(each.cursor for each in all_bindings) else ()
    return [name for name in (*BUTTONS, *AXES) if name in used] + list(cursor)


def action_vectors(states: Sequence[InputState], names: Sequence[str]) -> NDArray[np.float32]:
    """float32 (T, len(names)): 1 where a control is held, counts of the mouse, positions of sticks and cursor."""
    rows = [[_value(state, name) for name in names] for state in states]
    return np.array(rows, dtype=np.float32).reshape(len(rows), len(names))


def _value(state: InputState, name: str) -> float:
    if "." not in name:
        return float(name in state.held)
    device, _, direction = name.partition(".")
    if device == "cursor":
        x, y = state.cursor or (0.0, 0.0)
        return {"x": x, "y": y, "visible": float(state.cursor is not None)}[direction]
    owner = state.gamepad or Gamepad() if name in PAD_AXES else state
    pair: tuple[float, float] = getattr(owner, device)
    return pair["xy".index(direction)]
