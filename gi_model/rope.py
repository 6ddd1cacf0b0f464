"""Rotary positions that never drift: every frequency turns a whole number of times in `period` ticks.

A stream runs for days; angles of float32 positions are wrong by whole degrees after 10^6 ticks. Here frequencies are 2
pi n / period with whole n, so position p and p mod period have the same angle exactly, and one float32 table of
`period` rows, computed in float64, serves forever. Attention sees differences of at most a window, less than half the
period, so nothing aliases. After Su et al., RoFormer, section 3.4; frequencies geometric from one radian a tick to one
turn a period.

P period, R = head size / 2.
"""

import math

import torch
from torch import Tensor, nn


class PeriodicRope(nn.Module):
    """Rotates (..., 2 R) vectors by their tick."""

    cos: Tensor  # float32 (P, R)
    sin: Tensor  # float32 (P, R)

    def __init__(self, period: int, head_dim: int) -> None:
        super().__init__()
        self.period = period
        exponents = torch.linspace(1.0, 0.0, head_dim // 2, dtype=torch.float64)
        turns = torch.pow(period / (2 * math.pi), exponents).round()
        angles = torch.arange(period, dtype=torch.float64)[:, None] * turns * (2 * math.pi / period)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def at(self, ticks: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of int64 ticks of any shape: two tensors (*ticks.shape, R)."""
        rows = ticks % self.period
        return self.cos[rows], self.sin[rows]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs (x[i], x[i + R]) of x (..., 2 R) by the angles; cos and sin broadcast to (..., R)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
