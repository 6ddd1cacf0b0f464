"""`Backbone`: a causal transformer over ticks with a sliding window, whole sequences or one tick at a time.

Pre-norm RMSNorm, periodic RoPE by tick, QK-norm, SwiGLU, grouped-query attention. Tokens of one tick see each other; a
tick sees the `window` newest ticks, itself included, in every layer. Streaming is the same function: a ring cache of
fixed shape holds the rotated keys and values of the window and is written in place, so memory and cost of a tick are
constant forever.

B batch, T ticks, V tokens a tick, D width, H query heads, G key-value heads, E head size, W window, S cache slots.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gi_model.attention_mask import Mask, attend, mask_for
from gi_model.config import PolicyConfig
from gi_model.rope import PeriodicRope, rotate

Angles = tuple[Tensor, Tensor]


@dataclass
class RingCache:
    """Keys and values of one layer, (S, G, W * V, E) each; tick t lives at ring position t mod W."""

    keys: Tensor
    values: Tensor


@dataclass(frozen=True)
class RingIndex:
    """Where this step's rows live: slots int64 (B,), places int64 (B, V) in the ring, mask bool (B, 1, 1, W * V)."""

    slots: Tensor
    places: Tensor
    mask: Tensor


class Attention(nn.Module):
    """Grouped-query attention with QK-norm and, where it is given angles, RoPE."""

    def __init__(self, dim: int, *, num_heads: int, num_kv_heads: int) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, dim // num_heads
        self.qkv = nn.Linear(dim, (num_heads + 2 * num_kv_heads) * self.head_dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.query_norm, self.key_norm = nn.RMSNorm(self.head_dim), nn.RMSNorm(self.head_dim)

    def forward(self, x: Tensor, angles: Angles | None = None, mask: Mask = "all") -> Tensor:
        """x (B, N, D) -> (B, N, D)."""
        query, key, value = self._project(x, angles)
        return self._merge(attend(query, key, value, mask))

    def step(self, x: Tensor, angles: Angles, cache: RingCache, index: RingIndex) -> Tensor:
        """x (B, V, D), one tick of the rows in `index`; writes their keys and values into `cache`."""
        query, key, value = self._project(x, angles)
        slots = index.slots[:, None]
        cache.keys[slots, :, index.places] = key.transpose(1, 2).to(cache.keys.dtype)
        cache.values[slots, :, index.places] = value.transpose(1, 2).to(cache.values.dtype)
        keys, values = cache.keys[index.slots].to(x.dtype), cache.values[index.slots].to(x.dtype)
        return self._merge(attend(query, keys, values, index.mask))

    def _project(self, x: Tensor, angles: Angles | None) -> tuple[Tensor, Tensor, Tensor]:
        heads = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        query, key, value = heads.split([self.num_heads, self.num_kv_heads, self.num_kv_heads], dim=1)
        # Under autocast norms answer in float32; attention takes one type.
        query, key = self.query_norm(query).to(value.dtype), self.key_norm(key).to(value.dtype)
        return (query, key, value) if angles is None else (rotate(query, *angles), rotate(key, *angles), value)

    def _merge(self, mixed: Tensor) -> Tensor:
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class SwiGLU(nn.Module):
    """Gated MLP (Shazeer, GLU Variants Improve Transformer); hidden 8/3 of the width, see `hidden_dim`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = hidden_dim(dim)
        self.gate_up, self.down = nn.Linear(dim, 2 * hidden, bias=False), nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        out: Tensor = self.down(F.silu(gate) * up)
        return out


def hidden_dim(dim: int) -> int:
    """Hidden width of an MLP: 8/3 of `dim`, in steps of 16; of 128, a tile of a GPU's matrix unit, from 256 up."""
    step = 128 if dim >= 256 else 16
    return -(-dim * 8 // 3 // step) * step


class Block(nn.Module):
    """Attention and MLP, each behind its norm. What `Policy.fsdp_units` shards and activation checkpointing repeats."""

    def __init__(self, dim: int, *, num_heads: int, num_kv_heads: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.attention = Attention(dim, num_heads=num_heads, num_kv_heads=num_kv_heads)
        self.mlp = SwiGLU(dim)

    def forward(self, x: Tensor, angles: Angles | None = None, mask: Mask = "all") -> Tensor:
        """Whole sequences."""
        x = x + self.attention(self.attention_norm(x), angles, mask)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out

    def step(self, x: Tensor, angles: Angles, cache: RingCache, index: RingIndex) -> Tensor:
        """One tick."""
        x = x + self.attention.step(self.attention_norm(x), angles, cache, index)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class Backbone(nn.Module):
    """The stack of blocks."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.rope = PeriodicRope(config.rope_period_ticks, config.head_dim)
        heads = {"num_heads": config.num_heads, "num_kv_heads": config.num_kv_heads}
        self.blocks = nn.ModuleList(Block(config.dim, **heads) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.dim)
        self.checkpointing = False
        init_blocks(self.blocks, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, T, V, D) -> features (B, T, V, D); a tick's features depend on no later tick."""
        _, num_ticks, per_tick, _ = x.shape
        ticks = torch.arange(num_ticks, device=x.device).repeat_interleave(per_tick)
        mask = mask_for(ticks, num_ticks=num_ticks, config=self.config)
        hidden = run_blocks(self.blocks, x.flatten(1, 2), self.rope.at(ticks), mask, repeat=self.checkpointing)
        out: Tensor = self.norm(hidden).view_as(x)
        return out

    def step(self, x: Tensor, caches: list[RingCache], slots: Tensor, ticks: Tensor) -> Tensor:
        """Tokens (B, V, D) of tick `ticks` (B,) of the streams in `slots` (B,) -> features (B, V, D)."""
        window, per_tick = self.config.window_ticks, x.shape[1]
        places = (ticks % window)[:, None] * per_tick + torch.arange(per_tick, device=x.device)
        written = torch.arange(window, device=x.device) <= ticks[:, None]
        mask = written.repeat_interleave(per_tick, dim=1)[:, None, None]
        cos, sin = self.rope.at(ticks)
        index = RingIndex(slots, places, mask)
        for block, cache in zip(cast("list[Block]", self.blocks), caches, strict=True):
            x = block.step(x, (cos[:, None, None], sin[:, None, None]), cache, index)
        out: Tensor = self.norm(x)
        return out

    def empty_caches(self, num_slots: int, dtype: torch.dtype, device: torch.device) -> list[RingCache]:
        """Zeroed caches, one a layer."""
        config = self.config
        shape = (num_slots, config.num_kv_heads, config.window_ticks * config.tokens_per_frame, config.head_dim)

        def zeros() -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return [RingCache(zeros(), zeros()) for _ in self.blocks]


def run_blocks(
    blocks: Iterable[nn.Module], x: Tensor, angles: Angles | None = None, mask: Mask = "all", *, repeat: bool = False
) -> Tensor:
    """x (B, N, D) through `blocks`; with `repeat` the backward pass computes each block again instead of keeping it."""
    for block in blocks:
        if repeat and torch.is_grad_enabled():  # nothing in a block is random: no generator to put back
            x = checkpoint(block, x, angles, mask, use_reentrant=False, preserve_rng_state=False)
        else:
            x = block(x, angles, mask)
    return x


def init_blocks(blocks: nn.ModuleList, dim: int) -> None:
    """Normal, 1 / sqrt(width); projections into the residual stream scaled by depth (GPT-2)."""
    scale = (2 * len(blocks)) ** -0.5
    for name, parameter in blocks.named_parameters():
        if parameter.ndim == 2:
            into_residual = name.endswith(("out.weight", "down.weight"))
            nn.init.normal_(parameter, std=dim**-0.5 * (scale if into_residual else 1.0))
