"""Steppers without a model: one that answers who it sees, one that is slow, one that fails."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import ActionSpace, InputState
from gi_model.frames import Frame
from gi_model.stepper import Sampling, Steps

HEIGHT, WIDTH = 16, 24
FACTORS = ("buttons", "motion", "wheel", "keys")


def paint(identity: int, tick: int = 0) -> Frame:
    """A frame that carries `identity` (0 to 1999) and `tick` (0 to 255)."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[..., 0], frame[..., 1], frame[..., 2] = identity // 256, identity % 256, tick
    return frame


def read_identity(state: InputState) -> int:
    """The identity that `EchoStepper` saw; motion is exact in steps of sixteen counts."""
    return (state.motion[0] + 16) + 33 * (state.motion[1] + 16)


def read_age(state: InputState) -> int:
    """How many frames the answering stream had seen before, up to 9."""
    return state.wheel[0]


class EchoStepper:
    """Answers with the identity painted in the frame and with how many frames its slot saw since it was opened."""

    name, fingerprint, fps, factors = "echo", "f" * 64, 20.0, FACTORS
    height, width = HEIGHT, WIDTH

    def __init__(self, num_slots: int = 8, seconds: float = 0.0) -> None:
        self.num_slots, self.seconds = num_slots, seconds
        self.action_space = ActionSpace()
        self.opened: dict[int, Sampling] = {}
        self.batches: list[int] = []
        self._seen = dict.fromkeys(range(num_slots), 0)

    def open(self, slot: int, sampling: Sampling) -> None:
        """Forget the slot's frames."""
        self.opened[slot], self._seen[slot] = sampling, 0

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        """Read each frame's identity; refuse a batch that no model could take."""
        assert frames.shape == (len(slots), HEIGHT, WIDTH, 3)
        assert len(set(slots)) == len(slots)
        assert set(slots) <= set(self.opened)
        time.sleep(self.seconds)
        self.batches.append(len(slots))
        tokens = np.stack([self._answer(frame, slot) for frame, slot in zip(frames, slots, strict=True)])
        return Steps(tokens, np.full((len(slots), len(FACTORS)), 0.5, np.float32))

    def _answer(self, frame: Frame, slot: int) -> NDArray[np.int64]:
        identity = int(frame[0, 0, 0]) * 256 + int(frame[0, 0, 1])
        age = min(self._seen[slot], 9)
        self._seen[slot] += 1
        motion = (identity % 33 - 16, identity // 33 - 16)
        return self.action_space.encode(InputState(keys=frozenset({"KeyW"}), motion=motion, wheel=(age, 0)))


class FailingStepper(EchoStepper):
    """Fails on frames whose identity is 13."""

    name = "failing"

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        """Fail, or echo."""
        if (frames[:, 0, 0, 1] == 13).any():
            raise RuntimeError("secret detail of the model")
        return super().step(frames, slots)
