"""Drawing one action token a row, each row by its own rule and its own random number.

The random number is an argument: a stream's draws depend on its own generator only, whatever else is in the batch.
By default motion is drawn by mode: sampling jitters the aim, and the mean of "left" and "right" is "stand still". Keys
are sampled: where they are rarely held, their mode is to hold nothing. Calibrated keys are sampled from sharper
decisions that keep players' rates (`gi_model.calibration`).

B rows, K slots, A vocabulary, M masks of mouse buttons.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gi_model.actions import MOUSE_BUTTONS, ActionSpace
from gi_model.calibration import SHARPNESS
from gi_model.stepper import Sampling

MOTION_SLOTS = (1, 2)  # the camera, on mouse and gamepad alike (gi_model.actions.space)
NUM_MASKS = 1 << len(MOUSE_BUTTONS)
_BELOW_ONE = 1.0 - 1e-6  # keeps a threshold under the total, however the sum is rounded


@dataclass(frozen=True)
class Draw:
    """The rules of a batch: noise float (B, K) in [0, 1); temperature, top_p (B, 1), None: all 1; mode bool (B, K).

    some_mode, all_mode: for each slot, whether some row or every row takes the likeliest token; known on the host, so
    that a step does no work that no row asks for, and never waits for a GPU to tell. points: of rows with calibrated
    keys; None where there is none.
    """

    noise: Tensor
    temperature: Tensor | None
    top_p: Tensor | None
    mode: Tensor
    some_mode: tuple[bool, ...]
    all_mode: tuple[bool, ...]
    points: "Points | None" = None

    @classmethod
    def of(
        cls,
        rules: Sequence[Sampling],
        noise: NDArray[np.float32],
        device: torch.device,
        *,
        points: "Points | None" = None,
    ) -> "Draw":
        """Stack the rules of the rows; noise float32 (B, K)."""
        mode = np.repeat(np.array([[rule.keys != "sample"] for rule in rules]), noise.shape[1], axis=1)
        mode[:, MOTION_SLOTS] = np.array([[rule.motion == "mode"] for rule in rules])
        return cls._stack(rules, noise, device, mode=mode, points=points)

    @classmethod
    def of_commands(cls, rules: Sequence[Sampling], noise: NDArray[np.float32], device: torch.device) -> "Draw":
        """The same for commands of direct actuators, which are drawn as motion is; noise float32 (B, A)."""
        mode = np.repeat(np.array([[rule.motion == "mode"] for rule in rules]), noise.shape[1], axis=1)
        return cls._stack(rules, noise, device, mode=mode, points=None)

    @classmethod
    def _stack(
        cls,
        rules: Sequence[Sampling],
        noise: NDArray[np.float32],
        device: torch.device,
        *,
        mode: NDArray[np.bool_],
        points: "Points | None",
    ) -> "Draw":
        def column_of(values: list[float]) -> Tensor | None:
            return None if set(values) == {1.0} else torch.tensor(values, dtype=torch.float32, device=device)[:, None]

        return cls(
            noise=torch.from_numpy(noise).to(device),
            temperature=column_of([rule.temperature for rule in rules]),
            top_p=column_of([rule.top_p for rule in rules]),
            mode=torch.from_numpy(mode).to(device),
            some_mode=tuple(bool(column.any()) for column in mode.T),
            all_mode=tuple(bool(column.all()) for column in mode.T),
            points=points,
        )


@dataclass(frozen=True)
class Points:
    """Log-odds at which controls are held half of the time: float (B, A) by token id, for rows bool (B,).

    buttons_id: the token of no mouse button held.
    """

    values: Tensor
    rows: Tensor
    buttons_id: int

    @classmethod
    def of(cls, table: Tensor, tokens: Tensor, rows: Tensor, space: ActionSpace) -> "Points":
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
    if rule.points is not None:
        token = _hold(logits, token, slot, rule, first)
    chosen = logits.gather(-1, token[:, None]).squeeze(-1)
    return token, (chosen - logits.logsumexp(dim=-1)).exp()


def _sample(logits: Tensor, slot: int, rule: Draw) -> Tensor:
    probs = (logits if rule.temperature is None else logits / rule.temperature).softmax(dim=-1)
    if rule.top_p is not None:
        probs = keep_top_p(probs, rule.top_p)
    return _pick(probs, rule.noise[:, slot])


def _pick(probs: Tensor, noise: Tensor) -> Tensor:
    """Index (B,) at which the cumulative sum of probs (B, A) passes noise (B,) in [0, 1)."""
    cumulative = probs.cumsum(dim=-1)
    threshold = noise[:, None] * (cumulative[:, -1:] * _BELOW_ONE)
    return (cumulative <= threshold).sum(dim=-1)


def keep_top_p(probs: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the smallest set of tokens with mass >= top_p (B, 1) (Holtzman et al., nucleus sampling)."""
    ordered, order = probs.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = torch.where(before < top_p, ordered, 0.0)
    return torch.zeros_like(probs).scatter(-1, order, kept)


