"""`Shield`: whoever may veto or replace what a policy wants, before the envelope limits it.

    frame, input state, command, clearance -> None: go on | InputState: this instead | "veto": neutral

A shield is any callable of that form: a depth network, a rule of the site, a person's switch. It fails safe: one that
raises, or answers nonsense, has vetoed. `ClearanceShield` is a plain one, for bodies that know how far the nearest
obstacle is, such as those in simulation.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import isnan
from typing import Final, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import InputState
from gi_model.embodiment import Embodiment
from gi_model.errors import ConfigError
from gi_model.frames import Frame

logger = logging.getLogger("gi_model")
Command = NDArray[np.float32]  # (A,)
Verdict = InputState | Literal["veto"] | None
Outcome = Literal["allowed", "replaced", "vetoed", "failed"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("allowed", "replaced", "vetoed", "failed")


class Shield(Protocol):
    """Judges one action. Called once a tick, so it should take far less time than one."""

    def __call__(self, frame: Frame, state: InputState, command: Command, clearance_m: float | None = None) -> Verdict:
        """None to allow; an input state to play in its place; "veto" for neutral.

        frame: uint8 (H, W, 3), what the policy saw. state: what it wants; command: what that asks of the actuators.
        clearance_m: to the nearest obstacle ahead, None where nobody knows.
        """
        ...


def judge(
    shield: Shield, embodiment: Embodiment, frame: Frame, state: InputState, *, clearance_m: float | None = None
) -> tuple[InputState, Outcome]:
    """What `shield` lets through of `state`, and what it did. Never raises: a shield that fails has vetoed."""
    try:
        verdict = shield(frame, state, embodiment.command(state), clearance_m)
        if isinstance(verdict, InputState):
            embodiment.command(verdict)  # raises where its commands are another body's
    except Exception:
        logger.exception("the shield failed; the action is vetoed")
        return embodiment.inputs(embodiment.neutral), "failed"
    if verdict is None:
        return state, "allowed"
    if isinstance(verdict, InputState):
        return verdict, "replaced"
    if isinstance(verdict, str) and verdict == "veto":  # a type first: arrays compare by element
        return embodiment.inputs(embodiment.neutral), "vetoed"
    logger.error("the shield answered %r; the action is vetoed", verdict)
    return embodiment.inputs(embodiment.neutral), "failed"


@dataclass(frozen=True, slots=True)
class ClearanceShield:
    """Slows one actuator down before an obstacle, and stops it at `stop_m`; the others stay free.

    actuator: the name of the one that drives ahead, forward above neutral. From `slow_m` on its command may be the
    whole range, at `stop_m` none of it, linear between. Clearance that is no number is a broken sensor: veto. None is
    no sensor: nothing is known, and all allowed.
    """

    embodiment: Embodiment
    actuator: str
    stop_m: float = 0.5
    slow_m: float = 1.5

    def __post_init__(self) -> None:
        names = [actuator.name for actuator in self.embodiment.actuators]
        if self.actuator not in names:
            raise ConfigError("clearance of an unknown actuator", got=self.actuator, expected=" | ".join(names))
        if not 0.0 <= self.stop_m < self.slow_m:
            got = (self.stop_m, self.slow_m)
            raise ConfigError("clearances in the wrong order", got=got, expected="0 <= stop_m < slow_m")

    def __call__(self, frame: Frame, state: InputState, command: Command, clearance_m: float | None = None) -> Verdict:  # noqa: ARG002
        """None, "veto", or what asks for less."""
        if clearance_m is None:
            return None
        if isnan(clearance_m):
            return "veto"
        index = [actuator.name for actuator in self.embodiment.actuators].index(self.actuator)
        most = self._allowed(index, clearance_m)
        if command[index] <= most:
            return None
        slower = command.copy()
        slower[index] = most
        replaced = self.embodiment.inputs(slower)
        if self.embodiment.command(replaced)[index] > most + 1e-6:  # keys know few speeds: the next one down is neutral
            slower[index] = self.embodiment.neutral[index]
            replaced = self.embodiment.inputs(slower)
        return replaced

    def _allowed(self, index: int, clearance_m: float) -> float:
        """The largest command of the actuator."""
        neutral, most = float(self.embodiment.neutral[index]), float(self.embodiment.maximum[index])
        share = min(1.0, max(0.0, (clearance_m - self.stop_m) / (self.slow_m - self.stop_m)))
        return neutral + share * (most - neutral)


def load_shield(name: str) -> Shield:
    """The shield `MODULE:NAME`: a callable, or a class without arguments. Raises ConfigError."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        do = "Name a callable of an installed module, like my_robot.safety:shield."
        raise ConfigError("no such shield", got=f"{name} ({error})", expected="MODULE:NAME", do=do) from error
    made = cast(Callable[[], object], found)() if isinstance(found, type) else found
    if not callable(made):
        raise ConfigError("a shield must be callable", got=type(made).__name__, expected="MODULE:NAME of a callable")
    return cast(Shield, made)
