"""`CommandPlan`: what a robot's actuators are to do in the coming tick, inside its envelope, and its two wire forms.

It rides on an action, or alone in the event `robot.plan` when no action is to come: after a stop, or in silence. In
binary it is a section at the action's end (docs/protocol.md), so all that older clients know stays where it was:

    steps u16 · actuators u8 · cause u8 · command_hz f32 · commands f32 (steps, actuators) · clamps u8 (actuators,)
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gi_model.envelope import KINDS
from gi_model.errors import ServeError

Cause = Literal["policy", "shield", "watchdog", "stop"]
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)
_HEAD: Final = struct.Struct("<HBBf")
_BITS: Final = 1 << np.arange(len(KINDS))


@dataclass(frozen=True, slots=True, eq=False)
class CommandPlan:
    """Commands, one every 1 / command_hz s, the first now; the last holds until the next plan, or the watchdog.

    cause: whose they are; "stop": all lead to neutral until the stop is released. clamps: bool (A, 4), which kinds of
    limit (`gi_model.envelope.KINDS`) changed what was asked of each actuator.
    """

    commands: NDArray[np.float32]  # (N, A)
    command_hz: float
    clamps: NDArray[np.bool_]
    cause: Cause = "policy"

    @property
    def is_stopped(self) -> bool:
        """Whether the robot was stopped, and is not released yet."""
        return self.cause == "stop"


def pack_plan(plan: CommandPlan) -> bytes:
    """The section of a binary action."""
    head = _HEAD.pack(*plan.commands.shape, CAUSES.index(plan.cause), plan.command_hz)
    return head + plan.commands.astype("<f4").tobytes() + (plan.clamps @ _BITS).astype(np.uint8).tobytes()


def unpack_plan(data: bytes) -> CommandPlan:
    """Inverse of `pack_plan`. Raises ServeError on anything else."""
    if len(data) < _HEAD.size:
        raise ServeError("plan is cut short", got=f"{len(data)} bytes", expected=f"at least {_HEAD.size}")
    num_steps, num_actuators, cause, command_hz = _HEAD.unpack_from(data)
    size = num_steps * num_actuators
    if not size or len(data) != _HEAD.size + 4 * size + num_actuators or cause >= len(CAUSES):
        expected = f"{num_steps} commands of {num_actuators} actuators, cause below {len(CAUSES)}"
        raise ServeError("plan of the wrong size or cause", got=f"{len(data)} bytes, {cause}", expected=expected)
    commands = np.frombuffer(data, "<f4", size, _HEAD.size).reshape(num_steps, num_actuators)
    masks = np.frombuffer(data, np.uint8, num_actuators, _HEAD.size + 4 * size)
    return _checked(commands, command_hz, (masks[:, None] & _BITS).astype(bool), CAUSES[cause])


def plan_to_dict(plan: CommandPlan) -> dict[str, Any]:
    """JSON form: of clamps, the names of the kinds, an actuator a list."""
    clamps = [[kind for kind, is_clamped in zip(KINDS, row, strict=True) if is_clamped] for row in plan.clamps.tolist()]
    commands = [[float(str(value)) for value in row] for row in plan.commands]  # the fewest digits that read back alike
    return {"cause": plan.cause, "command_hz": plan.command_hz, "commands": commands, "clamps": clamps}


def plan_from_dict(data: Mapping[str, Any]) -> CommandPlan:
    """Inverse of `plan_to_dict`. Raises ServeError on anything else."""
    try:
        commands = np.array(data["commands"], np.float32)
        clamps = np.array([[kind in row for kind in KINDS] for row in data["clamps"]], bool)
        cause, command_hz = data["cause"], float(data["command_hz"])
        if commands.ndim != 2 or not commands.size or clamps.shape != (commands.shape[1], len(KINDS)):
            raise ValueError(f"{commands.shape} commands, {clamps.shape} clamps")
        if cause not in CAUSES:
            raise ValueError(f"cause {cause!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise ServeError("not a plan", got=repr(data)[:200], do=str(error)) from error
    return _checked(commands, command_hz, clamps, cause)


def _checked(commands: NDArray[np.float32], command_hz: float, clamps: NDArray[np.bool_], cause: Cause) -> CommandPlan:
    """Refuse what no actuator could take."""
    if not np.isfinite(commands).all() or not 0.0 < command_hz < float("inf"):
        raise ServeError("plan with a command that is no number", got=(command_hz, commands.tolist()))
    return CommandPlan(commands.astype(np.float32), command_hz, clamps, cause)
