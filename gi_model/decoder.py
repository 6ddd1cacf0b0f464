"""`ActionDecoder`: features of a tick -> its K action tokens, one after another, off the backbone's critical path.

A tick's tokens depend on each other (who fires stops turning), so they are drawn autoregressively; but by a transformer
a tenth as wide as the backbone, which runs once a tick. Every slot reads its own projection of the features. Illegal
tokens have no probability, in the loss and in play. Rejected: independent heads a factor (no joint), tokens in the
backbone's stream (K passes a tick; about five times slower in published work).

N ticks, K slots, D backbone width, C decoder width, A vocabulary.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from gi_model.actions import ActionSpace
from gi_model.actions.space import KEY_SLOTS
from gi_model.backbone import SwiGLU
from gi_model.config import PolicyConfig
from gi_model.sampling import Draw, draw


def num_heads(dim: int) -> int:
    """Heads of a decoder of width `dim`: 64 channels each, and at least two."""
    return max(2, dim // 64)


@dataclass(frozen=True)
class DecoderScore:
    """log_probs float (N, K, A); nll (N, K) of the given tokens; loss (N,), motion targets smoothed.

    command_nll: (N, actuators), of the commands of a policy that has a command head; its loss is part of `loss`.
    """

    log_probs: Tensor
    nll: Tensor
    loss: Tensor
    command_nll: Tensor | None = None


class DecoderBlock(nn.Module):
    """Causal attention over the slots of one tick, and an MLP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads(dim)
        self.attention_norm, self.mlp_norm = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.mlp = SwiGLU(dim)

    def forward(self, x: Tensor) -> Tensor:
        """All slots at once: (N, K, C) -> (N, K, C)."""
        query, key, value = self._project(x)
        return self._finish(x, F.scaled_dot_product_attention(query, key, value, is_causal=True))

    def step(self, x: Tensor, memory: Tensor, slot: int) -> Tensor:
        """Slot `slot`, (N, 1, C); `memory` (2, N, heads, K, C / heads) holds keys and values of the slots before."""
        query, key, value = self._project(x)
        memory[0, :, :, slot : slot + 1], memory[1, :, :, slot : slot + 1] = key, value
        keys, values = memory[:, :, :, : slot + 1]
        return self._finish(x, F.scaled_dot_product_attention(query, keys, values))

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        return query, key, value

    def _finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class ActionDecoder(nn.Module):
    """Autoregressive distribution over the action tokens of a tick."""

    legal: Tensor  # bool (2, K, A)
    is_list: Tensor  # bool (2, K)
    motion_targets: Tensor  # float (motion bins, motion bins)

    def __init__(self, config: PolicyConfig, space: ActionSpace, embedding: nn.Embedding) -> None:
        super().__init__()
        dim = config.decoder_dim
        self.space, self.embedding = space, embedding
        self.context = nn.Linear(config.dim, space.num_tokens * dim)
        self.slots = nn.Parameter(torch.randn(space.num_tokens, dim) * 0.1)
        self.blocks = nn.ModuleList(DecoderBlock(dim) for _ in range(config.decoder_layers))
        self.norm = nn.RMSNorm(dim)
        self.head = nn.Linear(dim, space.vocabulary_size)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("legal", torch.from_numpy(space.legal), persistent=False)
        self.register_buffer("is_list", torch.from_numpy(space.is_list_slot), persistent=False)
        self.keyboard_ranges = tuple(_range_of(row) for row in space.legal[0])
        self.near_bins = max(1, round(2 * config.motion_smoothing_bins))  # what blurred targets can tell apart
        targets = smooth_targets(len(space.motion_ids), config.motion_smoothing_bins)
        self.register_buffer("motion_targets", targets, persistent=False)

    def forward(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`score` as a tuple: a module's hooks, which bring sharded weights, do not look into a dataclass."""
        score = self.score(features, tokens)
        return score.log_probs, score.nll, score.loss

    def score(self, features: Tensor, tokens: Tensor) -> DecoderScore:
        """Features (N, D) and the tokens played, int64 (N, K)."""
        before = F.pad(self.embedding(tokens[:, :-1]), (0, 0, 1, 0))
        x = self._context(features) + self.slots + before
        for block in self.blocks:
            x = block(x)
        device = (tokens[:, 0] == self.space.gamepad_id).long()
        logits = self.head(self.norm(x)).float().masked_fill(~self.legal[device], float("-inf"))
        log_probs = logits.log_softmax(dim=-1)
        nll = -log_probs.gather(-1, tokens[..., None]).squeeze(-1)
        return DecoderScore(log_probs, nll, self._smoothed_loss(log_probs, nll, tokens, device))

    def sample(self, features: Tensor, rule: Draw) -> tuple[Tensor, Tensor]:
        """Draw actions: features (N, D) -> tokens int64 (N, K) and the probability of each as drawn, float (N, K)."""
        num, num_slots, dim = len(features), self.space.num_tokens, self.slots.shape[1]
        context = self._context(features) + self.slots
        heads = num_heads(dim)
        memory = context.new_empty(len(self.blocks), 2, num, heads, num_slots, dim // heads)
        tokens = torch.zeros(num, num_slots, dtype=torch.long, device=features.device)
        probs = torch.ones(tokens.shape, device=features.device)
        # A look at the tokens is free on a CPU; on a GPU it would cost a wait, and in a compiled graph a break.
        all_keyboard = features.device.type == "cpu" and not torch.compiler.is_compiling()
        for slot in range(num_slots):
            x = context[:, slot : slot + 1]
            if slot:
                x = x + self.embedding(tokens[:, slot - 1 : slot])
            for block, past in zip(cast("list[DecoderBlock]", self.blocks), memory, strict=True):
                x = block.step(x, past, slot)
            hidden = self.norm(x).squeeze(1)
            drawn = self._draw_keyboard if all_keyboard else self._draw_any
            tokens[:, slot], probs[:, slot] = drawn(hidden, tokens, slot, rule)
            if slot == 0 and all_keyboard:
                all_keyboard = not bool((tokens[:, 0] == self.space.gamepad_id).any())
            if all_keyboard and slot in KEY_SLOTS and not bool(tokens[:, slot].any()):
                break  # every list of keys has ended: the rest is `none` with certainty
        return tokens, probs

    def _draw_any(self, hidden: Tensor, tokens: Tensor, slot: int, rule: Draw) -> tuple[Tensor, Tensor]:
        """Any device: all logits, masked to what each row's device and list allow."""
        allowed = self.allowed(tokens, slot)
        return draw(self.head(hidden).float().masked_fill(~allowed, float("-inf")), slot, rule)

    def order_motion(self) -> None:
        """Start with rows of the head that change smoothly from one motion bin to the next.

        Else every bin is learned apart, from the few ticks that have it; so, from few labels, its neighbours learn
        with it. An inverse dynamics model needs a fourth of the steps.
        """
        ids = self.space.motion_ids
        with torch.no_grad():
            self.head.weight[ids.start : ids.stop] = ordered_rows(len(ids), self.slots.shape[1])

    def allowed(self, tokens: Tensor, slot: int) -> Tensor:
        """bool (N, A): what slot `slot` may hold after the tokens before it, int64 (N, K)."""
        device = (tokens[:, 0] == self.space.gamepad_id).long()  # slot 0 is alike on both
        allowed = self.legal[device, slot]
        if not slot:
            return allowed
        return allowed & (self._rising(tokens[:, slot - 1]) | ~self.is_list[device, slot][:, None])

    def _draw_keyboard(self, hidden: Tensor, tokens: Tensor, slot: int, rule: Draw) -> tuple[Tensor, Tensor]:
        """The same draw where no row plays a gamepad: a slot's legal ids are one range, and only they are scored."""
        first, last = self.keyboard_ranges[slot]
        logits = self._score_range(hidden, first, last).float()
        if slot - 1 in KEY_SLOTS and last > 1:
            logits = logits.masked_fill(~self._rising(tokens[:, slot - 1])[:, first:last], float("-inf"))
        index, probs = draw(logits, slot, rule, first)
        return index + first, probs

    def _score_range(self, hidden: Tensor, first: int, last: int) -> Tensor:
        """The head's logits of the ids from `first` to `last`. With an adapter, a head is more than its weight."""
        if type(self.head) is nn.Linear and not self.head._forward_hooks:
            return F.linear(hidden, self.head.weight[first:last], self.head.bias[first:last])
        logits: Tensor = self.head(hidden)
        return logits[:, first:last]

    def _rising(self, previous: Tensor) -> Tensor:
        """bool (N, A): what may follow `previous` in a sorted list that ends with its first `none`."""
        ids = torch.arange(self.space.vocabulary_size, device=previous.device)
        return (ids == 0) | ((ids > previous[:, None]) & (previous > 0)[:, None])

    def _context(self, features: Tensor) -> Tensor:
        return self.context(features).unflatten(-1, self.slots.shape)  # type: ignore[no-any-return]

    def _smoothed_loss(self, log_probs: Tensor, nll: Tensor, tokens: Tensor, device: Tensor) -> Tensor:
        """Sum over slots; the two motion slots of mouse ticks against a bell around their bin."""
        ids, (first, last) = self.space.motion_ids, (1, 3)
        bins = (tokens[:, first:last] - ids.start).clamp(0, len(ids) - 1)
        motion = log_probs[:, first:last, ids.start : ids.stop].clamp(min=-1e4)  # -inf for gamepads, masked below
        smoothed = -(self.motion_targets[bins] * motion).sum(-1)
        smoothed = torch.where((device == 0)[:, None], smoothed, nll[:, first:last])
        return nll[:, :first].sum(-1) + smoothed.sum(-1) + nll[:, last:].sum(-1)


def _range_of(legal: NDArray[np.bool_]) -> tuple[int, int]:
    """First and past-the-last of the one run of legal ids. bool (A,)."""
    ids = np.flatnonzero(legal)
    assert len(ids) == ids[-1] - ids[0] + 1, "the vocabulary keeps a slot's tokens together"
    return int(ids[0]), int(ids[-1]) + 1


def ordered_rows(num_bins: int, dim: int) -> Tensor:
    """Weights (bins, dim) of an output whose bins are ordered: neighbours are alike, by random waves over the bins."""
    places = torch.linspace(-1, 1, num_bins)[:, None]
    frequencies, phases = torch.randn(dim) * 6.0, torch.rand(dim) * 2 * torch.pi
    return 0.2 * torch.sin(places * frequencies + phases)


def smooth_targets(num_bins: int, deviation: float) -> Tensor:
    """float (bins, bins): row b is the target of bin b, a normal bell over its neighbours; one-hot for 0."""
    if deviation == 0:
        return torch.eye(num_bins)
    distance = torch.arange(num_bins)[:, None] - torch.arange(num_bins)[None]
    return torch.softmax(-0.5 * (distance / deviation) ** 2, dim=-1)