# ---------------------------------------------------------------------- calibrated


def _hold(logits: Tensor, token: Tensor, slot: int, rule: Draw, first: int) -> Tensor:
    """`token`, int64 (B,), but in calibrated rows a calibrated draw of mouse buttons and of a list's next control."""
    points, noise = rule.points, rule.noise[:, slot]
    assert points is not None
    values = points.values[:, first : first + logits.shape[1]]
    if slot == 0:
        none = points.buttons_id - first
        masks = slice(none, none + NUM_MASKS)
        is_mouse = (token >= masks.start) & (token < masks.stop)
        drawn = none + _pick(sharpen_masks(logits[:, masks].softmax(dim=-1), values[:, masks]), noise)
        return torch.where(points.rows & is_mouse, drawn, token)
    if first > 0:
        return token  # motion or wheel
    is_list = logits[:, 0] > float("-inf")  # lists alone may end
    return torch.where(points.rows & is_list, _pick(sharpen_list(logits.softmax(dim=-1), values), noise), token)


def list_hazards(probs: Tensor) -> Tensor:
    """Probability that a control is held, given that those before it in the list are as they are.

    probs (..., A) of the next token of a sorted list, `none` first. That token is k with probability h_k times that of
    everything between the token before and k being up: h_k = p_k / (p_none + the sum of p_m, m >= k).
    """
    rest = probs.flip(-1).cumsum(dim=-1).flip(-1)
    return probs / (probs[..., :1] + rest)


def sharpen_list(probs: Tensor, points: Tensor) -> Tensor:
    """probs (B, A) of a list's next token, each decision sharpened around its point (B, A)."""
    held = sharpen(list_hazards(probs)[:, 1:], points[:, 1:])
    all_up = (1 - held).cumprod(dim=-1)
    before = torch.cat([torch.ones_like(all_up[:, :1]), all_up], dim=-1)
    return torch.cat([before[:, -1:], held * before[:, :-1]], dim=-1)


def button_hazards(probs: Tensor, bit: int) -> Tensor:
    """Probability that button `bit` is held, given the lower bits: (B, 2^bit), by these; probs (B, M) of masks."""
    pairs = probs.reshape(len(probs), -1, 2, 1 << bit).sum(dim=1)
    return pairs[:, 1] / pairs.sum(dim=1)


def sharpen_masks(probs: Tensor, points: Tensor) -> Tensor:
    """probs (B, M) of masks of mouse buttons, each decision sharpened; points (B, M) at the masks of one button."""
    sharp = torch.ones_like(probs)
    for bit in range(len(MOUSE_BUTTONS)):
        held = sharpen(button_hazards(probs, bit), points[:, 1 << bit, None])
        pairs = sharp.reshape(len(sharp), -1, 2, 1 << bit) * torch.stack([1 - held, held], dim=1)[:, None]
        sharp = pairs.flatten(1)
    return sharp


def sharpen(hazards: Tensor, points: Tensor) -> Tensor:
    """Probabilities with `SHARPNESS` times the log-odds from their points; what cannot happen (0 or nan) stays at 0."""
    odds = hazards.logit(eps=1e-12).nan_to_num()
    return torch.where(hazards > 0, (SHARPNESS * (odds - points)).sigmoid(), 0.0)
