"""The counts of `gi_model.flops` against torch's own counter on real modules."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gi_model.config import PRESETS, PolicyConfig
from gi_model.flops import Flops, Parts, count, visible_ticks
from gi_model.policy import Policy
from tests.model.factories import DEBUG, make_policy, random_batch, random_frames

HYBRID = DEBUG.replace(encoder="hybrid", height=64, width=72, encoder_dim=64, tokens_per_frame=2, decoder_layers=2)
CONFIGS = {
    "stem": DEBUG,
    "hybrid": HYBRID,
    "blind": HYBRID.replace(past_actions="none"),
    "odd sizes": DEBUG.replace(height=50, width=70, dim=48, num_heads=6, num_kv_heads=3),
    "vit": DEBUG.replace(encoder="vit_tiny_patch16_224", height=32, width=48),
    "convnet": DEBUG.replace(encoder="resnet10t", height=64, width=64),
}


@pytest.fixture(params=list(CONFIGS.values()), ids=list(CONFIGS))
def config(request: pytest.FixtureRequest) -> PolicyConfig:
    return request.param  # type: ignore[no-any-return]


def dense(counted: Flops, num_ticks: int) -> Parts:
    """With the whole square of attention, hidden pairs too: what a kernel with a mask computes."""
    return counted._with_attention(num_ticks)


def test_a_training_window_counts_what_torch_counts(config: PolicyConfig) -> None:
    policy, batch, counter = (
        make_policy(config).train().requires_grad_(False),
        random_batch(2, 7, config),
        FlopCounterMode(display=False),
    )
    with counter:
        policy(batch)
    assert counter.get_total_flops() == pytest.approx(2 * 7 * dense(count(config), 7).total, rel=1e-9)


def test_a_step_counts_what_torch_counts(config: PolicyConfig) -> None:
    policy, counter = make_policy(config).train().requires_grad_(False), FlopCounterMode(display=False)
    state = policy.empty_state(3)
    with counter:
        features = policy.step_features(random_frames(2, config=config), state, torch.tensor([2, 0]))
        policy.decoder.score(features, torch.zeros(2, policy.space.num_tokens, dtype=torch.long))
    assert counter.get_total_flops() == pytest.approx(2 * count(config).streaming.total, rel=1e-9)


def test_parameters_by_part_sum_to_the_policys(config: PolicyConfig) -> None:
    counted = count(config)
    assert counted.num_parameters == sum(parameter.numel() for parameter in make_policy(config).parameters())
    assert set(counted.parameters) == {name for name, _ in make_policy(config).named_children()}


def test_a_cache_weighs_what_a_state_holds() -> None:
    caches = make_policy(HYBRID).empty_state(1).caches
    held = sum(tensor.nbytes for cache in caches for tensor in (cache.keys, cache.values))
    assert count(HYBRID).cache_bytes(bytes_per_number=4) == held


@pytest.mark.parametrize(("window", "lookahead", "ticks"), [(5, 0, 3), (5, 0, 11), (4, 2, 9), (3, 3, 2)])
def test_visible_ticks_are_those_of_the_mask(window: int, lookahead: int, ticks: int) -> None:
    from gi_model.attention_mask import window_mask

    config = DEBUG.replace(window_ticks=window, lookahead_ticks=lookahead, past_actions="none")
    assert visible_ticks(config, ticks) == int(window_mask(torch.arange(ticks), window, lookahead).sum())


def test_training_costs_three_forward_passes_and_a_long_window_as_much_as_a_step() -> None:
    counted = count(DEBUG)
    assert counted.training(6) == 3 * counted.window(6).total
    assert counted.window(1).attention < counted.window(6).attention < counted.streaming.attention


@pytest.mark.parametrize(
    ("name", "millions"), [("tiny", 1.6), ("small", 15), ("base", 150), ("large", 600), ("xl", 1200)]
)
def test_presets_have_the_sizes_they_promise(name: str, millions: float) -> None:
    assert count(PRESETS[name]).num_parameters == pytest.approx(millions * 1e6, rel=0.06)


def test_small_fits_thirty_megabytes_in_bf16() -> None:
    assert 2 * count(PRESETS["small"]).num_parameters < 30e6


def test_counting_builds_nothing() -> None:
    with torch.device("meta"):
        assert all(parameter.is_meta for parameter in Policy(PRESETS["debug"]).parameters())
    assert count(PRESETS["xl"]).streaming.total > 5e9
