"""open-p2p's annotations -> events. Annotation t + 1 is what happened while frame t was on the screen.

An annotation holds what is held when its frame is taken, and what moved and was pressed since the frame before. So in
tick t, a control that an input event touched is held from annotation t's word on, and goes as the events say, to within
a tick: short taps stay. All others have annotation t + 1's word for the whole tick, as the published loader reads it.
Events lie on the recorder's clock, as their frames' times do; ours is the frames' number, so they are put between their
frames in proportion. Motion keeps its own times if its events add up to the annotation's sum.

A program's actions (`system_action`) are in the picture, so they are kept, as not the player's: known False, also where
both claim a tick. Sticks' y counts up there, down here; so do wheels. Where the cursor is stays unknown: the recorder
gives pixels of a screen, not of the game. Text is left out.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from gi_data.ingest.events import Deflect, Device, Event, Label, Move, Press, Release, Scroll, Snapshot
from gi_data.ingest.open_p2p_names import PAD_FIELDS, control
from gi_model.actions import GAMEPAD_BUTTONS, MOUSE_BUTTONS, Gamepad

RECORDERS_KEYS: Final = frozenset({"BracketLeft", "BracketRight"})  # start and stop it
_HIDDEN: Final = "ShiftLeft"  # part of its hot keys: in its events, but never in its states
_FURTHEST: Final = 100_000
_DEVICES: Final = {"mouse": frozenset(MOUSE_BUTTONS), "gamepad": frozenset(GAMEPAD_BUTTONS)}
Vector = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Touch:
    """A control went down or up at `share` of the way between two frames."""

    share: float
    control: str
    pressed: bool


@dataclass(frozen=True, slots=True)
class Annotation:
    """One frame annotation in our names. held: of all devices; moves, wheels: shares of the way, and counts."""

    known: bool
    held: frozenset[str]
    motion: Vector = (0, 0)
    wheel: Vector = (0, 0)
    pad: Gamepad | None = None
    touches: tuple[Touch, ...] = ()
    moves: tuple[tuple[float, Vector], ...] = ()


@dataclass
class AnnotationReader:
    """Reads annotations in order, counting in `unknown` what has no name."""

    unknown: Counter[str] = field(default_factory=Counter)
    _before_ns: int = 0
    _shift_is_down: bool = False

    def read(self, frame: Any) -> Annotation:
        """Translate one message."""
        by_system = frame.system_action.is_known
        known = frame.user_action.is_known and not by_system
        if frame.user_action.is_known and by_system:
            self.unknown["tick claimed by player and program"] += 1
        action = frame.system_action if by_system else frame.user_action
        span = (self._before_ns, max(frame.frame_time, self._before_ns + 1))
        self._before_ns = frame.frame_time
        touches, moves = self._events(frame.input_events, span)
        if not (known or by_system):
            return Annotation(False, frozenset())
        motion, wheel = self._vector(action.mouse.mouse_delta_px), self._vector(action.mouse.scroll_delta_px)
        exact = (sum(x for _, (x, _) in moves), sum(y for _, (_, y) in moves)) == motion
        return Annotation(
            known=known,
            held=self._held(action),
            motion=motion,
            wheel=(wheel[0], -wheel[1]),
            pad=self._pad(action.game_pad) if action.HasField("game_pad") else None,
            touches=tuple(touches) if known else (),
            moves=tuple(moves) if exact and known else (),
        )

    def _events(self, events: Any, span: tuple[int, int]) -> tuple[list[Touch], list[tuple[float, Vector]]]:
        touches: list[Touch] = []
        moves: list[tuple[float, Vector]] = []
        for event in sorted((each for each in events if not each.simulated), key=lambda each: each.time):
            share = min(max((event.time - span[0]) / (span[1] - span[0]), 0.0), 1.0)
            if event.HasField("mouse_delta_event"):
                moves.append((share, self._vector(event.mouse_delta_event)))
            for name, pressed in self._touched(event):
                touches.append(Touch(share, name, pressed))
                self._shift_is_down = pressed if name == _HIDDEN else self._shift_is_down
        return touches, moves

    def _touched(self, event: Any) -> Iterator[tuple[str, bool]]:
        for kind, part, spelled in (
            ("key", "keyboard_event", "key"),
            ("mouse button", "mouse_event", "button"),
            ("gamepad button", "game_pad_button_event", "button"),
        ):
            if event.HasField(part):
                detail = getattr(event, part)
                name = self._name(kind, getattr(detail, spelled))
                if name is not None and name not in RECORDERS_KEYS:
                    yield name, detail.pressed

    def _held(self, action: Any) -> frozenset[str]:
        names = [self._name("key", key) for key in action.keyboard.keys]
        names += [self._name("mouse button", button) for button in action.mouse.buttons_down]
        if self._shift_is_down:
            names.append(_HIDDEN)
        return frozenset(name for name in names if name is not None)

    def _name(self, kind: str, name: str) -> str | None:
        known = control(kind, name)
        if known is None:
            self.unknown[f"{kind} {name[:40]}"] += 1
        return known

    def _vector(self, vector: Any) -> Vector:
        if max(abs(vector.x), abs(vector.y)) > _FURTHEST:
            self.unknown["absurd motion"] += 1
            return 0, 0
        return vector.x, vector.y

    def _pad(self, pad: Any) -> Gamepad:
        pressed = {name for field_name, name in PAD_FIELDS.items() if getattr(pad.buttons, field_name)}
        pressed |= {"GamepadLeftStick"} if pad.left_stick.pressed else set()
        pressed |= {"GamepadRightStick"} if pad.right_stick.pressed else set()
        return Gamepad(
            frozenset(pressed),
            (self._within(pad.left_stick.x, -1.0), self._within(-pad.left_stick.y, -1.0)),
            (self._within(pad.right_stick.x, -1.0), self._within(-pad.right_stick.y, -1.0)),
            (self._within(pad.left_trigger, 0.0), self._within(pad.right_trigger, 0.0)),
        )

    def _within(self, value: float, low: float) -> float:
        if not math.isfinite(value):
            self.unknown["stick that is no number"] += 1
            return 0.0
        return min(max(value, low), 1.0)


def label_events(annotations: Sequence[Annotation], times_ns: Sequence[int]) -> Iterator[Event]:
    """Events of ticks 0, ..., one fewer than there are annotations; tick t lasts from times_ns[t] to the next."""
    was_known = True
    for (t_ns, next_ns), (before, after) in zip(pairwise(times_ns), pairwise(annotations), strict=True):
        if after.known != was_known:
            yield Label(t_ns, after.known)
        was_known = after.known
        yield from _starts(t_ns, before, after)
        yield from sorted(_within_tick(t_ns, next_ns - t_ns, after), key=lambda event: event.t_ns)


def _starts(t_ns: int, before: Annotation, after: Annotation) -> Iterator[Event]:
    """What is held when a tick begins."""
    touched = frozenset(touch.control for touch in after.touches)
    held = (_all_held(before) & touched) | (_all_held(after) - touched)
    pads = _DEVICES["gamepad"]
    devices: list[tuple[Device, frozenset[str]]] = [
        ("keyboard", held - pads - _DEVICES["mouse"]),
        ("mouse", held & _DEVICES["mouse"]),
    ]
    if after.pad is not None:
        devices.append(("gamepad", held & pads))
        yield Deflect(t_ns, after.pad.left_stick, after.pad.right_stick, after.pad.triggers)
    for device, names in devices:
        yield Snapshot(t_ns, device, names)


def _within_tick(t_ns: int, tick_ns: int, after: Annotation) -> Iterator[Event]:
    def at(share: float) -> int:
        return t_ns + min(int(share * tick_ns), tick_ns - 1)

    for touch in after.touches:
        yield (Press if touch.pressed else Release)(at(touch.share), touch.control)
    for share, counts in after.moves:
        yield Move(at(share), *counts)
    if any(after.motion) and not after.moves:
        yield Move(t_ns, *after.motion, duration_ns=tick_ns)
    if any(after.wheel):
        yield Scroll(t_ns, *after.wheel, duration_ns=tick_ns)


def _all_held(annotation: Annotation) -> frozenset[str]:
    return annotation.held | (annotation.pad.buttons if annotation.pad is not None else frozenset())
