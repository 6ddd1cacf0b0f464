"""`Embodiment`: a body with gaming-style inputs: its camera, its actuators, and which input moves which; one TOML file.

Recording, training, serving, and the body itself read the same file, so a key means the same velocity everywhere.
`command` maps inputs to actuators and nothing else: range, rate, and jerk are stated here and enforced by the safety
envelope, outside every model. `inputs` is its inverse, for demonstrations that come as commands; what of them action
tokens can keep is `resolution`, and a test holds it to that. Direct actuators, which no control drives, pass through
both: an input state carries their commands, and an adapter's command head makes them.

Each control drives one actuator: bodies are driven by velocities (forward, turn) that their own firmware mixes into
wheels. And all controls are of one device, gamepad or keyboard and mouse, as a tick of the action space is. numpy only.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from gi_model.actions import AxisBinding, Bindings, Gamepad, InputState
from gi_model.actions.bindings import MOUSE_AXES, PAD_AXES, press_controls
from gi_model.actions.inputs import MAX_COMMANDS as MAX_ACTUATORS
from gi_model.actions.space import KEY_SLOTS, PAD_BUTTON_SLOTS
from gi_model.actuators import Actuator, Source
from gi_model.command_space import CommandSpace
from gi_model.errors import ActionError, ConfigError
from gi_model.toml_tables import TableError, build, find_line, plain

__all__ = ["Actuator", "Camera", "Embodiment", "Source", "parse_embodiment", "read_embodiment"]

Command = NDArray[np.float32]  # (A,), in the actuators' units
_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Camera:
    """The picture that a policy sees. width, height: pixels; latency_ms: from light to a frame in hand."""

    width: int
    height: int
    fps: float
    latency_ms: float = 0.0

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            if not 2 <= getattr(self, name) <= 8192 or getattr(self, name) % 2:
                expected = "an even number of pixels, 2 to 8192"
                raise TableError(f"camera {name}", got=getattr(self, name), expected=expected, at=(name,))
        if not 0 < self.fps <= 1000:
            raise TableError("camera fps", got=self.fps, expected="above 0, at most 1000", at=("fps",))
        if not 0 <= self.latency_ms < 10_000:
            raise TableError("latency_ms", got=self.latency_ms, expected="0 to 10000", at=("latency_ms",))


@dataclass(frozen=True)
class Embodiment:
    """A body. fps: policy ticks a second; command_hz: commands a second that its actuators take.

    watchdog_ms: without a new action for so long, the body goes to neutral.
    """

    name: str
    fps: float
    command_hz: float
    watchdog_ms: float
    camera: Camera
    actuators: tuple[Actuator, ...]

    def __post_init__(self) -> None:
        if not 0 < self.fps <= 240:
            raise TableError("fps", got=self.fps, expected="above 0, at most 240", at=("fps",))
        if not self.fps <= self.command_hz <= 10_000:
            expected = f"{self.fps} (fps) to 10000"
            raise TableError("command_hz", got=self.command_hz, expected=expected, at=("command_hz",))
        if not (isfinite(self.watchdog_ms) and self.watchdog_ms > 1e3 / self.fps):
            expected, do = f"more than {1e3 / self.fps:.1f}, one tick", "A shorter one bites at every tick."
            raise TableError("watchdog_ms", got=self.watchdog_ms, expected=expected, do=do, at=("watchdog_ms",))
        if self.camera.fps < self.fps:
            expected, at = f"{self.fps} or more: a new frame each tick", ("camera", "fps")
            raise TableError("camera is slower than the policy", got=self.camera.fps, expected=expected, at=at)
        if not 1 <= len(self.actuators) <= MAX_ACTUATORS:
            expected = f"1 to {MAX_ACTUATORS}"
            raise TableError("number of actuators", got=len(self.actuators), expected=expected, at=("actuators",))
        self._check_controls()

    def _check_controls(self) -> None:
        names: set[str] = set()
        controls: dict[str, str] = {}
        for index, actuator in enumerate(self.actuators):
            if actuator.name in names:
                raise TableError("two actuators of one name", got=actuator.name, at=("actuators", index, "name"))
            names.add(actuator.name)
            for number, source in enumerate(actuator.sources):
                at = ("actuators", index, "sources", number, "control")
                if source.control in controls:
                    got = f"{controls[source.control]} and {actuator.name}"
                    do = "Drive velocities of the whole body; its firmware mixes them."
                    raise TableError(f"{source.control} drives two actuators", got=got, do=do, at=at)
                if source.is_gamepad != self.is_gamepad:
                    do = "A tick is played on one device: use controls of one."
                    raise TableError("gamepad beside keyboard or mouse", got=source.control, do=do, at=at)
                controls[source.control] = actuator.name
        most = sum(max(len(held) for _, held in a.held_levels) for a in self.actuators if a.is_digital)
        if most > (slots := len(PAD_BUTTON_SLOTS if self.is_gamepad else KEY_SLOTS)):
            do = "Leave controls out, or put some on axes."
            raise TableError("more held at once than a tick keeps", got=most, expected=slots, do=do, at=("actuators",))

    # ------------------------------------------------------------------ the map

    def command(self, state: InputState) -> Command:
        """What `state` commands, float32 (A,). Not clipped: range, rate, and jerk are the safety envelope's.

        Direct actuators are at neutral where the state has no commands. Raises ActionError on another number of them.
        """
        command = np.array([actuator.command(state) for actuator in self.actuators], dtype=np.float32)
        if state.commands:
            if len(state.commands) != len(self.command_space):
                got, expected = f"{len(state.commands)} commands", f"{len(self.command_space)} of {self.name}"
                raise ActionError("not the commands of this body's direct actuators", got=got, expected=expected)
            command[self.direct] = state.commands
        return command

    def inputs(self, command: Command) -> InputState:
        """Inverse of `command`: the inputs that come nearest to it; exact but for whole counts and held keys.

        Raises ConfigError on another number of actuators, or a command that is no number.
        """
        command = np.asarray(command, dtype=np.float64)
        if command.shape != (self.num_actuators,) or not np.isfinite(command).all():
            raise ConfigError("not a command", got=command.tolist(), expected=f"{self.num_actuators} finite numbers")
        raws: dict[str, float] = {}
        axes = {*MOUSE_AXES, *PAD_AXES}
        for actuator, value in zip(self.actuators, command.tolist(), strict=True):
            raws |= actuator.raws(value)
        state = press_controls(frozenset(raws.keys() - axes), {name: raws[name] for name in raws.keys() & axes})
        pad = state.gamepad or Gamepad() if self.is_gamepad else state.gamepad
        return replace(state, gamepad=pad, commands=tuple(command[self.direct].astype(np.float32).tolist()))

    @cached_property
    def bindings(self) -> Bindings:
        """Exactly the controls of this body: what recordings keep. Deadbands are not in it."""
        digital: dict[str, str] = {}
        analogue: dict[str, AxisBinding] = {}
        for actuator in self.actuators:
            for source in actuator.sources:
                name = f"{actuator.name} by {source.control}"
                if source.is_digital:
                    digital[name] = source.control
                else:
                    analogue[name] = AxisBinding(source.axis, source.scale, actuator.unit)
        return Bindings(digital, analogue)

    # ------------------------------------------------------------------ numbers, float32 (A,)

    @property
    def num_actuators(self) -> int:
        """A."""
        return len(self.actuators)

    @property
    def is_gamepad(self) -> bool:
        """Whether it is driven by a gamepad; else by keyboard and mouse, or by nothing but commands."""
        return any(source.is_gamepad for source in chain(*(actuator.sources for actuator in self.actuators)))

    @cached_property
    def direct(self) -> NDArray[np.bool_]:
        """bool (A,): which actuators no control drives."""
        return np.array([actuator.is_direct for actuator in self.actuators])

    @cached_property
    def command_space(self) -> CommandSpace:
        """Levels of the direct actuators."""
        return CommandSpace([actuator for actuator in self.actuators if actuator.is_direct])

    @cached_property
    def neutral(self) -> Command:
        """The command when nothing is held."""
        return self._array("neutral")

    @cached_property
    def minimum(self) -> Command:
        """Lower end of the range."""
        return self._array("minimum")

    @cached_property
    def maximum(self) -> Command:
        """Upper end of the range."""
        return self._array("maximum")

    @cached_property
    def max_rate(self) -> Command:
        """Largest change of a command in a second, unit/s."""
        return self._array("max_rate")

    @cached_property
    def max_jerk(self) -> Command:
        """Largest change of its rate in a second, unit/s^2; infinite where it is free."""
        limits = [np.inf if actuator.max_jerk is None else actuator.max_jerk for actuator in self.actuators]
        return np.array(limits, dtype=np.float32)

    @cached_property
    def resolution(self) -> Command:
        """Largest error of a command within reach after inputs, tokens, inputs, command."""
        return self._array("resolution")

    def _array(self, name: str) -> Command:
        values = np.array([getattr(actuator, name) for actuator in self.actuators], dtype=np.float32)
        values.flags.writeable = False
        return values

    # ------------------------------------------------------------------ identity and files

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the canonical TOML: two embodiments with one fingerprint are the same body."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """JSON form, with the keys of the file; an absent jerk limit is left out."""
        data = plain(self)
        assert isinstance(data, dict)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises ConfigError, naming the key."""
        try:
            return build(cls, data)
        except TableError as error:
            raise error.placed("embodiment") from error

    def to_toml(self) -> str:
        """The file's canonical text: every key, no comments. `parse_embodiment` is its inverse."""
        data = self.to_dict()
        lines = _rows({name: data[name] for name in ("name", "fps", "command_hz", "watchdog_ms")})
        lines += ["", "[camera]", *_rows(data["camera"])]
        for actuator in data["actuators"]:
            sources = [f"  {{ {', '.join(_rows(source))} }}," for source in actuator.pop("sources")]
            lines += ["", "[[actuators]]", *_rows(actuator), *(("sources = [", *sources, "]") if sources else ())]
        return "\n".join(lines) + "\n"


def _rows(table: Mapping[str, str | float]) -> list[str]:
    """`key = value` of each; JSON writes strings and numbers as TOML does."""
    return [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in table.items()]


def parse_embodiment(text: str, name: str = "embodiment.toml") -> Embodiment:
    """The embodiment of a TOML text. Raises ConfigError that names `name` and the line."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{name} is not TOML", got=str(error)) from error
    try:
        return build(Embodiment, data)
    except TableError as error:
        raise error.placed(f"{name}, line {find_line(text, error.at)}") from error


def read_embodiment(path: Path) -> Embodiment:
    """Read `embodiment.toml`. Raises ConfigError that names the file and the line."""
    do = "Give the path of an embodiment.toml."
    try:
        content = path.read_bytes()
        text = content.decode("utf-8") if len(content) <= _MAX_BYTES else None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read", got=error, do=do) from error
    if text is None:
        raise ConfigError(f"{path} is too large to be an embodiment", got=f"{len(content)} bytes", do=do)
    return parse_embodiment(text, str(path))
