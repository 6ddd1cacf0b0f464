"""VPT's JSON lines, one a tick -> input states, with the quirks that the published loader repairs (MIT, openai).

- Attack that is down when a recording starts is stuck until it is pressed anew: removed until then.
- Where the chosen hotbar slot changes and neither its key nor the wheel says so, the slot's key is put in. The
  published loader presses one in the first tick, too, for whichever slot is chosen there: that is no action, left out.
- While a window of the game is open, old recorders scaled the mouse wrongly: corrected by version.
- Escape stays Escape: training at OpenAI turned it into the inventory key inside windows; their loader does not.

Broken lines, and ticks for which the recorder wrote null, are unknown, not idle. Text typed in chat is never looked at.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gi_data.ingest.vpt_keys import BUTTONS, KEYS
from gi_model.actions import NEUTRAL, InputState

SCREEN: Final = (1280, 720)  # the game's window: mouse.x and mouse.y are in its pixels
MOUSE_SCALERS: Final = {"5.7": 0.5, "5.8": 0.5, "6.7": 2.0, "6.8": 2.0, "6.9": 2.0}  # inside windows of the game
_FURTHEST: Final = 100_000  # counts a tick; what is beyond is no mouse
_BAD: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


@dataclass(frozen=True, slots=True)
class VptTick:
    """What one line says. Unknown ticks are neutral."""

    state: InputState
    known: bool


def read_states(lines: Iterable[bytes], unknown: Counter[str], *, version: str | None = None) -> Iterator[VptTick]:
    """One tick a line; what cannot be read or named is counted in `unknown`. version: of the recorder."""
    reader = _Reader(unknown, MOUSE_SCALERS.get(version or "", 1.0))
    for line in lines:
        try:
            yield VptTick(reader.state(json.loads(line)), known=True)
        except _BAD:
            unknown["line that cannot be read"] += 1
            yield VptTick(NEUTRAL, known=False)


class _Reader:
    """What must be remembered from tick to tick."""

    def __init__(self, unknown: Counter[str], gui_scaler: float) -> None:
        self._unknown, self._gui_scaler = unknown, gui_scaler
        self._attack_is_stuck: bool | None = None  # None: before the first tick
        self._slot: int | None = None
        self._keys: frozenset[str] = frozenset()
        self._owed = [0.0, 0.0]  # fractions of counts that are still to come

    def state(self, tick: Mapping[str, Any]) -> InputState:
        mouse, in_gui = tick["mouse"], bool(tick.get("isGuiOpen", False))
        keys = self._named(tick["keyboard"]["keys"], KEYS, "key")
        wheel = -round(_number(mouse.get("dwheel", 0)))  # theirs counts up, away from the hand
        motion = self._motion(mouse, self._gui_scaler if in_gui else 1.0)
        cursor = _cursor(mouse) if in_gui else None
        buttons = self._named(self._unstuck(mouse), BUTTONS, "mouse button")
        slot_key = self._slot_key(tick.get("hotbar"), keys, wheel)
        self._keys = keys
        return InputState(keys | slot_key, buttons, motion, (0, wheel), cursor)

    def _named(self, names: Iterable[Any], table: Mapping[Any, str], kind: str) -> frozenset[str]:
        names = list(names)
        for name in names:
            if name not in table:
                self._unknown[f"{kind} {str(name)[:40]}"] += 1
        return frozenset(table[name] for name in names if name in table)

    def _unstuck(self, mouse: Mapping[str, Any]) -> list[Any]:
        """Buttons that are down, less an attack that nobody pressed."""
        fresh, down = list(mouse.get("newButtons", ())), list(mouse["buttons"])
        if self._attack_is_stuck is None:
            self._attack_is_stuck = fresh == [0]
        elif 0 in fresh:
            self._attack_is_stuck = False
        return [button for button in down if button != 0] if self._attack_is_stuck else down

    def _slot_key(self, slot: Any, keys: frozenset[str], wheel: int) -> frozenset[str]:
        """The key of a slot that was chosen without a trace."""
        if not isinstance(slot, int) or not 0 <= slot <= 8:  # recorders before 6.11 do not say
            return frozenset()
        before, self._slot = self._slot, slot
        key = f"Digit{slot + 1}"
        if before in (None, slot) or wheel or key in self._keys | keys:
            return frozenset()
        return frozenset({key})

    def _motion(self, mouse: Mapping[str, Any], scale: float) -> tuple[int, int]:
        counts = [0, 0]
        for axis, name in enumerate(("dx", "dy")):
            total = self._owed[axis] + _number(mouse[name]) * scale
            counts[axis] = round(total)
            self._owed[axis] = total - counts[axis]
        return counts[0], counts[1]


def _cursor(mouse: Mapping[str, Any]) -> tuple[float, float]:
    x, y = (_number(mouse[axis]) / size for axis, size in zip("xy", SCREEN, strict=True))
    return min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"no number: {value!r}"[:100])
    if abs(value) > _FURTHEST:
        raise ValueError(f"absurd: {value}")
    return float(value)
