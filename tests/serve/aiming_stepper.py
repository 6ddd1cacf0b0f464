"""A player of Drone Arena that sees nothing but pixels: it turns to what is orange, and fires when that is ahead."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import InputState
from gi_model.frames import Frame
from gi_model.stepper import Steps
from tests.serve.fake_steppers import FACTORS, EchoStepper

HALF_VIEW_DEG, DEGREES_A_COUNT = 35.8, 0.2


class AimingStepper(EchoStepper):
    """Looks at 80x60 pixels; keeps no memory."""

    name, height, width = "aiming", 60, 80

    def step(self, frames: NDArray[np.uint8], slots: Sequence[int]) -> Steps:
        """Aim, each on its own."""
        tokens = np.stack([self.action_space.encode(aim(frame)) for frame in frames])
        return Steps(tokens, np.full((len(slots), len(FACTORS)), 0.9, np.float32))


def aim(frame: Frame) -> InputState:
    """Towards the orange that is nearest to the crosshair, else around."""
    red, green, blue = (frame[20:42, :, channel].astype(int) for channel in range(3))
    columns = np.flatnonzero(((red > 120) & (red > 1.35 * green) & (red > 1.6 * blue)).any(axis=0))
    if not len(columns):
        return InputState(keys=frozenset({"KeyW"}), motion=(35, 0))
    off = columns[np.abs(columns - 39.5).argmin()] - 39.5
    counts = round(float(off) / 40 * HALF_VIEW_DEG * 0.5 / DEGREES_A_COUNT)
    return InputState(buttons=frozenset({"MouseLeft"}) if abs(off) < 4 else frozenset(), motion=(counts, 0))
