"""Drawing one action token a row, each row by its own rule and its own random number.

The random number is an argument: a stream's draws depend on its own generator only, whatever else is in the batch.
Motion is drawn by mode: sampling jitters the aim, and the mean of "left" and "right" is "stand still" (closed loop, the
same weights: mean 4 kills, sample 11, mode 16). Keys are sampled: their mode is "hold nothing" far too often.

B rows, K slots, A vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gi_model.stepper import Sampling

MOTION_SLOTS = (1, 2)  # the camera, on mouse and gamepad alike (gi_model.actions.space)


@dataclass(frozen=True)
class Draw:
    """The rules of a batch: noise float (B, K) in [0, 1); temperature (B, 1); mode bool (B, K); top_p (B, 1)."""

    noise: Tensor
    temperature: Tensor
    mode: Tensor
    top_p: Tensor | None

    @classmethod
    def of(cls, rules: Sequence[Sampling], noise: NDArray[np.float32], device: torch.device) -> "Draw":
        """Stack the rules of the rows; noise float32 (B, K)."""
        mode = np.repeat(np.array([[rule.keys == "mode"] for rule in rules]), noise.shape[1], axis=1)
        mode[:, MOTION_SLOTS] = np.array([[rule.motion == "mode"] for rule in rules])
        top_p = np.array([[rule.top_p] for rule in rules], dtype=np.float32)
        temperature = np.array([[rule.temperature] for rule in rules], dtype=np.float32)
        return cls(
            noise=torch.from_numpy(noise).to(device),
            temperature=torch.from_numpy(temperature).to(device),
            mode=torch.from_numpy(mode).to(device),
            top_p=torch.from_numpy(top_p).to(device) if top_p.min() < 1.0 else None,
        )


def draw(logits: Tensor, slot: int, rule: Draw) -> tuple[Tensor, Tensor]:
    """Draw from logits (B, A) -> token int64 (B,) and its probability (B,), before temperature and top-p."""
    plain = logits.softmax(dim=-1)
    probs = (logits / rule.temperature).softmax(dim=-1)
    if rule.top_p is not None:
        probs = keep_top_p(probs, rule.top_p)
    cumulative = probs.cumsum(dim=-1)
    threshold = rule.noise[:, slot, None] * cumulative[:, -1:]
    sampled = (cumulative <= threshold).sum(dim=-1)
    sampled = torch.minimum(sampled, last_possible(probs))  # rounding at the very end of the sum
    token = torch.where(rule.mode[:, slot], logits.argmax(dim=-1), sampled)
    return token, plain.gather(-1, token[:, None]).squeeze(-1)


def keep_top_p(probs: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the smallest set of tokens with mass >= top_p (B, 1) (Holtzman et al., nucleus sampling)."""
    ordered, order = probs.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = torch.where(before < top_p, ordered, 0.0)
    return torch.zeros_like(probs).scatter(-1, order, kept)


def last_possible(probs: Tensor) -> Tensor:
    """Highest token id with positive probability, int64 (B,)."""
    return probs.shape[-1] - 1 - (probs > 0).flip(-1).int().argmax(dim=-1)
