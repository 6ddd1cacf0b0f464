"""`RobotSession`: the body at the end of one session: its envelope, its plans, and what was clamped. No I/O, no clock.

    input state --Embodiment--> target --Envelope--> plan of the coming tick, and what counts as executed

What is executed enters the policy's history, so it must be what a demonstrator's history would hold: the input that
leads where the envelope goes. A policy that asks for full speed gets there over several ticks; it executed full speed,
as a person's held stick did. What is overruled is what changes where the command leads: the range, a shield, a stop.
"""

from collections import Counter
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import InputState
from gi_model.embodiment import Embodiment
from gi_model.envelope import KINDS, Envelope
from gi_model.shield import Outcome
from gi_serve.command_plan import Cause, CommandPlan
from gi_serve.problems import REQUEST_INVALID, Problem

MAX_NUMBERS: Final = 4096  # of one plan: it is made on the event loop
RATE_TOLERANCE: Final = 0.5  # ticks a second


class RobotSession:
    """Plans one body's commands, tick after tick. It begins at neutral and at rest."""

    def __init__(self, embodiment: Embodiment) -> None:
        self.embodiment, self.envelope = embodiment, Envelope(embodiment)
        self.neutral = embodiment.inputs(embodiment.neutral)
        self.num_commands = len(embodiment.command_space)  # of direct actuators
        self.num_steps = max(1, int(embodiment.command_hz / embodiment.fps + 1e-6))
        self.clamps = np.zeros((embodiment.num_actuators, len(KINDS)), np.int64)
        self.shielded: Counter[Outcome] = Counter()
        self.num_watchdogs = self.num_stops = 0
        self.planned_ns = 0  # when the newest plan was made
        self.followed_ns = 0  # when an action was planned last, not the way to neutral; 0: never
        self.silent_since_ns = 0  # the silence for which the watchdog bit last
        self._before = self.envelope

    def follow(self, state: InputState, cause: Cause = "policy") -> tuple[InputState, CommandPlan]:
        """What is executed when `state` is asked for, and the plan. It is `state` unless that is overruled."""
        wanted = self.embodiment.command(state)
        self._before = self.envelope.copy()
        limited = self.envelope.plan(wanted, self.num_steps, 1.0 / self.embodiment.command_hz)
        self.clamps += limited.clamps
        plan = CommandPlan(
            limited.commands,
            self.embodiment.command_hz,
            limited.clamps.astype(bool),
            "stop" if limited.is_stopped else cause,
        )
        if limited.is_stopped:
            return self.neutral, plan
        return self._executed(state, wanted, limited.target), plan

    def _executed(self, state: InputState, wanted: NDArray[np.float32], target: NDArray[np.float32]) -> InputState:
        """`state`, unless its controls lead elsewhere than `target`; its commands are exactly the target's."""
        body = self.embodiment
        is_overruled = (np.abs(target - wanted) > body.resolution) & ~body.direct
        if is_overruled.any():
            return body.inputs(target)
        commands = tuple(target[body.direct].tolist()) if self.num_commands else ()
        return state if commands == state.commands else replace(state, commands=commands)

    def go_neutral(self, cause: Cause) -> CommandPlan:
        """The plan of a tick toward neutral, as fast as the limits let it."""
        was_stopped, self.envelope.is_stopped = self.envelope.is_stopped, True
        _, plan = self.follow(self.neutral)
        self.envelope.is_stopped = was_stopped
        return CommandPlan(plan.commands, plan.command_hz, plan.clamps, "stop" if was_stopped else cause)

    def rewind(self) -> None:
        """Take the newest plan back, which nobody has seen; a stop stays."""
        is_stopped, self.envelope = self.envelope.is_stopped, self._before.copy()
        self.envelope.is_stopped = is_stopped

    def copy(self) -> "RobotSession":
        """One in the same state, stopped if this is, that counts anew."""
        twin = RobotSession(self.embodiment)
        twin.envelope = twin._before = self.envelope.copy()
        return twin

    def clamps_by_name(self) -> dict[str, dict[str, int]]:
        """How often each kind of limit changed what was asked of each actuator; what never did is left out."""
        rows = zip(self.embodiment.actuators, self.clamps.tolist(), strict=True)
        named = {each.name: {kind: n for kind, n in zip(KINDS, row, strict=True) if n} for each, row in rows}
        return {name: counts for name, counts in named.items() if counts}


def check_direct(embodiment: Embodiment) -> None:
    """Raise Problem if `embodiment` has direct actuators: only an adapter that was made for it commands them."""
    names = [actuator.name for actuator in embodiment.actuators if actuator.is_direct]
    if names:
        detail = (
            f"No control drives {', '.join(names)} of {embodiment.name}: name an adapter that was made for this body "
            "(gi posttrain makes one), or give these actuators sources."
        )
        raise Problem(REQUEST_INVALID, detail)


def check_body(embodiment: Embodiment, fps: float) -> Embodiment:
    """`embodiment`, if a model of `fps` ticks a second can drive it through this server. Raises Problem."""
    if abs(embodiment.fps - fps) > RATE_TOLERANCE:
        detail = f"{embodiment.name} ticks {embodiment.fps:g} times a second, the model {fps:g}: they must agree."
        raise Problem(REQUEST_INVALID, detail)
    if (numbers := int(embodiment.command_hz / embodiment.fps) * embodiment.num_actuators) > MAX_NUMBERS:
        raise Problem(REQUEST_INVALID, f"A tick of {embodiment.name} takes {numbers} numbers; at most {MAX_NUMBERS}.")
    return embodiment
