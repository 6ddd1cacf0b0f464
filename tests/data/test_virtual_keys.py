"""Laws of the table of Windows virtual keys."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_data.ingest.virtual_keys import KEYS_BY_CODE, MOUSE_BY_CODE, SHARED, key_of, keys_of
from gi_model.actions import KEYS, MOUSE_BUTTONS

WITHOUT_A_CODE = {"NumpadEnter", "IntlYen"}  # Windows gives them the codes of Enter and Backslash


def test_every_key_of_a_windows_keyboard_is_reachable_by_one_code() -> None:
    assert sorted(KEYS_BY_CODE.values()) == sorted(set(KEYS) - WITHOUT_A_CODE)


def test_second_codes_are_codes_of_their_own_for_keys_that_have_one() -> None:
    assert not SHARED.keys() & KEYS_BY_CODE.keys()
    assert set(SHARED.values()) <= set(KEYS_BY_CODE.values())
    assert not MOUSE_BY_CODE.keys() & (SHARED.keys() | KEYS_BY_CODE.keys())
    assert sorted(MOUSE_BY_CODE.values()) == sorted(MOUSE_BUTTONS)


@pytest.mark.parametrize(
    ("code", "key"),
    [
        *[(ord("W"), "KeyW"), (ord("0"), "Digit0"), (0x60, "Numpad0"), (0x70, "F1"), (0x7B, "F12"), (0x20, "Space")],
        *[(0x25, "ArrowLeft"), (0x28, "ArrowDown"), (0x2D, "Insert"), (0x2E, "Delete"), (0x2C, "PrintScreen")],
        *[(0x5B, "MetaLeft"), (0x5D, "ContextMenu"), (0x6B, "NumpadAdd"), (0x6D, "NumpadSubtract")],
        *[(0x6F, "NumpadDivide"), (0x91, "ScrollLock"), (0xA1, "ShiftRight"), (0xA5, "AltRight"), (0xBA, "Semicolon")],
        *[(0xBF, "Slash"), (0xC0, "Backquote"), (0xC1, "IntlRo"), (0xDC, "Backslash"), (0xDE, "Quote")],
        *[(0x10, "ShiftLeft"), (0x11, "ControlLeft"), (0x12, "AltLeft"), (0x21, "PageUp"), (0x24, "Home")],
    ],
)
def test_codes_are_those_of_windows(code: int, key: str) -> None:
    assert key_of(code, Counter()) == key


@given(st.integers(-(2**31), 2**31))
def test_a_code_gives_a_key_or_is_counted(code: int) -> None:
    unknown = Counter[str]()
    assert (key_of(code, unknown) in KEYS) != (unknown.total() == 1)


@given(st.sets(st.integers(0, 255)))
def test_what_is_held_is_what_each_code_means_and_nothing_is_lost(codes: set[int]) -> None:
    unknown = Counter[str]()
    held = keys_of(codes, unknown)
    assert held <= set(KEYS)
    alone = {KEYS_BY_CODE[code] for code in codes if code in KEYS_BY_CODE}
    assert alone <= held
    assert unknown.total() == len(codes - KEYS_BY_CODE.keys() - SHARED.keys() - MOUSE_BY_CODE.keys())


@pytest.mark.parametrize(
    ("codes", "held"),
    [
        ({0x10, 0xA1}, {"ShiftRight"}),  # Windows says "a Shift, and it is the right one"
        ({0x10, 0xA0, 0xA1}, {"ShiftLeft", "ShiftRight"}),
        ({0x10}, {"ShiftLeft"}),
        ({0x11, 0xA3, 0x57}, {"ControlRight", "KeyW"}),
        ({0x01, 0x02}, set()),
    ],
)
def test_either_side_counts_only_alone_and_mouse_buttons_never(codes: set[int], held: set[str]) -> None:
    unknown = Counter[str]()
    assert keys_of(codes, unknown) == held
    assert not unknown
