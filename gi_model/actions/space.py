"""`ActionSpace`: the vocabulary and codec of a model; an input state is K action tokens.

One space for keyboard + mouse and gamepad, K = 14 slots, a shared vocabulary of about 420 tokens:

    slot             0              1, 2          3, 4          5 ... 12           13
    keyboard+mouse   button mask    motion x, y   wheel y, x    held keys, sorted  none
    gamepad          GAMEPAD        right x, y    left x, y     5, 6 triggers; 7 ... 13 held buttons, sorted

Slot 0 says which device the tick is played on (nobody moves mouse and sticks in one 50 ms tick; a tick that has both
keeps the gamepad and counts the rest as lost). The camera is slots 1 and 2 on both. Held keys are a sorted list ended
by `none`: every set has exactly one encoding, and a decoder that obeys `legal` and `is_list_slot` cannot write an
invalid one. Rejected: one binary token a key (100 tokens), joint button combinations (8,641 in VPT), press/release
events (see `inputs.py`).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from gi_model.actions.columns import KEY_COLUMNS, MOUSE_COLUMNS, PAD_COLUMNS, InputColumns
from gi_model.actions.controls import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS
from gi_model.actions.inputs import Gamepad, InputState
from gi_model.actions.motion import MOTION
from gi_model.errors import ActionError, CheckpointError

MAX_WHEEL: Final = 9
STICK_STEPS: Final = 16
NUM_SLOTS: Final = 14
KEY_SLOTS: Final = range(5, 13)
PAD_BUTTON_SLOTS: Final = range(7, 14)

Tokens = NDArray[np.int64]  # (K,)
Rows = NDArray[np.int64]  # (T, K)
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ActionSpace:
    """The codec between `InputState` and action tokens, int64 (K,). Stateless; equal by `fingerprint`."""

    version: int = 1

    def __post_init__(self) -> None:
        if self.version != 1:
            raise CheckpointError(
                "action space of another version", got=self.version, expected=1, do="Update gi-model."
            )

    # ------------------------------------------------------------------ vocabulary

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Name of every token id; id 0 is `none`."""
        return (
            "none",
            *KEYS,
            *GAMEPAD_BUTTONS,
            *(f"buttons:{mask}" for mask in range(1 << len(MOUSE_BUTTONS))),
            "gamepad",
            *(f"wheel:{notches}" for notches in range(-MAX_WHEEL, MAX_WHEEL + 1)),
            *(f"motion:{counts}" for counts in MOTION.values.tolist()),
            *(f"axis:{level}" for level in range(-STICK_STEPS, STICK_STEPS + 1)),
        )

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Inverse of `vocabulary`."""
        return {name: index for index, name in enumerate(self.vocabulary)}

    @property
    def num_tokens(self) -> int:
        """K: action tokens a tick."""
        return NUM_SLOTS

    @cached_property
    def vocabulary_size(self) -> int:
        """Number of token ids."""
        return len(self.vocabulary)

    @cached_property
    def motion_ids(self) -> range:
        """Token ids of the motion bins, ascending in motion."""
        first = self.ids[f"motion:{MOTION.values[0]}"]
        return range(first, first + MOTION.num_bins)

    @cached_property
    def gamepad_id(self) -> int:
        """The token of slot 0 that says: this tick is played on a gamepad."""
        return self.ids["gamepad"]

    @cached_property
    def factors(self) -> Mapping[str, tuple[int, ...]]:
        """Slots of each factor of a tick, for losses, metrics, and confidences."""
        return {"buttons": (0,), "motion": (1, 2), "wheel": (3, 4), "keys": tuple(KEY_SLOTS)}

    @cached_property
    def legal(self) -> NDArray[np.bool_]:
        """bool (2, K, vocabulary): what a slot may hold; [0] keyboard + mouse, [1] gamepad; slot 0 is alike in both."""
        legal = np.zeros((2, NUM_SLOTS, self.vocabulary_size), dtype=bool)
        kinds = np.array([name.partition(":")[0] for name in self.vocabulary])
        is_key, is_pad = np.isin(self.vocabulary, KEYS), np.isin(self.vocabulary, GAMEPAD_BUTTONS)
        legal[:, 0] = (kinds == "buttons") | (kinds == "gamepad")
        legal[0, 1:3] = kinds == "motion"
        legal[0, 3:5] = kinds == "wheel"
        legal[0, KEY_SLOTS.start : KEY_SLOTS.stop] = is_key
        legal[1, 1:7] = kinds == "axis"
        legal[1, 5:7, : self.ids["axis:0"]] = False
        legal[1, PAD_BUTTON_SLOTS.start :] = is_pad
        legal[0, KEY_SLOTS.start :, 0] = True
        legal[1, PAD_BUTTON_SLOTS.start :, 0] = True
        return legal

    @cached_property
    def is_list_slot(self) -> NDArray[np.bool_]:
        """bool (2, K): slots of a sorted list: each token exceeds the one before; after `none` comes only `none`."""
        flags = np.zeros((2, NUM_SLOTS), dtype=bool)
        flags[0, KEY_SLOTS.start + 1 :] = True
        flags[1, PAD_BUTTON_SLOTS.start + 1 :] = True
        return flags

    # ------------------------------------------------------------------ codec

    def encode(self, state: InputState, lost: Counter[str] | None = None) -> Tokens:
        """Action tokens of `state`, int64 (K,). What cannot be expressed is added to `lost` by name."""
        lost = Counter() if lost is None else lost
        if state.cursor is not None:
            lost["cursor"] += 1
        if state.gamepad is not None:
            return self._encode_gamepad(state, state.gamepad, lost)
        tokens = np.zeros(NUM_SLOTS, dtype=np.int64)
        mask = sum(1 << bit for bit, name in enumerate(MOUSE_BUTTONS) if name in state.buttons)
        tokens[0] = self.ids[f"buttons:{mask}"]
        for slot, counts in zip((1, 2), state.motion, strict=True):
            lost["motion beyond range"] += int(MOTION.is_clipped(counts))
            tokens[slot] = self.motion_ids[int(MOTION.encode(counts))]
        for slot, notches in zip((4, 3), state.wheel, strict=True):
            lost["wheel beyond range"] += abs(notches) > MAX_WHEEL
            tokens[slot] = self.ids[f"wheel:{max(-MAX_WHEEL, min(MAX_WHEEL, notches))}"]
        self._encode_list(tokens, KEY_SLOTS, state.keys, lost)
        return tokens

    def encode_all(self, states: Sequence[InputState], lost: Counter[str] | None = None) -> Rows:
        """Action tokens of many states, int64 (T, K): `encode` of each."""
        return self.encode_columns(InputColumns.of(states), lost)

    def encode_columns(self, inputs: InputColumns, lost: Counter[str] | None = None) -> Rows:
        """Action tokens of whole columns, int64 (T, K): what `encode` says of each tick, without a Python loop."""
        lost = Counter() if lost is None else lost
        tokens = np.zeros((len(inputs), NUM_SLOTS), dtype=np.int64)
        pad = inputs.has_gamepad
        lost["cursor"] += int(inputs.has_cursor.sum())
        self._fill_keyboard(tokens, inputs, ~pad, lost)
        if pad.any():
            self._fill_gamepad(tokens, inputs, pad, lost)
        return tokens

    def _fill_keyboard(self, tokens: Rows, inputs: InputColumns, ticks: Mask, lost: Counter[str]) -> None:
        """Tokens of the ticks that are played on keyboard and mouse."""
        bits = 1 << np.arange(len(MOUSE_BUTTONS))
        motion, wheel = inputs.motion[ticks], inputs.wheel[ticks]
        lost["motion beyond range"] += int(MOTION.is_clipped(motion).sum())
        lost["wheel beyond range"] += int((np.abs(wheel) > MAX_WHEEL).sum())
        tokens[ticks, 0] = self.ids["buttons:0"] + inputs.held[ticks, MOUSE_COLUMNS] @ bits
        tokens[ticks, 1:3] = self.motion_ids[0] + MOTION.encode(motion)
        tokens[ticks, 3:5] = self.ids["wheel:0"] + wheel.clip(-MAX_WHEEL, MAX_WHEEL)[:, ::-1]
        self._fill_list(tokens, KEY_SLOTS, inputs.held[:, KEY_COLUMNS] & ticks[:, None], lost)

    def _fill_gamepad(self, tokens: Rows, inputs: InputColumns, ticks: Mask, lost: Counter[str]) -> None:
        """Tokens of the ticks that are played on a gamepad."""
        beside = inputs.held[:, : PAD_COLUMNS.start].any(axis=1) | inputs.motion.any(axis=1) | inputs.wheel.any(axis=1)
        lost["keyboard or mouse beside a gamepad"] += int((beside & ticks).sum())
        right_then_left = inputs.axes[ticks][:, [2, 3, 0, 1, 4, 5]]
        tokens[ticks, 0] = self.gamepad_id
        tokens[ticks, 1:7] = self.ids["axis:0"] + np.rint(right_then_left * STICK_STEPS).astype(np.int64)
        self._fill_list(tokens, PAD_BUTTON_SLOTS, inputs.held[:, PAD_COLUMNS] & ticks[:, None], lost)

    def _fill_list(self, tokens: Rows, slots: range, held: Mask, lost: Counter[str]) -> None:
        """The sorted list of what is held; held bool (T, controls), in the order of the vocabulary."""
        first = self.ids[KEYS[0]] if slots == KEY_SLOTS else self.ids[GAMEPAD_BUTTONS[0]]
        ticks, controls = np.nonzero(held)
        places = np.arange(len(ticks)) - np.searchsorted(ticks, ticks)
        kept = places < len(slots)
        lost["more held than slots"] += int((~kept).sum())
        tokens[ticks[kept], slots.start + places[kept]] = first + controls[kept]

    def decode(self, tokens: Iterable[int] | Tokens) -> InputState:
        """Inverse of `encode`. Raises ActionError on tokens that no state encodes to."""
        row = np.asarray(list(tokens), dtype=np.int64)
        self._check(row)
        names = [self.vocabulary[token] for token in row.tolist()]
        amounts = [int(name.partition(":")[2] or 0) for name in names]
        if names[0] == "gamepad":
            axes = [level / STICK_STEPS for level in amounts]
            held = frozenset(names[PAD_BUTTON_SLOTS.start :]) - {"none"}
            return InputState(gamepad=Gamepad(held, (axes[3], axes[4]), (axes[1], axes[2]), (axes[5], axes[6])))
        return InputState(
            keys=frozenset(names[KEY_SLOTS.start : KEY_SLOTS.stop]) - {"none"},
            buttons=frozenset(name for bit, name in enumerate(MOUSE_BUTTONS) if amounts[0] >> bit & 1),
            motion=(amounts[1], amounts[2]),
            wheel=(amounts[4], amounts[3]),
        )

    def _encode_gamepad(self, state: InputState, pad: Gamepad, lost: Counter[str]) -> Tokens:
        if state.keys or state.buttons or any(state.motion) or any(state.wheel):
            lost["keyboard or mouse beside a gamepad"] += 1
        tokens = np.zeros(NUM_SLOTS, dtype=np.int64)
        tokens[0] = self.gamepad_id
        axes = (*pad.right_stick, *pad.left_stick, *pad.triggers)
        tokens[1:7] = [self.ids[f"axis:{round(axis * STICK_STEPS)}"] for axis in axes]
        self._encode_list(tokens, PAD_BUTTON_SLOTS, pad.buttons, lost)
        return tokens

    def _encode_list(self, tokens: Tokens, slots: range, held: frozenset[str], lost: Counter[str]) -> None:
        ordered = sorted(self.ids[name] for name in held)
        lost["more held than slots"] += max(0, len(ordered) - len(slots))
        kept = ordered[: len(slots)]
        tokens[slots.start : slots.start + len(kept)] = kept

    def _check(self, row: Tokens) -> None:
        if row.shape != (NUM_SLOTS,) or row.min() < 0 or row.max() >= self.vocabulary_size:
            raise ActionError("not the action tokens of a tick", got=row.tolist(), expected=f"{NUM_SLOTS} token ids")
        device = int(row[0] == self.gamepad_id)
        in_order = (row[1:] > row[:-1]) | (row[1:] == 0)
        if not self.legal[device, np.arange(NUM_SLOTS), row].all() or not in_order[self.is_list_slot[device, 1:]].all():
            raise ActionError("action tokens that no input state encodes to", got=[self.vocabulary[t] for t in row])

    # ------------------------------------------------------------------ identity

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over vocabulary and grammar: two spaces with one fingerprint have one codec."""
        text = json.dumps([self.vocabulary, np.flatnonzero(self.legal).tolist()], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """JSON form, stored in checkpoints and served to clients."""
        return {
            "version": self.version,
            "num_tokens": self.num_tokens,
            "vocabulary": list(self.vocabulary),
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises CheckpointError if `data` describes another codec than this code's."""
        space = cls(version=data.get("version", 0))
        if data.get("fingerprint") != space.fingerprint:
            got, expected = str(data.get("fingerprint"))[:12], space.fingerprint[:12]
            do = "Load it with the gi-model version that wrote it, or train a checkpoint with this one."
            raise CheckpointError("checkpoint of another action space", got=got, expected=expected, do=do)
        return space
