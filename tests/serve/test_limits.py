"""Limits: never more than the rate and one second's worth, whatever the pattern; a bounded memory of who asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_model.errors import ConfigError
from gi_serve import limits
from gi_serve.limits import Bucket, Buckets, Limits
from gi_serve.problems import Problem


@given(st.floats(0.1, 500), st.lists(st.floats(0, 2), max_size=200))
def test_no_pattern_gets_more_than_the_rate(rate: float, pauses: list[float]) -> None:
    bucket, now, passed = Bucket(rate), 0.0, 0
    bucket._at = 0.0
    for pause in pauses:
        now += pause
        passed += bucket.take(now) == 0.0
    assert passed <= max(1.0, rate) + now * rate + 1e-6


@given(st.floats(0.1, 500), st.integers(1, 2000))
def test_who_waits_as_told_is_let_through(rate: float, num_asked: int) -> None:
    bucket, now = Bucket(rate), 0.0
    bucket._at = 0.0
    for _ in range(min(num_asked, 50)):
        if (wait_s := bucket.take(now)) > 0:
            now += wait_s + 1e-6
            assert bucket.take(now) == 0.0


def test_a_refusal_says_when_to_come_back() -> None:
    buckets = Buckets(0.5)
    buckets.check("a", "requests")
    with pytest.raises(Problem) as refused:
        buckets.check("a", "requests")
    assert (refused.value.kind.status, refused.value.retry_after_s) == (429, 2)
    buckets.check("b", "requests")


def test_no_rate_no_limit() -> None:
    for _ in range(1000):
        Buckets(None).check("a", "requests")


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MAX_BUCKETS", 3)
    buckets = Buckets(1.0)
    for name in "abcdef":
        buckets.check(name, "requests")
    assert len(buckets._buckets) == 3
    with pytest.raises(Problem):
        buckets.check("f", "requests")


@pytest.mark.parametrize("field", ["requests_per_s", "frames_per_s", "sessions_per_key"])
def test_a_limit_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        Limits(**{field: 0})
