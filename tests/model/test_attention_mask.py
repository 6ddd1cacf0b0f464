"""Every form of a mask is the same attention."""

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from gi_model.attention_mask import Mask, attend, block_mask, mask_for, window_mask
from tests.model.factories import DEBUG

SHAPES = [(4, 2, 1), (4, 4, 3), (6, 1, 2)]  # query heads, key heads, tokens a tick


def heads(num_heads: int, num_kv_heads: int, num_tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, num, num_tokens, 16) for num in (num_heads, num_kv_heads, num_kv_heads))
    query, key, value = (torch.randn(shape, generator=generator) for shape in shapes)
    return query, key, value


def by_hand(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Softmax attention as the formula says, keys repeated for the heads that share them."""
    key, value = (part.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for part in (key, value))
    scores = (query @ key.transpose(-1, -2)) / query.shape[-1] ** 0.5
    mixed: Tensor = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ value
    return mixed


@pytest.mark.parametrize(("num_heads", "num_kv_heads", "per_tick"), SHAPES)
@pytest.mark.parametrize(("window", "lookahead"), [(3, 0), (20, 0), (3, 2)])
def test_dense_and_block_masks_are_the_formula(
    num_heads: int, num_kv_heads: int, per_tick: int, window: int, lookahead: int
) -> None:
    ticks = torch.arange(11).repeat_interleave(per_tick)
    parts = heads(num_heads, num_kv_heads, len(ticks))
    dense = window_mask(ticks, window, lookahead)
    for mask in (dense, block_mask(ticks, window, lookahead)):
        torch.testing.assert_close(attend(*parts, mask), by_hand(*parts, dense), atol=1e-5, rtol=0)


def test_causal_and_all_are_their_dense_masks() -> None:
    parts = heads(4, 2, 9)
    triangle = torch.ones(9, 9, dtype=torch.bool).tril()
    torch.testing.assert_close(attend(*parts, "causal"), by_hand(*parts, triangle), atol=1e-5, rtol=0)
    torch.testing.assert_close(attend(*parts, "all"), by_hand(*parts, triangle | True), atol=1e-5, rtol=0)


def test_one_mask_for_every_query_of_a_row() -> None:
    query, key, value = heads(4, 2, 6)
    seen = torch.tensor([[True] * 6, [True, True, False, False, True, False]])[:, None, None]
    mixed = attend(query[:, :, :2], key, value, seen)
    torch.testing.assert_close(mixed, by_hand(query[:, :, :2], key, value, seen), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("num_ticks", "per_tick", "lookahead", "is_causal"),
    [(5, 1, 0, True), (6, 1, 0, False), (5, 2, 0, False), (5, 1, 1, False)],
)
def test_the_causal_kernel_is_used_exactly_where_it_computes_the_same(
    num_ticks: int, per_tick: int, lookahead: int, is_causal: bool
) -> None:
    config = DEBUG.replace(lookahead_ticks=lookahead, past_actions="none", tokens_per_frame=per_tick)
    ticks = torch.arange(num_ticks).repeat_interleave(per_tick)
    mask: Mask = mask_for(ticks, num_ticks=num_ticks, config=config)
    triangle = torch.ones(len(ticks), len(ticks), dtype=torch.bool).tril()
    assert (mask == "causal" if isinstance(mask, str) else False) == is_causal
    assert bool((window_mask(ticks, config.window_ticks, lookahead) == triangle).all()) == is_causal


def test_a_block_mask_skips_what_is_hidden() -> None:
    ticks = torch.arange(1024)
    mask = block_mask(ticks, 100)
    assert isinstance(mask, BlockMask)
    assert mask.sparsity() > 70
