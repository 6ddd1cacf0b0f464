"""Laws of learning rates: pure, never above the peak, and a trunk that does not know how long the run will be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_train.config import TrainConfig
from gi_train.schedule import DECAY, FINAL, lr_at

COSINE = TrainConfig(steps=1000, warmup_steps=100, lr_peak=1e-3)
WSD = COSINE.replace(schedule="wsd")


@pytest.mark.parametrize("config", [COSINE, WSD])
def test_it_rises_in_a_line_to_the_peak_and_ends_at_a_hundredth(config: TrainConfig) -> None:
    assert lr_at(config, 0) == pytest.approx(1e-5)
    assert lr_at(config, 49) == pytest.approx(5e-4)
    assert lr_at(config, 100) == pytest.approx(1e-3)
    assert lr_at(config, 1000) == pytest.approx(1e-3 * FINAL)


@given(
    steps=st.integers(1, 5000),
    warmup_steps=st.integers(0, 6000),
    wsd=st.booleans(),
    step=st.integers(0, 10_000),
)
def test_it_is_positive_and_never_above_the_peak_nor_rises_again(
    steps: int, warmup_steps: int, wsd: bool, step: int
) -> None:
    config = TrainConfig(steps=steps, warmup_steps=warmup_steps, schedule="wsd" if wsd else "cosine")
    now, after = lr_at(config, step), lr_at(config, step + 1)
    assert 0 < now <= config.lr_peak * (1 + 1e-12)
    if step >= warmup_steps:
        assert after <= now


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert lr_at(COSINE, 550) == pytest.approx(1e-3 * (FINAL + (1 - FINAL) / 2))


def test_wsd_stays_at_the_peak_until_its_last_fifth_then_falls_steeply_first() -> None:
    assert {lr_at(WSD, step) for step in range(100, 801)} == {1e-3}
    quarter = lr_at(WSD, 800 + round(DECAY * 1000 / 4))
    assert quarter == pytest.approx(1e-3 * (FINAL + (1 - FINAL) / 2))


def test_a_longer_run_shares_the_trunk_of_a_shorter_one() -> None:
    longer = WSD.replace(steps=3000)
    assert all(lr_at(WSD, step) == lr_at(longer, step) for step in range(800))
    assert any(lr_at(COSINE, step) != lr_at(COSINE.replace(steps=3000), step) for step in range(800))


def test_the_config_asks_the_schedule() -> None:
    assert [WSD.lr_at(step) for step in (3, 500, 990)] == [lr_at(WSD, step) for step in (3, 500, 990)]
