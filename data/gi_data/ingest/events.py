"""Input events with their times: the one form in which every format hands over what a player did.

Formats that log events map onto these one to one. Formats that store a state a tick become, each tick, a `Snapshot` of
each device and a `Move` that lasts the tick (`state_events`), so that both are put on our clock by the same code.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from gi_model.actions import NEUTRAL, Gamepad, InputState

Device = Literal["keyboard", "mouse", "gamepad"]


@dataclass(frozen=True, slots=True)
class Press:
    """A control (any name of `gi_model.actions.controls`) went down."""

    t_ns: int
    control: str


@dataclass(frozen=True, slots=True)
class Release:
    """A control came up."""

    t_ns: int
    control: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is held on one device: repairs presses and releases that were missed."""

    t_ns: int
    device: Device
    held: frozenset[str]


@dataclass(frozen=True, slots=True)
class Move:
    """Relative motion in counts (right, down), even over `duration_ns` from t_ns. Fractions are carried, not lost."""

    t_ns: int
    dx: float
    dy: float
    duration_ns: int = 0


@dataclass(frozen=True, slots=True)
class Scroll:
    """Wheel notches (right, down), even over `duration_ns` from t_ns."""

    t_ns: int
    dx: float
    dy: float
    duration_ns: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """The visible cursor at x, y in [0, 1] of the picture; None: the game hides or locks it."""

    t_ns: int
    position: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Deflect:
    """Sticks in [-1, 1] (x right, y down) and triggers in [0, 1] from now on; None leaves one as it was."""

    t_ns: int
    left_stick: tuple[float, float] | None = None
    right_stick: tuple[float, float] | None = None
    triggers: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """What a body's direct actuators are told from now on, in its order and units; (): nothing."""

    t_ns: int
    commands: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """From now on what is held is (or is not) a player's known action."""

    t_ns: int
    known: bool


Event: TypeAlias = Press | Release | Snapshot | Move | Scroll | Point | Deflect | Command | Label


def state_events(states: Iterable[tuple[int, InputState, bool]], *, end_ns: int) -> Iterator[Event]:
    """Events of states held from their time to the next one's: rows (t_ns, state, known); the last ends at end_ns."""
    before, was_known = NEUTRAL, True
    for (t_ns, state, known), (next_ns, *_) in pairwise([*states, (end_ns, NEUTRAL, True)]):
        if known != was_known:
            yield Label(t_ns, known)
        if state.keys != before.keys:
            yield Snapshot(t_ns, "keyboard", state.keys)
        if state.buttons != before.buttons:
            yield Snapshot(t_ns, "mouse", state.buttons)
        if state.cursor != before.cursor:
            yield Point(t_ns, state.cursor)
        if state.gamepad != before.gamepad:
            pad = state.gamepad or Gamepad()
            yield Snapshot(t_ns, "gamepad", pad.buttons)
            yield Deflect(t_ns, pad.left_stick, pad.right_stick, pad.triggers)
        if state.commands != before.commands:
            yield Command(t_ns, state.commands)
        if any(state.motion):
            yield Move(t_ns, *state.motion, duration_ns=next_ns - t_ns)
        if any(state.wheel):
            yield Scroll(t_ns, *state.wheel, duration_ns=next_ns - t_ns)
        before, was_known = state, known
