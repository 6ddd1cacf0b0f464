"""Random numbers of a row that depend on (seed, step, window) alone: not on rank, accumulation, or what came before.

So a resumed run draws what an uninterrupted one does without saving any generator, at any number of ranks.
"""

import hashlib
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from gi_model.batch import Batch, Window

_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_MIXES: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # splitmix64 (Steele et al. 2014, figure 17)


def with_draws(batch: Batch, *, seed: int, step: int) -> Batch:
    """The batch with `draws`: uniform numbers for each of its ticks."""
    rows = np.array([_row_seed(seed, step, window) for window in batch.windows], dtype=np.uint64)
    ticks = np.arange(1, batch.known.shape[1] + 1, dtype=np.uint64)
    bits = rows[:, None] + _GAMMA * ticks
    for shift, factor in _MIXES:
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return replace(batch, draws=torch.from_numpy((bits >> np.uint64(40)).astype(np.float32) / 2**24))


def step_seed(seed: int, step: int, *, part: int) -> int:
    """For torch's own generator: what little else is random (a timm backbone's drop path)."""
    return _row_seed(seed, step, Window("part", part)) >> 1


def _row_seed(seed: int, step: int, window: Window) -> int:
    text = f"{seed}/{step}/{window.start}/{window.key}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
