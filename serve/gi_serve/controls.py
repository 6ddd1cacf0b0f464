"""The binary record of an input state: 48 bytes that any engine's client can read with one struct and press.

    flags u8 (1: gamepad) · mouse buttons u8, bit mask · held keys u8, count · 0 u8
    key ids 8 x u8 · motion dx, dy i16 · wheel dx, dy i16 · gamepad buttons u32, bit mask
    left stick x, y · right stick x, y · triggers left, right: f32 each

Key id: 1 + index in `gi_model.actions.KEYS`, ascending, then zeros; bits: index in MOUSE_BUTTONS and GAMEPAD_BUTTONS.
Both ways are cached: a player holds few distinct states. The cursor has no field: no action space predicts one. Nor
have commands of direct actuators, which hardly repeat: an action message carries them beside its records.
"""

import struct
from functools import lru_cache
from typing import Final

import numpy as np

from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, ActionSpace, Gamepad, InputState
from gi_model.errors import ActionError, ServeError

MAX_KEYS: Final = 8
_RECORD: Final = struct.Struct("<BBBx8s2h2hI6f")
RECORD_SIZE: Final = _RECORD.size
_KEY_ID: Final = {key: index + 1 for index, key in enumerate(KEYS)}
_GAMEPAD: Final = 1


@lru_cache(maxsize=16384)
def decode_tokens(space: ActionSpace, tokens: bytes) -> InputState:
    """`space.decode` of int64 token bytes; cached like the rest."""
    return space.decode(np.frombuffer(tokens, np.int64))


@lru_cache(maxsize=16384)
def pack_state(state: InputState) -> bytes:
    """48 bytes of `state`. Raises ServeError on what the record cannot hold (more than 8 keys, a cursor, commands)."""
    if state.cursor is not None or state.commands or len(state.keys) > MAX_KEYS:
        expected = f"{MAX_KEYS} keys, no cursor, no commands"
        raise ServeError("input state does not fit its record", got=state, expected=expected)
    pad = state.gamepad or Gamepad()
    try:
        return _RECORD.pack(
            _GAMEPAD * (state.gamepad is not None),
            _to_mask(state.buttons, MOUSE_BUTTONS),
            len(state.keys),
            bytes(sorted(_KEY_ID[key] for key in state.keys)),
            *state.motion,
            *state.wheel,
            _to_mask(pad.buttons, GAMEPAD_BUTTONS),
            *(axis + 0.0 for axis in (*pad.left_stick, *pad.right_stick, *pad.triggers)),  # + 0.0: no negative zero
        )
    except struct.error as error:
        raise ServeError("motion does not fit its record", got=state.motion, expected="16 bits") from error


@lru_cache(maxsize=16384)
def unpack_state(record: bytes) -> InputState:
    """Inverse of `pack_state`. Raises ServeError on bytes that no state packs to."""
    try:
        flags, buttons, _num_keys, key_ids, dx, dy, wheel_x, wheel_y, pad_mask, *axes = _RECORD.unpack(record)
        pad = None
        if flags:
            held = _from_mask(pad_mask, GAMEPAD_BUTTONS)
            pad = Gamepad(held, (axes[0], axes[1]), (axes[2], axes[3]), (axes[4], axes[5]))
        keys = frozenset(KEYS[key_id - 1] for key_id in key_ids if key_id)
        state = InputState(keys, _from_mask(buttons, MOUSE_BUTTONS), (dx, dy), (wheel_x, wheel_y), None, pad)
    except (struct.error, IndexError, ActionError) as error:
        raise ServeError("not an input state", got=record[:RECORD_SIZE].hex(), do=str(error)) from error
    if pack_state(state) != record:  # flags, counts, order, and padding that no state packs to
        raise ServeError("not an input state", got=record.hex(), expected="the one record of a state")
    return state


def _to_mask(names: frozenset[str], order: tuple[str, ...]) -> int:
    return sum(1 << bit for bit, name in enumerate(order) if name in names)


def _from_mask(mask: int, order: tuple[str, ...]) -> frozenset[str]:
    if mask >> len(order):
        raise ActionError("unknown bit in a button mask", got=bin(mask), expected=f"{len(order)} bits")
    return frozenset(name for bit, name in enumerate(order) if mask >> bit & 1)
