"""Laws of the step's clock, and of naming who holds the others up."""

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gi_train.step_clock import SLOW, StepClock, describe_straggler, find_straggler

CPU = torch.device("cpu")
times = st.floats(0.01, 10)


def test_parts_add_up_and_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(now)))
    clock = StepClock(CPU)
    for name in ("fetch", "forward", "fetch"):
        with clock.part(name):
            pass
    assert clock.read() == {"fetch": 2.0, "forward": 1.0}
    assert clock.read() == {}


def test_a_reader_that_is_slow_is_named_with_its_reason() -> None:
    line = describe_straggler([[0.1, 1.0], [0.1, 1.0], [0.9, 1.0]])
    assert line
    assert "rank 2 " in line
    assert "1.7 x" in line
    assert "waits for data" in line


def test_a_processor_that_is_slow_is_named_with_its_reason() -> None:
    line = describe_straggler([[0.1, 2.0], [0.1, 1.0], [0.2, 1.0]])
    assert line
    assert "rank 0 " in line
    assert "computes slowly" in line


@given(middle=times, share=st.floats(0, 1), num=st.integers(2, 9))
def test_nobody_is_named_who_is_nearly_as_fast(middle: float, share: float, num: int) -> None:
    ranks = [[middle, 0.0]] * num + [[middle * (1 + share * (SLOW - 1)) * 0.999, 0.0]]
    assert describe_straggler(ranks) is None


@given(work=st.tuples(times, times))
def test_one_rank_alone_is_never_slow(work: tuple[float, float]) -> None:
    assert describe_straggler([work]) is None
    assert describe_straggler([[0.0, 0.0], [0.0, 0.0]]) is None


def test_ranks_give_what_is_their_own() -> None:
    """What all wait for together (backward, optimiser) says nothing about a rank."""
    parts = {"fetch": 1.0, "forward": 2.0, "backward": 50.0}
    line = find_straggler(parts, lambda own: torch.cat([own, own / 4, own / 4]), CPU)
    assert line
    assert "rank 0 " in line
    assert "4.0 x" in line
