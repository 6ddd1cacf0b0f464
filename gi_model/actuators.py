"""`Source` and `Actuator`: how held controls and axes become the number that one motor, or one velocity, is set to.

    command = neutral + sum over sources of scale * shaped(raw)

raw is 0 or 1 for a key or button, counts or notches a tick for mouse motion and wheel, -1 to 1 for a stick (down and
right positive), 0 to 1 for a trigger. A deadband d takes out a resting thumb without a jump at its edge:

    stick, trigger   shaped = sign(raw) * max(0, |raw| - d) / (1 - d)      full deflection stays full scale
    mouse            shaped = sign(raw) * max(0, |raw| - d)                in counts, which have no end

An actuator has keys and buttons or axes, not both: so its inverse is a look-up or a division, and how finely action
tokens can state a command (`resolution`) is known in advance. Control names are those of `gi_model.actions.bindings`.

One that no control drives is direct: the policy commands it itself, in `levels` steps over its range, by the command
head of the body's adapter (`gi_model.command_head`); an input state carries the command as it is.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Final, cast

import numpy as np

from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOTION, MOUSE_BUTTONS, InputState
from gi_model.actions.bindings import MOUSE_AXES, PAD_AXES, Axis, read_axis
from gi_model.actions.inputs import LARGEST_COMMAND as LARGEST
from gi_model.actions.space import MAX_WHEEL, STICK_STEPS
from gi_model.command_space import MAX_LEVELS, MIN_LEVELS, grid_of
from gi_model.toml_tables import TableError

_DIGITAL: Final = (*KEYS, *MOUSE_BUTTONS, *GAMEPAD_BUTTONS)
MAX_DIGITAL: Final = 8  # sources of one actuator: its inverse tries all combinations


@dataclass(frozen=True)
class Source:
    """A control and what it adds: `scale` units when held, at the end of a pad axis, or for each count a tick."""

    control: str
    scale: float
    deadband: float = 0.0

    def __post_init__(self) -> None:
        if self.control not in (*_DIGITAL, *MOUSE_AXES, *PAD_AXES):
            expected = 'names like "KeyW", "MouseLeft", "GamepadSouth", "motion.x", "left_stick.y", "triggers.x"'
            raise TableError("unknown control", got=repr(self.control), expected=expected, at=("control",))
        if not 0.0 < abs(self.scale) <= LARGEST:
            raise TableError("scale", got=self.scale, expected="a number other than 0", at=("scale",))
        below = 0.0 if self.is_digital else 1.0 if self.control in PAD_AXES else float("inf")
        if not 0 <= self.deadband < (below or 1.0) or (self.is_digital and self.deadband):
            expected = "0: a key is held or not" if self.is_digital else f"0 to below {below}"
            raise TableError("deadband", got=self.deadband, expected=expected, at=("deadband",))

    @property
    def is_digital(self) -> bool:
        """Whether the control is held or not."""
        return self.control in _DIGITAL

    @property
    def axis(self) -> Axis:
        """The control as an axis. Only for those that are."""
        return cast(Axis, self.control)

    @property
    def is_gamepad(self) -> bool:
        """Whether the control is on a gamepad; else it is on keyboard or mouse."""
        return self.control in (*GAMEPAD_BUTTONS, *PAD_AXES)

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest raw value that action tokens can state."""
        if self.control in PAD_AXES or self.is_digital:
            return (0.0 if self.is_digital or self.control.startswith("triggers") else -1.0), 1.0
        last = float(MOTION.values[-1] if self.control.startswith("motion") else MAX_WHEEL)
        return -last, last

    def read(self, state: InputState) -> float:
        """The raw value of the control."""
        return float(self.control in state.held) if self.is_digital else read_axis(state, self.axis)

    def amount(self, raw: float) -> float:
        """Units that a raw value adds to the command."""
        beyond = max(0.0, abs(raw) - self.deadband)
        room = 1.0 - self.deadband if self.control in PAD_AXES else 1.0
        return float(np.copysign(beyond / room, raw)) * self.scale if beyond else 0.0

    def raw(self, amount: float) -> float:
        """Inverse of `amount`, within `bounds`; whole counts for the mouse."""
        shaped, is_pad = amount / self.scale, self.control in PAD_AXES
        if not shaped:
            return 0.0
        room = 1.0 - self.deadband if is_pad else 1.0
        raw = float(np.copysign(abs(shaped) * room + self.deadband, shaped))
        low, high = self.bounds
        raw = min(high, max(low, raw))
        return raw if is_pad else self._whole(raw, amount)

    def _whole(self, raw: float, amount: float) -> float:
        """The count next to `raw` that comes nearest to `amount`; a smaller one where two do, or none at all."""
        near = (0.0, float(np.trunc(raw)), float(np.trunc(raw) + np.sign(raw)))
        low, high = self.bounds
        return min((n for n in near if low <= n <= high), key=lambda n: (abs(self.amount(n) - amount), abs(n)))

    def error(self, largest: float) -> float:
        """How far tokens may be off, in units, where up to `largest` units are asked for."""
        if self.control in PAD_AXES:
            return abs(self.scale) / (1.0 - self.deadband) / STICK_STEPS / 2
        if not self.control.startswith("motion"):
            return abs(self.scale) / 2
        counts = np.arange(int(abs(self.raw(largest))) + 2)
        counts = counts[counts <= self.bounds[1]]
        return abs(self.scale) * (0.5 + float(np.abs(MOTION.decode(MOTION.encode(counts)) - counts).max()))


