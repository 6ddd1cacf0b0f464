"""What people type never reaches the disk; what they play with bound keys always does."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_data.ingest.default_bindings import EVERY_DEVICE, KEYBOARD_MOUSE
from gi_data.ingest.events import Event, Press, Release, Snapshot
from gi_data.ingest.privacy import PRINTABLE, find_typed, ticks_within
from gi_model.actions import Bindings

SECOND = 1_000_000_000
BOUND = sorted(set(KEYBOARD_MOUSE.digital.values()))
WORDS = (
    *("hello", "meet", "at", "the", "bridge", "my", "password", "is", "hunter2", "bank", "pin", "tomorrow", "please"),
    *("push", "mid", "noob", "lol", "john", "street", "phone", "number", "call", "mum", "xyzzy", "quickly", "behind"),
)
BOUND_WORDS = ("we", "are", "sad", "a", "reed", "was", "fed", "2", "dear")

typists = st.builds(
    lambda words, gaps, ends: (" ".join(words), gaps, ends),
    st.lists(st.sampled_from(WORDS), min_size=3, max_size=12),
    st.lists(st.floats(0.05, 0.6), min_size=1, max_size=7),
    st.booleans(),
)
play = st.lists(st.tuples(st.floats(0.0, 0.4), st.sampled_from(BOUND), st.floats(0.01, 2.0)), max_size=60)


def key_of(letter: str) -> str:
    return "Space" if letter == " " else f"Digit{letter}" if letter.isdigit() else f"Key{letter.upper()}"


def typing(text: str, start_s: float, gaps: list[float], *, enter: bool) -> list[Event]:
    """Press and release of every letter."""
    events: list[Event] = []
    t_s = start_s
    for number, letter in enumerate([*map(key_of, text), *(["Enter"] if enter else [])]):
        t_s += gaps[number % len(gaps)]
        events += [Press(round(t_s * SECOND), letter), Release(round((t_s + 0.04) * SECOND), letter)]
    return events


def playing(moves: list[tuple[float, str, float]], start_s: float) -> list[Event]:
    events: list[Event] = []
    t_s = start_s
    for gap, control, held in moves:
        t_s += gap
        events += [Press(round(t_s * SECOND), control), Release(round((t_s + held) * SECOND), control)]
    return sorted(events, key=lambda event: event.t_ns)


def in_order(*groups: list[Event]) -> list[Event]:
    return sorted((event for group in groups for event in group), key=lambda event: event.t_ns)


def is_hidden(events: list[Event], stretches: tuple[tuple[int, int], ...]) -> bool:
    """Whether each event lies in a stretch, with some margin."""
    return all(
        any(a < event.t_ns - SECOND // 4 and event.t_ns + SECOND // 4 < b for a, b in stretches) for event in events
    )


@given(play, typists, play)
def test_no_key_of_a_typed_sentence_survives(
    before: list[tuple[float, str, float]],
    sentence: tuple[str, list[float], bool],
    after: list[tuple[float, str, float]],
) -> None:
    text, gaps, ends = sentence
    typed = typing(text, 40.0, gaps, enter=ends)
    events = in_order(playing(before, 10.0), typed, playing(after, typed[-1].t_ns / SECOND + 1))
    found = find_typed(events, EVERY_DEVICE)
    if len(set(text) - set("wasderqf 0123456789")) >= 3:
        assert is_hidden(typed, found.stretches)


@given(play)
def test_play_on_bound_keys_is_never_cut(moves: list[tuple[float, str, float]]) -> None:
    found = find_typed(playing(moves, 0.0), KEYBOARD_MOUSE)
    assert found.stretches == ()
    assert found.unbound_presses == 0


@given(play, st.sampled_from(["KeyG", "KeyV", "KeyM", "Backspace"]), st.integers(1, 30))
def test_one_key_that_is_not_bound_is_not_typing(
    moves: list[tuple[float, str, float]], control: str, num_presses: int
) -> None:
    """A grenade, a map, a menu: however often, with 3 s between."""
    taps = playing([(3.0, control, 0.1)] * num_presses, 0.0)
    assert find_typed(in_order(taps, playing(moves, 0.0)), KEYBOARD_MOUSE).stretches == ()


@pytest.mark.parametrize(
    "text", ["we are sad dear", "gg wp", "asdf1234", "was at 22 reed road", "passw0rd", "qwerty12", "see me"]
)
def test_short_lines_are_found_by_the_enter_that_ends_them(text: str) -> None:
    """Opened and sent with Enter within a few seconds, as chats are, even if most of it is spelled with bound keys."""
    typed = [Press(10 * SECOND, "Enter"), *typing(text, 10.1, [0.15], enter=True)]
    assert is_hidden(typed, find_typed(typed, EVERY_DEVICE).stretches)


@pytest.mark.parametrize("word", ["password", "admin1234", "warcraft", "fortress"])
def test_a_word_with_two_such_letters_is_found_by_its_taps(word: str) -> None:
    """Typed without Enter, as into a form that is sent with the mouse."""
    typed = typing(word, 5.0, [0.2], enter=False)
    assert is_hidden(typed, find_typed(typed, EVERY_DEVICE).stretches)


def test_two_such_keys_while_others_are_held_are_play() -> None:
    """A grenade and a punch on the run."""
    run = playing([(0.7, key, 0.6) for key in ("KeyW", "KeyA", "KeyW", "KeyD", "KeyW", "KeyS") * 5], 0.0)
    fight = playing([(2.0, "KeyG", 0.1), (1.0, "KeyV", 0.1)] * 4, 0.0)
    assert find_typed(in_order(run, fight), KEYBOARD_MOUSE).stretches == ()


@given(st.lists(st.sampled_from(BOUND_WORDS), min_size=1, max_size=3), st.sampled_from(WORDS))
def test_words_of_bound_keys_around_a_word_that_is_not_go_with_it(words: list[str], tell: str) -> None:
    text = " ".join([*words, tell, "zxc", *words])
    typed = typing(text, 5.0, [0.2], enter=False)
    assert is_hidden(typed, find_typed(typed, EVERY_DEVICE).stretches)


def test_minutes_of_play_around_a_line_stay() -> None:
    """What is cut is the line and a few seconds, not all that is connected to it by walking."""
    walk = playing([(0.3, "KeyW", 0.1)] * 400, 0.0)
    typed = typing("push mid now", 60.0, [0.15], enter=True)
    (stretch,) = find_typed(in_order(walk, typed), EVERY_DEVICE).stretches
    line_s = (typed[-1].t_ns - typed[0].t_ns) / SECOND
    assert (stretch[1] - stretch[0]) / SECOND < line_s + 2 * (5.0 + 1.0) + 0.5


def test_keys_that_the_game_binds_are_play_there() -> None:
    typed = typing("gvcgvc", 1.0, [0.3], enter=False)
    assert find_typed(typed, KEYBOARD_MOUSE).stretches
    bound = Bindings({"grenade": "KeyG", "melee": "KeyV", "duck": "KeyC"})
    assert find_typed(typed, bound).stretches == ()


def test_formats_that_only_tell_what_is_held_are_searched_too() -> None:
    held = [frozenset({key_of(letter)}) for letter in "hunter2"]
    events = [Snapshot(n * SECOND // 5, "keyboard", keys) for n, keys in enumerate([*held, frozenset[str]()])]
    found = find_typed(events, EVERY_DEVICE)
    assert len(found.stretches) == 1
    assert found.unbound_presses == 4  # h, u, n, t


def test_a_key_that_repeats_while_held_is_one_press() -> None:
    events: list[Event] = [*(Press(n * SECOND // 30, "KeyG") for n in range(60)), Release(3 * SECOND, "KeyG")]
    found = find_typed(events, EVERY_DEVICE)
    assert (found.unbound_presses, found.stretches) == (1, ())


def test_a_flood_of_presses_takes_no_longer_than_reading_them() -> None:
    """A hostile log: all in one second, all of them signs; quadratic work would take hours."""
    letters = sorted(PRINTABLE)
    events = [Press(n, letters[n % len(letters)]) for n in range(50_000)]
    assert len(find_typed(events, Bindings()).stretches) == 1


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)).map(sorted), max_size=4),
    st.lists(st.integers(0, 100), min_size=2, max_size=30, unique=True).map(sorted),
)
def test_a_tick_is_cut_if_any_of_it_is(stretches: list[list[int]], edges: list[int]) -> None:
    pairs = [(a, b) for a, b in stretches if a < b]
    got = ticks_within(pairs, np.array(edges, dtype=np.int64)).tolist()
    want = [any(a < end and b > start for a, b in pairs) for start, end in pairwise(edges)]
    assert got == want
