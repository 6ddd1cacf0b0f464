"""`Calibration`: decisions sharper than a sample's, as often "held" as players' were.

A key that players hold for a fifth of the time, at moments a model cannot tell, has a probability of about a fifth in
every tick: its likeliest state is "up", always, and a policy that takes the likeliest of everything stands still. A
sample holds it often enough, but also lets go, once in a while, of a key that is 98 % sure. In between: what is held in
a tick is a chain of yes/no decisions, each control in the order of the vocabulary given those before it (the decoder's
sorted list is nothing else: `gi_model.sampling.list_hazards`). Each decision's log-odds are multiplied by `SHARPNESS`
around a point of the control's own, which is set so that on recordings it is held exactly as often as it was. What can
be told becomes certain; what cannot keeps its rate.

Points are pairs, for a control that was up and one that was down in the tick before: with one for both, a policy that
sees its own last action copies "up" for ever, since "up after up" is the likeliest of all. So presses and releases come
as often as players make them. Rejected: subtracting the log of the base rate from the logits, which holds whatever is
likelier than usual, half the time or so; infinite sharpness, a threshold, which needs no dice, but of a key that cannot
be told makes noise, and its rate follows the smallest drift of its probability (measured: 6 % for 20 %).

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

SHARPNESS: Final = 4.0
NEVER: Final = 1e4  # log-odds that nothing reaches
MAX_POINT: Final = 5.0  # a probability of 99.3 %
CALIBRATION: Final = "calibration.json"  # in a checkpoint's folder, where there is one


@dataclass(frozen=True)
class Calibration:
    """Log-odds at which a control is held half of the time: (up in the tick before, down). Others are never held."""

    points: Mapping[str, tuple[float, float]]

    def table(self, space: ActionSpace) -> NDArray[np.float32]:
        """float32 (2, A), a point a token id: [0] for what was up, [1] for what was down. See `control_ids`."""
        table = np.full((2, space.vocabulary_size), NEVER, dtype=np.float32)
        ids = control_ids(space)
        for name, pair in self.points.items():
            table[:, ids[name]] = pair
        return table

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {name: list(pair) for name, pair in self.points.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], space: ActionSpace) -> Self:
        """Inverse of `to_dict`. Raises CheckpointError on unknown controls and on what is not a pair of log-odds."""
        ids = control_ids(space)
        for name, pair in data.items():
            is_pair = isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, float) for each in pair)
            if name not in ids or not is_pair or not all(abs(each) <= MAX_POINT for each in pair):
                expected = f"a control and two numbers within {MAX_POINT:g} of 0"
                raise CheckpointError("not the calibration of a control", got=f"{name}: {pair}", expected=expected)
        return cls({name: (pair[0], pair[1]) for name, pair in data.items()})


def control_ids(space: ActionSpace) -> dict[str, int]:
    """Token id of every control that can be held; of a mouse button, that of the mask with nothing else held."""
    kinds = ("none", "gamepad", "buttons:", "wheel:", "motion:", "axis:")
    lists = {name: index for name, index in space.ids.items() if not name.startswith(kinds)}
    return lists | {name: space.ids[f"buttons:{1 << bit}"] for bit, name in enumerate(MOUSE_BUTTONS)}


def matching_point(hazards: NDArray[np.float32], num_held: int) -> float:
    """The point at which sharpened hazards, float32 (n,), sum to `num_held`.

    Where several do, to a quarter of a tick, the nearest to 0: a gap between sure noes and sure yeses is wide. Within
    `MAX_POINT` of 0, so that no control is stuck, or barred, because recordings are short.
    """
    with np.errstate(divide="ignore"):
        odds = np.log(hazards.astype(np.float64)) - np.log1p(-hazards.astype(np.float64))

    def reach(wanted: float) -> float:
        """By bisection: the higher the point, the less is held."""
        low, high = -MAX_POINT, MAX_POINT
        for _ in range(40):
            point = (low + high) / 2
            held = float((0.5 + 0.5 * np.tanh(0.5 * SHARPNESS * (odds - point))).sum())
            low, high = (point, high) if held > wanted else (low, point)
        return (low + high) / 2

    return min(max(0.0, reach(num_held + 0.25)), reach(num_held - 0.25))


def save_calibration(calibration: Calibration, checkpoint: Path) -> None:
    """Write it into the folder of a checkpoint. Raises CheckpointError."""
    try:
        (checkpoint / CALIBRATION).write_text(json.dumps(calibration.to_dict(), indent=2) + "\n")
    except OSError as error:
        do = "Free disk space; the checkpoint itself is whole."
        raise CheckpointError(f"cannot save the calibration to {checkpoint}", got=error.strerror, do=do) from error


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
