"""Entries of a LeRobot dataset's vectors -> controls: by names that many use, or as `gi-map.toml` in its folder says.

    camera = "observation.images.front"       # the first one, if left out
    game = "tank"                             # the episode's task, if left out
    license = "mit"                           # what README.md says, if left out
    [map]                                     # FEATURE/NAME or FEATURE/NUMBER; with a map, nothing is guessed
    "action/forward" = "KeyW"
    "action/1" = {control = "left_stick.x", scale = 0.01}
    "action/gas" = [{control = "KeyW", above = 0.2}, {control = "KeyS", below = -0.2}]

Controls have the names of `gi_model.actions`: keys, buttons, `motion.x`, `wheel.y`, `left_stick.x`, `triggers.x`,
`cursor.x`. A button is held where its value is above 0.5 (or what `above`, `below` say); all else is multiplied by
`scale`.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gi_data.ingest.nitrogen_chunks import PAD_BUTTONS
from gi_data.lerobot_format import AXES, BUTTONS, CURSOR
from gi_model.actions import KEYS, MOUSE_BUTTONS
from gi_model.errors import ClipError

MAP_NAME: Final = "gi-map.toml"
MAX_ENTRIES: Final = 4096  # of a vector
_CONTROLS: Final = frozenset((*BUTTONS, *AXES, *CURSOR))

_KEY_WORDS: Final = (
    "shift=ShiftLeft lshift=ShiftLeft rshift=ShiftRight left_shift=ShiftLeft shift_left=ShiftLeft ctrl=ControlLeft "
    "lctrl=ControlLeft control=ControlLeft left_ctrl=ControlLeft alt=AltLeft lalt=AltLeft esc=Escape return=Enter "
    "spacebar=Space up=ArrowUp down=ArrowDown left=ArrowLeft right=ArrowRight"
)
_MOUSE_WORDS: Final = (
    "left=MouseLeft right=MouseRight middle=MouseMiddle left_click=MouseLeft right_click=MouseRight "
    "middle_click=MouseMiddle left_button=MouseLeft right_button=MouseRight middle_button=MouseMiddle "
    "button_left=MouseLeft button_right=MouseRight button_middle=MouseMiddle lmb=MouseLeft rmb=MouseRight "
    "mmb=MouseMiddle lclick=MouseLeft rclick=MouseRight x1=MouseBack x2=MouseForward dx=motion.x dy=motion.y "
    "delta_x=motion.x delta_y=motion.y rel_x=motion.x rel_y=motion.y move_x=motion.x move_y=motion.y "
    "wheel=wheel.y scroll=wheel.y scroll_x=wheel.x scroll_y=wheel.y wheel_dx=wheel.x wheel_dy=wheel.y"
)


def _words(text: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in text.split())


_KEYS: Final = {key.removeprefix("Key").removeprefix("Digit").lower(): key for key in KEYS} | _words(_KEY_WORDS)
_MOUSE: Final = {button.lower(): button for button in MOUSE_BUTTONS} | _words(_MOUSE_WORDS)
_PAD: Final = PAD_BUTTONS | {
    **{f"{side}_stick_{axis}": f"{side}_stick.{axis}" for side in ("left", "right") for axis in "xy"},
    **{f"j_{side}_{axis}": f"{side}_stick.{axis}" for side in ("left", "right") for axis in "xy"},
}
_DEVICES: Final = {"keyboard": _KEYS, "mouse": _MOUSE, "gamepad": _PAD}


@dataclass(frozen=True)
class Entry:
    """What one number of a vector is: a control, and how to read it."""

    control: str
    scale: float = 1.0
    above: float | None = None
    below: float | None = None

    def of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 (T,): 1 where a button is held; amounts of the others. NaN stays NaN."""
        if self.control not in BUTTONS:
            return values * self.scale
        above = 0.5 if self.above is None and self.below is None else self.above
        held = np.zeros(len(values), dtype=bool)
        if above is not None:
            held |= values > above
        if self.below is not None:
            held |= values < self.below
        return np.where(np.isfinite(values), held.astype(np.float64), np.nan)


@dataclass(frozen=True)
class Options:
    """What `gi-map.toml` says."""

    camera: str | None = None
    game: str | None = None
    license: str | None = None
    entries: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)


def read_map(root: Path) -> Options:
    """Read the map of a dataset, if it has one. Raises ClipError on one that cannot be used."""
    path = root / MAP_NAME
    if not path.is_file():
        return Options()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        said = dict(data.pop("map", {})).items()
        entries = {name: tuple(map(_entry, value if isinstance(value, list) else [value])) for name, value in said}
        if not all(isinstance(value, str) for value in data.values()):
            raise ValueError("camera, game, and license are texts")
        return Options(**data, entries=entries)
    except (OSError, ValueError, TypeError) as error:
        do = 'Write lines such as "action/forward" = "KeyW" under [map]; docs/lerobot.md has an example.'
        raise ClipError(f"{path} cannot be read", got=str(error)[:300], expected="TOML", do=do) from error


def entry_names(feature: Mapping[str, Any], name: str) -> list[str]:
    """Names of a feature's numbers; of one without names, `0`, `1`, and so on; of a single one, the feature's own."""
    names, shape = feature.get("names"), feature.get("shape")
    if isinstance(names, dict):  # {"motors": [...]}
        names = next((value for value in names.values() if isinstance(value, list)), None)
    if feature.get("dtype") in ("video", "image", "string") or not isinstance(shape, list) or len(shape) != 1:
        return []
    count = shape[0] if isinstance(shape[0], int) and 0 <= shape[0] <= MAX_ENTRIES else 0
    if isinstance(names, list) and len(names) == count:
        return [str(each)[:100] for each in names]
    return [name.rpartition(".")[2]] if count == 1 else [str(number) for number in range(count)]


def known_entry(feature: str, name: str) -> Entry | None:
    """The control that an entry's name means by itself: our own names, and those that others use for a device."""
    if name in _CONTROLS:
        return Entry(name)
    device = feature.rpartition(".")[2].lower()
    word = name.lower().replace(" ", "_").replace(".", "_")
    for prefix, names in _DEVICES.items():
        short = word.removeprefix(prefix + "_").removeprefix("key_" if prefix == "keyboard" else "")
        if (device == prefix or word != short) and (control := names.get(short) or names.get(word)):
            return Entry(control)
    return None


def _entry(value: object) -> Entry:
    entry = Entry(value) if isinstance(value, str) else Entry(**value) if isinstance(value, dict) else None
    if entry is None or entry.control not in _CONTROLS:
        raise ValueError(f"no such control: {value!r}")
    numbers = [each for each in (entry.scale, entry.above, entry.below) if each is not None]
    if not all(isinstance(each, (int, float)) and math.isfinite(each) for each in numbers) or not entry.scale:
        raise ValueError(f"numbers expected: {value!r}")
    return entry
