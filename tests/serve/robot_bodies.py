"""A body that echoes can drive, and what watches the commands that come for it."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import InputState
from gi_model.embodiment import Actuator, Camera, Embodiment, Source
from gi_serve.command_plan import CommandPlan
from tests.model.limited_body import Observer

TICK = 10  # commands


def rover(**changes: Any) -> Embodiment:
    """Driven by the motion that steppers of tests answer with: up to 16 counts each way, of which 10 are in range."""
    limits: dict[str, Any] = {"neutral": 0.0, "minimum": -1.0, "maximum": 1.0, "max_rate": 20.0, "max_jerk": None}
    actuators = (
        Actuator(name="drive", unit="m/s", **limits, sources=(Source("motion.y", 0.1),)),
        Actuator(name="turn", unit="rad/s", **(limits | {"max_jerk": 2000.0}), sources=(Source("motion.x", 0.1),)),
    )
    facts: dict[str, Any] = {"fps": 20.0, "command_hz": 200.0, "watchdog_ms": 10_000.0}
    return Embodiment(
        **(facts | {"name": "rover", "camera": Camera(64, 48, 20.0, 0.0), "actuators": actuators} | changes)
    )


def direct_rover(*names: str, **changes: Any) -> Embodiment:
    """The rover, of whose actuators those of `names` are direct, all if none is named."""
    wanted = names or ("drive", "turn")
    actuators = (replace(each, sources=(), levels=65) if each.name in wanted else each for each in rover().actuators)
    return rover(**{"name": "direct", "actuators": tuple(actuators)} | changes)


def motion_of(identity: int) -> tuple[int, int]:
    """What an echo answers to the frame of that identity."""
    return identity % 33 - 16, identity // 33 - 16


def identity_of(x: int, y: int) -> int:
    return x + 16 + 33 * (y + 16)


class PlanObserver(Observer):
    """Watches plans that are played one after the other."""

    def watch(self, plan: CommandPlan | None) -> NDArray[np.float32]:
        assert plan is not None
        assert plan.commands.shape == (TICK, self.limits.num_actuators)
        for command in plan.commands:
            self.see(command, 1 / plan.command_hz)
        last: NDArray[np.float32] = plan.commands[-1]
        return last


def held(x: int, y: int) -> InputState:
    return InputState(motion=(x, y))
