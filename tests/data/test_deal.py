from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_data.deal import TOLERANCE, Deal, quotas
from gi_model.errors import ConfigError

shares = st.lists(st.floats(0.01, 100), min_size=1, max_size=12)


@given(shares)
@settings(max_examples=60, deadline=None)
def test_quotas_come_close_to_the_shares_and_leave_nobody_out(wanted: list[float]) -> None:
    got = np.array(quotas(wanted))
    assert got.min() >= 1
    assert np.abs(got / got.sum() - np.array(wanted) / sum(wanted)).sum() / 2 <= TOLERANCE


@pytest.mark.parametrize(
    ("wanted", "expected"), [([1], (1,)), ([2, 2, 2], (1, 1, 1)), ([1, 3], (1, 3)), ([0.4, 0.4, 0.2], (2, 2, 1))]
)
def test_groups_are_as_small_as_they_can_be(wanted: list[float], expected: tuple[int, ...]) -> None:
    assert quotas(wanted) == expected


@pytest.mark.parametrize("wanted", [[], [1, 0], [1, -1], [1, float("nan")], [float("inf"), 1]])
def test_shares_that_are_none_are_refused(wanted: list[float]) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        quotas(wanted)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 5000), st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_places_and_positions_are_inverse(counts: list[int], first: int, count: int) -> None:
    deal = Deal(7, counts)
    for stream_id in range(len(counts)):
        positions = deal.positions(stream_id, first, count)
        assert [deal.place(int(p)) for p in positions[:20]] == [(stream_id, first + i) for i in range(min(20, count))]
        assert len(positions) == count
        assert (np.diff(positions) > 0).all()


def test_every_group_is_shared_out_exactly_and_in_another_sequence() -> None:
    deal = Deal(1, (1, 2, 4))
    groups = [tuple(deal.place(position)[0] for position in range(7 * g, 7 * g + 7)) for g in range(300)]
    assert all(Counter(group) == {0: 1, 1: 2, 2: 4} for group in groups)
    assert len(set(groups)) > 60  # of 105
