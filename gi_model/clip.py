"""`Clip`: a stretch of play: frames, what the player held at each, and where it comes from.

Frame t pairs with the input state that the player held after seeing it, until frame t + 1. numpy only.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import Bindings, InputState
from gi_model.errors import ClipError


@dataclass(frozen=True)
class Clip:
    """frames uint8 (T, H, W, 3) RGB; inputs T states; t_ns int64 (T,) rising; known bool (T,): the player's."""

    key: str
    frames: NDArray[np.uint8]
    inputs: tuple[InputState, ...]
    t_ns: NDArray[np.int64]
    known: NDArray[np.bool_]
    game: str
    source: str = ""
    license: str = ""
    bindings: Bindings = field(default_factory=Bindings)

    def __post_init__(self) -> None:
        counts = {
            "frames": len(self.frames),
            "inputs": len(self.inputs),
            "t_ns": len(self.t_ns),
            "known": len(self.known),
        }
        if len(set(counts.values())) > 1:
            do = "Record or shard it again; every frame needs one input state."
            raise ClipError(f"clip {self.key} has parts of different lengths", got=counts, expected="one length", do=do)
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[-1] != 3:
            got = f"{self.frames.dtype} {self.frames.shape}"
            raise ClipError(f"clip {self.key} has no RGB frames", got=got, expected="uint8 (T, H, W, 3)")
        if not (np.diff(self.t_ns) > 0).all():
            raise ClipError(f"clip {self.key} has timestamps that do not rise", do="Check the recorder's clock.")

    @property
    def num_ticks(self) -> int:
        """T."""
        return len(self.inputs)
