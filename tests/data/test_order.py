from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_data.order import OrderConfig, Place, WindowOrder, num_windows
from gi_model.errors import CorpusError

T = 8


def make(
    num_ticks: list[int],
    num_streams: int = 1,
    *,
    block_ticks: int = 200,
    shift: bool = True,
    shares: list[float] | None = None,
) -> WindowOrder:
    """Clips dealt to the streams in turn."""
    streams = [np.arange(first, len(num_ticks), num_streams) for first in range(num_streams)]
    config = OrderConfig(seed=3, window_ticks=T, block_ticks=block_ticks, shift=shift)
    return WindowOrder(streams, np.array(num_ticks), config, shares=shares or [1.0] * num_streams)


lengths = st.lists(st.integers(T, 90), min_size=1, max_size=30)


@given(lengths, st.integers(0, 3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_an_epoch_cuts_every_clip_into_windows_that_do_not_overlap(ticks: list[int], epoch: int, shift: bool) -> None:
    order = make(ticks, shift=shift)
    first = epoch * order.num_windows
    used: Counter[tuple[int, int]] = Counter()
    for position in range(first, first + order.num_windows):
        clip_id, start = order.place(position)
        assert 0 <= start <= ticks[clip_id] - T
        used.update((clip_id, tick) for tick in range(start, start + T))
    assert set(used.values()) == {1}
    assert {clip_id for clip_id, _ in used} == set(range(len(ticks)))


@given(lengths)
@settings(max_examples=30, deadline=None)
def test_without_shift_an_epoch_leaves_out_less_than_a_window_of_each_clip(ticks: list[int]) -> None:
    order = make(ticks, shift=False)
    assert order.num_windows == sum(length // T for length in ticks)
    starts = {order.place(position) for position in range(order.num_windows)}
    assert starts == {Place(i, T * w) for i, length in enumerate(ticks) for w in range(length // T)}


@given(lengths, st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_window_depends_on_its_position_alone(ticks: list[int], position: int) -> None:
    walked, fresh = make(ticks * 3, 3), make(ticks * 3, 3)
    for before in range(max(0, position - 50), position):
        walked.place(before)
    assert walked.place(position) == fresh.place(position)


def test_streams_have_equal_shares_in_every_stretch() -> None:
    order = make([40, 400, 1000] * 2, num_streams=3)
    for first in range(0, 3000, 300):
        games = Counter(order.place(position).clip_id % 3 for position in range(first, first + 300))
        assert games == {0: 100, 1: 100, 2: 100}


@pytest.mark.parametrize("num_ranks", [2, 3, 4])
def test_every_rank_meets_every_stream(num_ranks: int) -> None:
    order = make([90] * 12, num_streams=num_ranks)
    for rank in range(num_ranks):
        games = Counter(
            order.place(position).clip_id % num_ranks for position in range(rank, 900 * num_ranks, num_ranks)
        )
        assert min(games[stream] for stream in range(num_ranks)) > 900 / num_ranks / 2


def test_epochs_shift_windows_so_that_every_tick_comes_first_once() -> None:
    order = make([30])
    starts = {order.place(position).start for position in range(200 * order.num_windows)}
    assert starts == set(range(30 - T + 1))


def test_epochs_come_in_different_orders() -> None:
    order = make([90] * 6)
    first = [order.place(position) for position in range(order.num_windows)]
    second = [order.place(position + order.num_windows) for position in range(order.num_windows)]
    assert first != second
    assert [clip for clip, _ in first] != sorted(clip for clip, _ in first)


def test_few_clips_are_needed_at_a_time() -> None:
    """Within as many windows as a block holds, at most the clips of two blocks are touched."""
    order = make([100] * 200, block_ticks=1000)
    block = order.num_windows // 20
    for first in range(0, 3 * order.num_windows, 37):
        clips = {order.place(position).clip_id for position in range(first, first + block)}
        assert len(clips) <= 20 + 2  # a clip that crosses the edge of a block belongs to it


def test_another_seed_is_another_order() -> None:
    ticks, clips = np.full(20, 90), np.arange(20)
    orders = [WindowOrder([clips], ticks, OrderConfig(seed, T, 500), shares=[1]) for seed in (1, 2)]
    places = [[order.place(position) for position in range(50)] for order in orders]
    assert places[0] != places[1]


def test_short_clips_are_left_out_and_none_left_is_an_error() -> None:
    order = make([T - 1, 40])
    assert {order.place(position).clip_id for position in range(50)} == {1}
    with pytest.raises(CorpusError, match="as long as a window"):
        make([T - 1, 3])


@given(st.integers(T, 500))
def test_windows_fit_behind_every_phase(ticks: int) -> None:
    count = int(num_windows(np.array([ticks]), T, shift=True)[0])
    assert count >= 1
    assert count * T <= ticks
    assert ticks - count * T >= T - 1 or count == 1


# ---------------------------------------------------------------------- shares and lanes


def test_streams_have_their_shares_in_every_stretch() -> None:
    order = make([40, 400, 1000] * 2, num_streams=3, shares=[0.1, 0.3, 0.6])
    assert order.shares == [0.1, 0.3, 0.6]
    for first in range(0, 3000, 300):
        games = Counter(order.place(position).clip_id % 3 for position in range(first, first + 300))
        assert games == {0: 30, 1: 90, 2: 180}


@given(lengths, st.lists(st.floats(0.2, 5), min_size=2, max_size=2))
@settings(max_examples=30, deadline=None)
def test_each_stream_covers_its_windows_once_an_epoch_whatever_its_share(ticks: list[int], shares: list[float]) -> None:
    ticks = ticks * 2
    order = make(ticks, 2, shift=False, shares=shares)
    for stream in range(2):
        expected = Counter(
            Place(i, T * w) for i, length in enumerate(ticks) if i % 2 == stream for w in range(length // T)
        )
        seen = (place for place in map(order.place, range(10**6)) if place.clip_id % 2 == stream)
        assert Counter(next(seen) for _ in range(expected.total())) == expected


def clips_by_rank(order: WindowOrder, num_ranks: int, count: int) -> list[set[int]]:
    return [{order.place(position).clip_id for position in range(rank, count, num_ranks)} for rank in range(num_ranks)]


@pytest.mark.parametrize("num_ranks", [2, 4, 8, 16])
def test_ranks_touch_different_clips(num_ranks: int) -> None:
    """Of a block of 64 clips in two streams: at each of the seams between ranks one clip is read by both."""
    order = make([200] * 64, 2, block_ticks=10**6)
    touched = clips_by_rank(order, num_ranks, order.num_windows)
    assert sum(map(len, touched)) <= 64 + 2 * 2 * num_ranks
    assert max(map(len, touched)) <= 64 / num_ranks + 5


@pytest.mark.parametrize("size", [8, 20, 64])
def test_batches_are_mixed_though_ranks_are_apart(size: int) -> None:
    """As many different clips in a batch as a random draw would have, or more."""
    order = make([200] * 64, 2, block_ticks=10**6)
    batches = range(0, order.num_windows - size, size)
    found = np.mean([len({order.place(p).clip_id for p in range(first, first + size)}) for first in batches])
    assert found >= 0.98 * 64 * (1 - (1 - 1 / 64) ** size)
