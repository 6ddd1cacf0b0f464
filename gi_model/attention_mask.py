"""What a token may see, and attention under it, by the cheapest kernel that computes it.

One rule, `sees`: a tick sees the window's newest ticks, itself included, and `lookahead` later ones. It takes four
forms: "causal" where that is the same rule and the flash kernel does it alone, "all" for tokens of one frame, a dense
mask, and a block mask for flex attention, which skips what is hidden. Flex needs a compiler to be fast, so only a
compiled model on a GPU uses it; everybody else takes the dense mask.

B batch, H query heads, G key-value heads, N queries, M keys, E head size.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from gi_model.config import PolicyConfig

Mask = Tensor | BlockMask | Literal["all", "causal"]


def mask_for(ticks: Tensor, *, num_ticks: int, config: PolicyConfig) -> Mask:
    """The mask of a sequence whose tokens belong to `ticks`, int64 (N,), of which there are `num_ticks`."""
    one_window = num_ticks <= config.window_ticks and config.lookahead_ticks == 0
    if one_window and len(ticks) == num_ticks:
        return "causal"
    if ticks.is_cuda and torch.compiler.is_compiling():
        return block_mask(ticks, config.window_ticks, config.lookahead_ticks)
    return window_mask(ticks, config.window_ticks, config.lookahead_ticks)


def window_mask(ticks: Tensor, window: int, lookahead: int = 0) -> Tensor:
    """bool (N, N): whether token i sees token j."""
    return sees(window, lookahead)(ticks[:, None], ticks[None, :])


def block_mask(ticks: Tensor, window: int, lookahead: int = 0) -> BlockMask:
    """`window_mask` for flex attention."""
    seen, num = sees(window, lookahead), len(ticks)

    def by_index(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        del batch, head
        return seen(ticks[query], ticks[key])

    return create_block_mask(by_index, None, None, num, num, device=ticks.device)


def sees(window: int, lookahead: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The rule: whether a query's tick sees a key's tick, `window` - 1 ticks before it to `lookahead` after."""

    def seen(query_tick: Tensor, key_tick: Tensor) -> Tensor:
        age = query_tick - key_tick
        return (age >= -lookahead) & (age < window)

    return seen


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Mask) -> Tensor:
    """Softmax attention: query (B, H, N, E), key and value (B, G, M, E) -> (B, H, N, E); H a multiple of G."""
    num_heads, num_kv_heads = query.shape[1], key.shape[1]
    shared = num_heads != num_kv_heads
    if isinstance(mask, BlockMask):
        mixed = flex_attention(query, key, value, block_mask=mask, enable_gqa=shared)
        assert isinstance(mixed, Tensor)
        return mixed
    if mask == "causal":
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=shared)
    return _attend_in_groups(query, key, value, None if isinstance(mask, str) else mask)


def _attend_in_groups(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Heads that share keys become more queries of one head: the kernels that take a mask would copy the keys instead.

    mask bool (N, M), or (B, 1, 1, M): the same for every query.
    """
    batch, num_heads, num_queries, size = query.shape
    num_groups = key.shape[1]
    per_group = num_heads // num_groups
    if mask is not None and mask.ndim == 2:
        mask = mask.repeat(per_group, 1)
    folded = query.reshape(batch, num_groups, per_group * num_queries, size)
    mixed = F.scaled_dot_product_attention(folded, key, value, attn_mask=mask)
    return mixed.reshape(batch, num_heads, num_queries, size)
