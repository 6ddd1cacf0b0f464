"""Laws of throughput: figures are proportional to the rate, and a peak is a peak."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_model.config import preset
from gi_model.flops import count
from gi_train.throughput import Throughput, matmul_peak

CPU = torch.device("cpu")
DEBUG = preset("debug")


@pytest.fixture(scope="module")
def throughput() -> Throughput:
    return Throughput(DEBUG, world_size=2, device=CPU, dtype=torch.float32)


@settings(deadline=None)
@given(rate=st.floats(1, 1e6), times=st.floats(1, 100))
def test_figures_are_proportional_to_the_rate(throughput: Throughput, rate: float, times: float) -> None:
    once, more = throughput.facts(rate), throughput.facts(rate * times)
    for name in ("tokens_per_s", "mfu"):
        assert more[name] == pytest.approx(times * once[name])


def test_a_run_that_only_multiplied_would_use_all_of_its_devices(throughput: Throughput) -> None:
    frames_per_s = throughput.peak_flops / throughput.flops_per_tick
    assert throughput.facts(frames_per_s)["mfu"] == pytest.approx(1.0)


def test_a_tick_is_its_frame_tokens_and_its_action_tokens(throughput: Throughput) -> None:
    assert throughput.facts(10.0)["tokens_per_s"] == 10 * (DEBUG.tokens_per_frame + 14)


def test_a_product_of_matrices_takes_what_the_peak_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that gives each size a second, the largest size is the fastest."""
    monkeypatch.setattr("gi_train.throughput._seconds_on_cpu", lambda _: 1.0)
    monkeypatch.setattr("gi_train.throughput.BUDGET_S", 0.0)
    assert matmul_peak(CPU, torch.float32) == 2 * 1024**3
    assert matmul_peak(CPU, torch.bfloat16) == 2 * 1024**3


def test_a_rate_means_more_work_in_longer_windows(throughput: Throughput) -> None:
    longer = Throughput(DEBUG.replace(window_ticks=64), world_size=2, device=CPU, dtype=torch.float32, window_ticks=64)
    assert longer.flops_per_tick > throughput.flops_per_tick == count(DEBUG).training(DEBUG.window_ticks)
