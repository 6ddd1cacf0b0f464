"""Bodies for tests, and an observer that holds what comes out of an envelope against every limit."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gi_model.embodiment import Actuator, Camera, Embodiment, Source

EPS = float(np.finfo(np.float32).eps)
FPS, HZ = 20.0, 200.0
STICKS = ("left_stick.y", "right_stick.x", "triggers.y")


def actuator(name: str, stick: str, **changes: Any) -> Actuator:
    facts: dict[str, Any] = {
        "unit": "m/s",
        "neutral": 0.0,
        "minimum": -1.0,
        "maximum": 1.0,
        "max_rate": 2.0,
        "max_jerk": 20.0,
    }
    return Actuator(name=name, **(facts | changes), sources=(Source(stick, 1.0),))


def direct(name: str, levels: int, **changes: Any) -> Actuator:
    """An actuator that no control drives."""
    return replace(actuator(name, STICKS[0], **changes), sources=(), levels=levels)


def body(*actuators: Actuator) -> Embodiment:
    return Embodiment("body", FPS, HZ, 200.0, Camera(64, 48, FPS, 0.0), actuators)


class Observer:
    """Watches what comes out of an envelope as an actuator would, in float32, and checks every limit."""

    def __init__(self, limits: Embodiment) -> None:
        self.limits = limits
        self.command = limits.neutral.astype(np.float64)
        self.rate = np.zeros(limits.num_actuators)
        self.slack = np.zeros(limits.num_actuators)  # of the rate before: what rounding may have added

    def see(self, command: NDArray[np.float32], dt_s: float) -> None:
        dt_s = min(dt_s, 1 / FPS)  # in a stall time stands still
        assert command.dtype == np.float32
        assert np.all((command >= self.limits.minimum) & (command <= self.limits.maximum))
        if not dt_s > 0:
            assert np.all(command == self.command.astype(np.float32))
            return
        size = np.maximum(np.abs(self.limits.minimum), np.abs(self.limits.maximum)).astype(np.float64)
        rate, slack = (command - self.command) / dt_s, 2 * EPS * size / dt_s
        most = np.array([each.max_rate for each in self.limits.actuators])
        jerk = np.array([np.inf if each.max_jerk is None else each.max_jerk for each in self.limits.actuators])
        assert np.all(np.abs(rate) <= most * (1 + 1e-6) + slack)
        with np.errstate(invalid="ignore", over="ignore"):
            assert np.all(np.abs(rate - self.rate) <= jerk * dt_s * (1 + 1e-6) + slack + self.slack)
        self.command, self.rate, self.slack = command.astype(np.float64), rate, slack
