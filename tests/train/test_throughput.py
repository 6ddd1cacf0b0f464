"""Laws of throughput: figures are proportional to the rate, FLOPs are those of a real step, a peak is a peak."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gi_model.config import PolicyConfig, preset
from gi_model.policy import Policy
from gi_train.throughput import Throughput, matmul_peak, training_flops
from tests.model.factories import random_batch

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


@pytest.mark.parametrize(
    "config",
    [DEBUG, DEBUG.replace(past_actions="none", tokens_per_frame=2), DEBUG.replace(encoder="resnet10t")],
    ids=["stem", "two tokens", "timm"],
)
def test_flops_are_those_of_a_step_with_real_numbers(config: PolicyConfig) -> None:
    policy = Policy(config)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # fused: counts what it does twice
        loss, _ = policy(random_batch(3, 4, config))
        loss.backward()
    assert training_flops(config, 4) == pytest.approx(counter.get_total_flops() / 12)


def test_a_backward_pass_costs_at_most_two_forward_passes() -> None:
    policy = Policy(DEBUG)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        policy(random_batch(1, 8, DEBUG))
    forward = counter.get_total_flops() / 8
    assert 2.5 * forward < training_flops(DEBUG, 8) <= 3 * forward


def test_longer_windows_cost_more_a_tick_only_by_attention() -> None:
    """Scores and values, a multiply and an add each, for every tick more that a tick is compared with; thrice."""
    short, long = training_flops(DEBUG, 4), training_flops(DEBUG, 8)
    assert long - short == pytest.approx(3 * 2 * 2 * DEBUG.dim * 4 * DEBUG.num_layers)
