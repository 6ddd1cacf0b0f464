"""Drawing one action token a row, each row by its own rule and its own random number.

The random number is an argument: a stream's draws depend on its own generator only, whatever else is in the batch.
By default motion is drawn by mode: sampling jitters the aim, and the mean of "left" and "right" is "stand still". Keys
are sampled: where they are rarely held, their mode is to hold nothing. Without dice they are held by thresholds
(`gi_model.calibration`), one decision after another.

B rows, K slots, A vocabulary, M masks of mouse buttons.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gi_model.actions import MOUSE_BUTTONS, ActionSpace
from gi_model.stepper import Sampling

MOTION_SLOTS = (1, 2)  # the camera, on mouse and gamepad alike (gi_model.actions.space)
NUM_MASKS = 1 << len(MOUSE_BUTTONS)
_BELOW_ONE = 1.0 - 1e-6  # keeps a threshold under the total, however the sum is rounded


@dataclass(frozen=True)
class Draw:
    """The rules of a batch: noise float (B, K) in [0, 1); temperature, top_p (B, 1), None: all 1; mode bool (B, K).

    some_mode, all_mode: for each slot, whether some row or every row takes the likeliest token; known on the host, so
    that a step does no work that no row asks for, and never waits for a GPU to tell. bars: of rows that hold keys by
    thresholds, see `Bars`; None where there is none.
    """

    noise: Tensor
    temperature: Tensor | None
    top_p: Tensor | None
    mode: Tensor
    some_mode: tuple[bool, ...]
    all_mode: tuple[bool, ...]
    bars: "Bars | None" = None

    @classmethod
    def of(
        cls, rules: Sequence[Sampling], noise: NDArray[np.float32], device: torch.device, *, bars: "Bars | None" = None
    ) -> "Draw":
        """Stack the rules of the rows; noise float32 (B, K)."""
        mode = np.repeat(np.array([[rule.keys != "sample"] for rule in rules]), noise.shape[1], axis=1)
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
            bars=bars,
        )


@dataclass(frozen=True)
class Bars:
    """What the probability of a control must reach to be held: float (B, A) by token id, for rows bool (B,).

    buttons_id: the token of no mouse button held.
    """

    values: Tensor
    rows: Tensor
    buttons_id: int

    @classmethod
    def of(cls, table: Tensor, tokens: Tensor, rows: Tensor, space: ActionSpace) -> "Bars":
        """Look up `table`, float (2, A), by what the tick before held: its tokens, int64 (B, K)."""
        return cls(torch.where(held_controls(tokens, space), table[1], table[0]), rows, space.ids["buttons:0"])


def held_controls(tokens: Tensor, space: ActionSpace) -> Tensor:
    """bool (N, A): which `gi_model.calibration.control_ids` the tokens, int64 (N, K), hold; other ids mean nothing."""
    held = torch.zeros(len(tokens), space.vocabulary_size, dtype=torch.bool, device=tokens.device)
    held.scatter_(1, tokens, True)
    first = space.ids["buttons:0"]
    mask = tokens[:, 0] - first
    for bit in range(len(MOUSE_BUTTONS)):
        held[:, first + (1 << bit)] = (mask >> bit & 1 > 0) & (mask >= 0) & (mask < NUM_MASKS)
    return held


def draw(logits: Tensor, slot: int, rule: Draw, first: int = 0) -> tuple[Tensor, Tensor]:
    """Draw from logits (B, A) -> index int64 (B,) and its probability (B,), before temperature and top-p.

    first: token id of the first logit.
    """
    token = logits.argmax(dim=-1) if rule.some_mode[slot] else None
    if not rule.all_mode[slot]:
        sampled = _sample(logits, slot, rule)
        token = sampled if token is None else torch.where(rule.mode[:, slot], token, sampled)
    assert token is not None
    if rule.bars is not None:
        token = _hold(logits, token, slot, rule.bars, first)
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


# ---------------------------------------------------------------------- held by thresholds


def _hold(logits: Tensor, token: Tensor, slot: int, bars: Bars, first: int) -> Tensor:
    """`token`, int64 (B,), or in rows that hold by thresholds what those say of mouse buttons and of lists."""
    values = bars.values[:, first : first + logits.shape[1]]
    if slot == 0:
        no_button = bars.buttons_id - first
        masks = slice(no_button, no_button + NUM_MASKS)
        is_mouse = (token >= masks.start) & (token < masks.stop)
        held = no_button + _held_mask(logits[:, masks], values[:, masks])
        return torch.where(bars.rows & is_mouse, held, token)
    if first > 0:
        return token  # motion or wheel
    is_list = logits[:, 0] > float("-inf")  # lists alone may end
    held = (list_hazards(logits.softmax(dim=-1)) >= values).int().argmax(dim=-1)  # the first; `none` if there is none
    return torch.where(bars.rows & is_list, held, token)


def list_hazards(probs: Tensor) -> Tensor:
    """Probability that a control is held, given that those before it in the list are as they are.

    probs (..., A) of the next token of a sorted list, `none` first. That token is k with probability h_k times that of
    everything between the token before and k being up: h_k = p_k / (p_none + the sum of p_m, m >= k).
    """
    rest = probs.flip(-1).cumsum(dim=-1).flip(-1)
    return probs / (probs[..., :1] + rest)


def _held_mask(logits: Tensor, values: Tensor) -> Tensor:
    """Mask int64 (B,) of mouse buttons, decided one after another; logits and values (B, M)."""
    probs, mask = logits.softmax(dim=-1), torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    for bit in range(len(MOUSE_BUTTONS)):
        is_held = button_hazard(probs) >= values[:, 1 << bit]
        mask += is_held.long() << bit
        probs = keep_button(probs, is_held)
    return mask


def button_hazard(probs: Tensor) -> Tensor:
    """Probability (B,) that the button of the lowest bit is held; probs (B, M) of masks, in any proportion."""
    return probs[:, 1::2].sum(dim=-1) / probs.sum(dim=-1)


def keep_button(probs: Tensor, is_held: Tensor) -> Tensor:
    """The masks (B, M / 2) in which the lowest button is as `is_held`, bool (B,), says, without its bit."""
    return torch.where(is_held[:, None], probs[:, 1::2], probs[:, 0::2])
