"""Drawing one action token a row, each row by its own rule and its own random number.

The random number is an argument: a stream's draws depend on its own generator only, whatever else is in the batch.
By default motion is drawn by mode: sampling jitters the aim, and the mean of "left" and "right" is "stand still". Keys
are sampled: where they are rarely held, their mode is to hold nothing.

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
_BELOW_ONE = 1.0 - 1e-6  # keeps a threshold under the total, however the sum is rounded


@dataclass(frozen=True)
class Draw:
    """The rules of a batch: noise float (B, K) in [0, 1); temperature, top_p (B, 1), None: all 1; mode bool (B, K).

    some_mode, all_mode: for each slot, whether some row or every row takes the likeliest token; known on the host, so
    that a step does no work that no row asks for, and never waits for a GPU to tell.
    """

    noise: Tensor
    temperature: Tensor | None
    top_p: Tensor | None
    mode: Tensor
    some_mode: tuple[bool, ...]
    all_mode: tuple[bool, ...]

    @classmethod
    def of(cls, rules: Sequence[Sampling], noise: NDArray[np.float32], device: torch.device) -> "Draw":
        """Stack the rules of the rows; noise float32 (B, K)."""
        mode = np.repeat(np.array([[rule.keys == "mode"] for rule in rules]), noise.shape[1], axis=1)
        mode[:, MOTION_SLOTS] = np.array([[rule.motion == "mode"] for rule in rules])

        def column_of(values: list[float]) -> Tensor | None:
            return None if set(values) == {1.0} else torch.tensor(values, dtype=torch.float32, device=device)[:, None]

        return cls(
            noise=torch.from_numpy(noise).to(device),
            temperature=column_of([rule.temperature for rule in rules]),
            top_p=column_of([rule.top_p for rule in rules]),
            mode=torch.from_numpy(mode).to(device),
            some_mode=tuple(bool(column.any()) for column in mode.T),
            all_mode=tuple(bool(column.all()) for column in mode.T),
        )


def draw(logits: Tensor, slot: int, rule: Draw) -> tuple[Tensor, Tensor]:
    """Draw from logits (B, A) -> index int64 (B,) and its probability (B,), before temperature and top-p."""
    token = logits.argmax(dim=-1) if rule.some_mode[slot] else None
    if not rule.all_mode[slot]:
        sampled = _sample(logits, slot, rule)
        token = sampled if token is None else torch.where(rule.mode[:, slot], token, sampled)
    assert token is not None
    chosen = logits.gather(-1, token[:, None]).squeeze(-1)
    return token, (chosen - logits.logsumexp(dim=-1)).exp()


def _sample(logits: Tensor, slot: int, rule: Draw) -> Tensor:
    probs = (logits if rule.temperature is None else logits / rule.temperature).softmax(dim=-1)
    if rule.top_p is not None:
        probs = keep_top_p(probs, rule.top_p)
    cumulative = probs.cumsum(dim=-1)
    threshold = rule.noise[:, slot, None] * (cumulative[:, -1:] * _BELOW_ONE)
    return (cumulative <= threshold).sum(dim=-1)


def keep_top_p(probs: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the smallest set of tokens with mass >= top_p (B, 1) (Holtzman et al., nucleus sampling)."""
    ordered, order = probs.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = torch.where(before < top_p, ordered, 0.0)
    return torch.zeros_like(probs).scatter(-1, order, kept)