@dataclass(frozen=True)
class Actuator:
    """One number that a body is driven by, and its limits. neutral: the command when nothing is held.

    minimum, maximum: unit. max_rate: unit/s, how fast the command may change (of a velocity: the acceleration).
    max_jerk: unit/s^2, how fast that rate may change (of a velocity: the jerk); None leaves it free. levels: of a
    direct actuator, which has no sources, how many commands over its range the policy chooses from.
    """

    name: str
    unit: str
    neutral: float
    minimum: float
    maximum: float
    max_rate: float
    max_jerk: float | None
    sources: tuple[Source, ...] = ()
    levels: int | None = None

    def __post_init__(self) -> None:
        for name in (
            "neutral",
            "minimum",
            "maximum",
            "max_rate",
            *(("max_jerk",) if self.max_jerk is not None else ()),
        ):
            if not abs(getattr(self, name)) <= LARGEST:
                raise TableError(name, got=getattr(self, name), expected="a finite float32", at=(name,))
        if not self.minimum < self.maximum:
            got = f"{self.minimum} to {self.maximum}"
            raise TableError("range is empty", got=got, expected="minimum below maximum", at=("maximum",))
        if not self.minimum <= self.neutral <= self.maximum:
            expected = f"{self.minimum} to {self.maximum} {self.unit}"
            raise TableError("neutral is out of range", got=self.neutral, expected=expected, at=("neutral",))
        for name in ("max_rate", "max_jerk"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise TableError(name, got=getattr(self, name), expected="more than 0", at=(name,))
        self._check_sources()

    def _check_sources(self) -> None:
        if self.is_direct:
            self._check_levels()
            return
        if not self.sources:
            do = "Give it levels, if no control is to drive it: then an adapter's command head does."
            raise TableError(f"nothing drives {self.name}", expected="at least one source", do=do, at=("sources",))
        if len({source.is_digital for source in self.sources}) > 1:
            do = "Write another embodiment for the other way to drive it."
            raise TableError(f"{self.name} has keys and axes", expected="one or the other", do=do, at=("sources",))
        if self.is_digital and len(self.sources) > MAX_DIGITAL:
            got, expected = f"{len(self.sources)} keys", f"at most {MAX_DIGITAL}"
            raise TableError(f"{self.name} has too many sources", got=got, expected=expected, at=("sources",))

    def _check_levels(self) -> None:
        if self.sources:
            do = "Leave levels out where controls drive it; leave sources out where the policy commands it itself."
            raise TableError(f"{self.name} has sources and levels", expected="one or the other", do=do, at=("levels",))
        if not MIN_LEVELS <= cast(int, self.levels) <= MAX_LEVELS:
            raise TableError("levels", got=self.levels, expected=f"{MIN_LEVELS} to {MAX_LEVELS}", at=("levels",))

    @property
    def is_direct(self) -> bool:
        """Whether no control drives it."""
        return self.levels is not None

    @property
    def is_digital(self) -> bool:
        """Whether keys and buttons drive it."""
        return bool(self.sources) and self.sources[0].is_digital

    @cached_property
    def held_levels(self) -> tuple[tuple[float, tuple[Source, ...]], ...]:
        """Commands that held controls can give, ascending, each by the fewest; only for a digital actuator."""
        found: dict[float, tuple[Source, ...]] = {}
        for size in range(len(self.sources) + 1):
            for held in combinations(self.sources, size):
                if len({source.scale > 0 for source in held}) < 2:  # W against S is no way to stand still
                    found.setdefault(self.neutral + sum(source.scale for source in held), held)
        return tuple(sorted(found.items()))

    @cached_property
    def reach(self) -> tuple[float, float]:
        """The lowest and the highest command that the sources can give within the range."""
        if self.is_direct:
            return self.minimum, self.maximum
        if self.is_digital:
            within = [level for level, _ in self.held_levels if self.minimum <= level <= self.maximum]
            return within[0], within[-1]
        ends = [sorted(source.amount(raw) for raw in source.bounds) for source in self.sources]
        low, high = (self.neutral + sum(end) for end in zip(*ends, strict=True))
        return max(low, self.minimum), min(high, self.maximum)

    @cached_property
    def resolution(self) -> float:
        """The largest error of a command within `reach` that goes through action tokens, or levels, in units."""
        if self.is_direct:
            return float(np.diff(grid_of(self)).max()) / 2
        low, high = self.reach
        if self.is_digital:
            levels = [level for level, _ in self.held_levels if low <= level <= high]
            return max((b - a for a, b in pairwise(levels)), default=0.0) / 2
        return sum(max(source.error(low - self.neutral), source.error(high - self.neutral)) for source in self.sources)

    def command(self, state: InputState) -> float:
        """What the sources give together; not clipped to the range. Neutral for a direct one: see `Embodiment`."""
        return self.neutral + sum(source.amount(source.read(state)) for source in self.sources)

    def raws(self, command: float) -> dict[str, float]:
        """Raw values of the controls, by name, that come nearest to `command`; controls at rest are left out."""
        if self.is_digital:
            _, held = min(self.held_levels, key=lambda level: (abs(level[0] - command), len(level[1])))
            return {source.control: 1.0 for source in held}
        at_rest = np.float32(command) == np.float32(self.neutral)  # commands are float32, whatever a file says
        raws, left = {}, 0.0 if at_rest else command - self.neutral
        for source in self.sources:
            raws[source.control] = source.raw(left)
            left -= source.amount(raws[source.control])
        return raws
