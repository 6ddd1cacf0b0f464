"""`Calibration`: how likely a control must be to be held, so that play without dice holds what players held.

A key that players hold for a fifth of the time, at moments a model cannot tell, has a probability of about a fifth in
every tick: its likeliest state is "up", always, and a policy that takes the likeliest of everything stands still. Yet
what is held in a tick is a chain of yes/no decisions, each control in the order of the vocabulary given those before
it: the decoder's sorted list is nothing else (`gi_model.sampling.list_hazards`). The likeliest play compares each such
hazard with 1/2; calibrated play compares it with a threshold of the control's own, which on recordings is crossed
exactly as often as the control was held. What is predictable stays right: its hazards lie near 0 and 1, and so does the
gap that its threshold falls into.

Thresholds are pairs, for a control that was up and one that was down in the tick before: with one for both, a policy
that sees its own last action copies "up" for ever, since "up after up" is the likeliest of all. So presses and releases
come as often as players make them. Rejected: subtracting the log of the base rate from the logits, which holds whatever
is likelier than usual, half the time or so; one threshold for `none`, which trades rare keys for common ones.

n observations, A vocabulary.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import MOUSE_BUTTONS, ActionSpace
from gi_model.errors import CheckpointError

NEVER: Final = 2.0  # above every probability
CALIBRATION: Final = "calibration.json"  # in a checkpoint's folder, where there is one


@dataclass(frozen=True)
class Calibration:
    """Thresholds by control, in [0, 1]: (up in the tick before, down in it). Controls left out are never held."""

    thresholds: Mapping[str, tuple[float, float]]

    def table(self, space: ActionSpace) -> NDArray[np.float32]:
        """float32 (2, A), a threshold a token id: [0] for what was up, [1] for what was down. See `control_ids`."""
        table = np.full((2, space.vocabulary_size), NEVER, dtype=np.float32)
        ids = control_ids(space)
        for name, pair in self.thresholds.items():
            table[:, ids[name]] = pair
        return table

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {name: list(pair) for name, pair in self.thresholds.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], space: ActionSpace) -> Self:
        """Inverse of `to_dict`. Raises CheckpointError on unknown controls and impossible thresholds."""
        ids = control_ids(space)
        for name, pair in data.items():
            is_pair = isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, float) for each in pair)
            if name not in ids or not is_pair or not all(0 < each <= 1 for each in pair):
                expected = "a control and two numbers above 0, at most 1"
                raise CheckpointError("not the thresholds of a control", got=f"{name}: {pair}", expected=expected)
        return cls({name: (pair[0], pair[1]) for name, pair in data.items()})


def control_ids(space: ActionSpace) -> dict[str, int]:
    """Token id of every control that can be held; of a mouse button, that of the mask with nothing else held."""
    kinds = ("none", "gamepad", "buttons:", "wheel:", "motion:", "axis:")
    lists = {name: index for name, index in space.ids.items() if not name.startswith(kinds)}
    return lists | {name: space.ids[f"buttons:{1 << bit}"] for bit, name in enumerate(MOUSE_BUTTONS)}


def rate_threshold(hazards: NDArray[np.float32], num_held: int) -> float:
    """The threshold that `num_held` of `hazards`, float32 (n,), reach: midway between two of them, or to 0 or 1."""
    ordered = np.concatenate([[1.0], np.sort(hazards)[::-1], [0.0]])
    return max(1e-6, float(ordered[num_held : num_held + 2].mean()))


def save_calibration(calibration: Calibration, checkpoint: Path) -> None:
    """Write it into the folder of a checkpoint. Raises CheckpointError."""
    try:
        (checkpoint / CALIBRATION).write_text(json.dumps(calibration.to_dict(), indent=2) + "\n")
    except OSError as error:
        do = "Free disk space; the checkpoint itself is whole."
        raise CheckpointError(f"cannot save thresholds to {checkpoint}", got=error.strerror, do=do) from error


def load_calibration(checkpoint: Path, space: ActionSpace) -> Calibration | None:
    """What `save_calibration` wrote; None if the checkpoint has none. Raises CheckpointError."""
    path = checkpoint / CALIBRATION
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}", got=error, expected="JSON", do=f"Delete {path}.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"cannot read {path}", got=type(data).__name__, expected="a JSON object")
    return Calibration.from_dict(data, space)
