"""`BenchStepper`: a model that does nothing but look who it sees, for as long as a model would take.

Every player has a number, painted into its frames as flat blocks that survive JPEG; the answer gives it back as mouse
motion and wheel. So every answer that a benchmark counts is checked to be the right player's. Each slot also remembers
the first player it saw since it was opened: an answer says whether this memory is the player's own (left button), and
whether the frame was the first in it (right button).
"""

import struct
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import ActionSpace, InputState
from gi_model.errors import ConfigError
from gi_model.frames import Frame
from gi_model.stepper import Sampling, Steps

if TYPE_CHECKING:
    from gi_model.adapters import Adapter, AdapterConfig

NUM_PLAYERS: Final = 2**18
_BITS: Final = 18
_BLOCK: Final = 8  # pixels a side: a JPEG block
_WEIGHTS: Final = 1 << np.arange(_BITS)
_SIDE, _NOTCHES = 33, 19  # motion -16..16 and wheel -9..9 go through the action space exactly
_STATE: Final = 36  # offset of the first input state in a binary action
_ANSWER: Final = struct.Struct("<xB10x4h")  # buttons, motion, wheel of an input state


class Answer(NamedTuple):
    """What the model saw. is_own: the slot's memory is this player's; is_first: it was empty."""

    player: int
    is_own: bool
    is_first: bool


def paint(frame: Frame, player: int) -> Frame:
    """Paint the number of `player` into the top rows of `frame`, uint8 (H, W, 3), in place; return it."""
    for bit in range(_BITS):
        row, column = divmod(bit, frame.shape[1] // _BLOCK)
        top, left = row * _BLOCK, column * _BLOCK
        frame[top : top + _BLOCK, left : left + _BLOCK] = 220 if player >> bit & 1 else 30
    return frame


def see(frames: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The numbers painted in frames uint8 (B, H, W, 3): int64 (B,)."""
    columns = frames.shape[2] // _BLOCK
    rows = -(-_BITS // columns)
    middle = _BLOCK // 2
    blocks = frames[:, middle : rows * _BLOCK : _BLOCK, middle : columns * _BLOCK : _BLOCK, 1]
    seen: NDArray[np.int64] = (blocks.reshape(len(frames), -1)[:, :_BITS] > 127) @ _WEIGHTS
    return seen


def to_state(answer: Answer) -> InputState:
    """The input state that says `answer`."""
    rest, dx = divmod(answer.player, _SIDE)
    rest, dy = divmod(rest, _SIDE)
    wheel_y, wheel_x = divmod(rest, _NOTCHES)
    buttons = frozenset(("MouseLeft",) * answer.is_own + ("MouseRight",) * answer.is_first)
    return InputState(
        keys=frozenset({"KeyW"}), buttons=buttons, motion=(dx - 16, dy - 16), wheel=(wheel_x - 9, wheel_y - 9)
    )


def read_answer(message: bytes) -> Answer:
    """Inverse of `to_state`, from a binary action message, without decoding the rest of it."""
    buttons, dx, dy, wheel_x, wheel_y = _ANSWER.unpack_from(message, _STATE)
    player = dx + 16 + _SIDE * (dy + 16 + _SIDE * (wheel_x + 9 + _NOTCHES * (wheel_y + 9)))
    return Answer(player, bool(buttons & 1), bool(buttons & 2))


class BenchStepper:
    """`Stepper` whose step of n players takes base_s + n per_session_s, asleep, as with a model on a GPU."""

    name, fingerprint, fps, action_horizon = "bench", "0" * 64, 30.0, 1
    factors: tuple[str, ...] = ("buttons", "motion", "wheel", "keys")

    def __init__(
        self, height: int, width: int, *, num_slots: int, base_s: float = 0.0, per_session_s: float = 0.0
    ) -> None:
        self.height, self.width, self.num_slots = height, width, num_slots
        self.action_space = ActionSpace()
        self._base_s, self._per_session_s = base_s, per_session_s
        self.adapters: dict[str, AdapterConfig] = {}
        self._owners: list[int | None] = [None] * num_slots
        self._sure = np.ones((num_slots, len(self.factors)), np.float32)

    def add_adapter(self, adapter: "Adapter", name: str | None = None) -> None:  # noqa: ARG002
        """Raise ConfigError: it has no weights to adapt."""
        raise ConfigError("a stepper without weights takes no adapters")

    def remove_adapter(self, name: str) -> None:
        """None was ever added."""

    def check(self, sampling: Sampling, adapter: str | None = None) -> None:
        """It plays as it is told to."""

    def open(self, slot: int, sampling: Sampling, adapter: str | None = None) -> None:  # noqa: ARG002 (draws nothing)
        """Forget whom the slot knew."""
        self._owners[slot] = None

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        """Say whom each frame shows, and whether the slot knew."""
        if self._base_s or self._per_session_s:
            time.sleep(self._base_s + self._per_session_s * len(slots))
        answers = [self._look(player, slot) for player, slot in zip(see(frames).tolist(), slots, strict=True)]
        tokens = np.concatenate([_encode(self.action_space, answer) for answer in answers])
        return Steps(tokens.reshape(len(slots), -1), self._sure[: len(slots)])

    def _look(self, player: int, slot: int) -> Answer:
        owner = self._owners[slot]
        if owner is None:
            self._owners[slot] = player
        return Answer(player, owner in (None, player), owner is None)

    def correct(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """It knows players, not actions."""

    def copy(self, source: int, target: int) -> None:
        """Let `target` know whom `source` knows."""
        self._owners[target] = self._owners[source]


@lru_cache(maxsize=16384)
def _encode(space: ActionSpace, answer: Answer) -> NDArray[np.int64]:
    return space.encode(to_state(answer))
