"""Laws of the clock: nothing held is missed, nothing moved is lost, a stream at our rate comes out as it went in."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_data.ingest.events import Command, Deflect, Event, Label, Move, Press, Release, Snapshot, state_events
from gi_data.ingest.timeline import TimedFrame, frames_at, tick_edges, ticks
from gi_model.actions import Gamepad, InputState
from gi_model.errors import ClipError
from tests.model.strategies import commanded, gamepads, keyboards

MS = 1_000_000


def states(events: Sequence[Event], *edges_ms: int) -> list[InputState]:
    return [tick.state for tick in ticks(events, np.array(edges_ms, dtype=np.int64) * MS)]


@given(
    st.lists(keyboards, max_size=12) | st.lists(gamepads, max_size=12) | st.lists(commanded, max_size=12),
    st.sampled_from([16.0, 17.5, 20.0, 30.0]),
)
def test_a_stream_at_our_rate_is_unchanged(stream: list[InputState], fps: float) -> None:
    edges = tick_edges(7, 7 + round((len(stream) + 0.5) * 1e9 / fps), fps)
    assert len(edges) == len(stream) + 1
    rows = [(t_ns, state, True) for t_ns, state in zip(edges.tolist(), stream, strict=False)]
    assert [tick.state for tick in ticks(state_events(rows, end_ns=int(edges[-1])), edges)] == stream


@given(
    st.integers(0, 10**15), st.integers(0, 3000), st.sampled_from([7.0, 16.0, 17.5, 23.976, 29.97, 30.0, 59.94, 60.0])
)
def test_an_edge_ends_the_last_tick_before_it(start_ns: int, num_ticks: int, fps: float) -> None:
    edges = tick_edges(start_ns, start_ns + round(1e9 / fps) * 3001, fps)
    assert len(tick_edges(start_ns, int(edges[num_ticks]), fps)) == num_ticks + 1
    assert (np.abs(np.diff(edges) - 1e9 / fps) < 1.5).all()


@given(st.lists(keyboards, min_size=1, max_size=20), st.sampled_from([4.0, 7.0, 10.0, 13.3, 20.0, 60.0]))
def test_at_any_rate_nothing_held_is_missed_and_all_motion_stays(stream: list[InputState], fps: float) -> None:
    source = tick_edges(0, len(stream) * 50 * MS, 20.0)
    end_ns = int(source[-1])
    rows = [(t_ns, state, True) for t_ns, state in zip(source.tolist(), stream, strict=False)]
    edges = np.append(tick_edges(0, end_ns, fps), end_ns) if end_ns % round(1e9 / fps) else tick_edges(0, end_ns, fps)
    edges = np.unique(edges)
    got = list(ticks(state_events(rows, end_ns=end_ns), edges))
    for axis in (0, 1):
        assert sum(tick.state.motion[axis] for tick in got) == sum(state.motion[axis] for state in stream)
        assert sum(tick.state.wheel[axis] for tick in got) == sum(state.wheel[axis] for state in stream)
    for tick, end in zip(got, edges[1:].tolist(), strict=True):
        overlapping = [s for (t, s, _) in rows if t < end and t + 50 * MS > tick.t_ns]
        assert tick.state.held == frozenset[str]().union(*(state.held for state in overlapping))


def test_commands_hold_until_the_next_and_the_last_of_a_tick_counts() -> None:
    """None at all ends a tick that had some without taking them away, as a released key does."""
    told = [Command(10 * MS, (1.0,)), Command(60 * MS, (2.0,)), Command(70 * MS, (3.0,)), Command(160 * MS, ())]
    got = states(told, 0, 50, 100, 150, 200, 250)
    assert [state.commands for state in got] == [(1.0,), (3.0,), (3.0,), (3.0,), ()]


def test_a_tap_within_a_tick_stays_and_ends_with_it() -> None:
    got = states([Press(60 * MS, "Space"), Release(80 * MS, "Space")], 0, 50, 100, 150)
    assert [set(state.keys) for state in got] == [set(), {"Space"}, set()]


def test_a_release_at_the_edge_belongs_to_the_tick_before() -> None:
    got = states([Press(0, "KeyW"), Move(50 * MS, 1, 0), Release(50 * MS, "KeyW")], 0, 50, 100)
    assert [set(state.keys) for state in got] == [{"KeyW"}, set()]


def test_snapshots_repair_missing_releases_and_presses_of_their_device_only() -> None:
    events: list[Event] = [
        Press(0, "KeyW"),
        Press(0, "MouseLeft"),
        Snapshot(60 * MS, "keyboard", frozenset({"KeyA"})),
    ]
    got = states(events, 0, 50, 100, 150)
    assert [set(state.held) for state in got] == [
        {"KeyW", "MouseLeft"},
        {"KeyW", "KeyA", "MouseLeft"},
        {"KeyA", "MouseLeft"},
    ]


def test_what_happened_before_the_first_tick_is_held_but_did_not_move() -> None:
    got = states([Press(0, "KeyW"), Move(0, 5, 5), Move(90 * MS, 100, 0, 20 * MS)], 100, 150)
    assert got == [InputState(keys=frozenset({"KeyW"}), motion=(50, 0))]


def test_a_gamepad_that_lies_on_the_table_does_not_hide_the_keyboard() -> None:
    events: list[Event] = [
        Deflect(0, left_stick=(1.0, 0.0)),
        Deflect(60 * MS, left_stick=(0.05, 0.0)),
        Press(110 * MS, "KeyW"),
        Release(120 * MS, "KeyW"),
    ]
    got = states(events, 0, 50, 100, 150, 200)
    assert [state.gamepad is not None for state in got] == [True, True, False, False]
    assert got[0].gamepad == Gamepad(left_stick=(1.0, 0.0))


def test_a_tick_is_known_only_if_all_of_it_is() -> None:
    edges = np.arange(4, dtype=np.int64) * 50 * MS
    got = [tick.known for tick in ticks([Label(10 * MS, False), Label(60 * MS, True)], edges)]
    assert got == [False, False, True]


def test_events_out_of_order_are_refused() -> None:
    with pytest.raises(ClipError, match="order of time"):
        states([Press(60 * MS, "KeyW"), Press(10 * MS, "KeyA")], 0, 50, 100)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=30), st.lists(st.integers(0, 100), max_size=30))
def test_each_time_shows_the_newest_frame_not_after_it(gaps: list[int], steps: list[int]) -> None:
    stamps = np.cumsum(gaps).tolist()
    times = np.cumsum(steps).tolist()
    converted: list[int] = []

    def frame(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        converted.append(number)
        return np.full((1, 1, 3), number, dtype=np.uint8)

    timed = [TimedFrame(t_ns, partial(frame, number)) for number, t_ns in enumerate(stamps)]
    shown = [int(picture[0, 0, 0]) for picture in frames_at(timed, times)]
    assert shown == [max(0, int(np.searchsorted(stamps, t, side="right")) - 1) for t in times]
    assert converted == sorted(set(shown))
