"""`ActionDecoder`: features of a tick -> its K action tokens, one after another, off the backbone's critical path.

A tick's tokens depend on each other (who fires stops turning), so they are drawn autoregressively; but by a transformer
a tenth as wide as the backbone, which runs once a tick. Every slot reads its own projection of the features. Illegal
tokens have no probability, in the loss and in play. Rejected: independent heads a factor (no joint), tokens in the
backbone's stream (K passes a tick; about five times slower in published work).

N ticks, K slots, D backbone width, C decoder width, A vocabulary.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gi_model.actions import ActionSpace
from gi_model.backbone import SwiGLU
from gi_model.config import PolicyConfig
from gi_model.sampling import Draw, draw

NUM_HEADS = 2


@dataclass(frozen=True)
class DecoderScore:
    """log_probs float (N, K, A); nll (N, K) of the given tokens; loss (N,), motion targets smoothed."""

    log_probs: Tensor
    nll: Tensor
    loss: Tensor


class DecoderBlock(nn.Module):
    """Causal attention over the slots of one tick, and an MLP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.mlp = SwiGLU(dim)

    def forward(self, x: Tensor) -> Tensor:
        """All slots at once: (N, K, C) -> (N, K, C)."""
        query, key, value = self._project(x)
        return self._finish(x, F.scaled_dot_product_attention(query, key, value, is_causal=True))

    def step(self, x: Tensor, past: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The next slot, (N, 1, C); `past` holds keys and values of the slots before and grows by one."""
        query, key, value = self._project(x)
        past.append((key, value))
        keys, values = (torch.cat(parts, dim=2) for parts in zip(*past, strict=True))
        return self._finish(x, F.scaled_dot_product_attention(query, keys, values))

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads = self.qkv(self.attention_norm(x)).unflatten(-1, (3, NUM_HEADS, -1))
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
        targets = _smooth_targets(len(space.motion_ids), config.motion_smoothing_bins)
        self.register_buffer("motion_targets", targets, persistent=False)

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
        context = self._context(features) + self.slots
        pasts: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self.blocks]
        tokens = torch.zeros(len(features), self.space.num_tokens, dtype=torch.long, device=features.device)
        probs = torch.ones(tokens.shape, device=features.device)
        device = torch.zeros_like(tokens[:, 0])
        for slot in range(self.space.num_tokens):
            x = context[:, slot : slot + 1]
            if slot:
                x = x + self.embedding(tokens[:, slot - 1 : slot])
            for block, past in zip(cast("list[DecoderBlock]", self.blocks), pasts, strict=True):
                x = block.step(x, past)
            logits = self.head(self.norm(x)).squeeze(1).float()
            previous = tokens[:, max(slot - 1, 0)]
            logits = logits.masked_fill(~self._allowed(slot, device, previous), float("-inf"))
            tokens[:, slot], probs[:, slot] = draw(logits, slot, rule)
            if slot == 0:
                device = (tokens[:, 0] == self.space.gamepad_id).long()
            if features.device.type == "cpu" and self._lists_ended(slot, device, tokens[:, slot]):
                break  # the rest is `none` with certainty; on a GPU, looking would cost more than the slots
        return tokens, probs

    def _context(self, features: Tensor) -> Tensor:
        return self.context(features).unflatten(-1, self.slots.shape)  # type: ignore[no-any-return]

    def _allowed(self, slot: int, device: Tensor, previous: Tensor) -> Tensor:
        """bool (N, A): the grammar of `ActionSpace`: legal for the device; lists rise and end with `none`."""
        ids = torch.arange(self.space.vocabulary_size, device=device.device)
        rising = (ids == 0) | ((ids > previous[:, None]) & (previous > 0)[:, None])
        return self.legal[device, slot] & (rising | ~self.is_list[device, slot][:, None])

    def _lists_ended(self, slot: int, device: Tensor, token: Tensor) -> bool:
        in_list = self.is_list[device, min(slot + 1, self.space.num_tokens - 1)]
        return bool((in_list & (token == 0)).all())

    def _smoothed_loss(self, log_probs: Tensor, nll: Tensor, tokens: Tensor, device: Tensor) -> Tensor:
        """Sum over slots; the two motion slots of mouse ticks against a bell around their bin."""
        ids, (first, last) = self.space.motion_ids, (1, 3)
        bins = (tokens[:, first:last] - ids.start).clamp(0, len(ids) - 1)
        motion = log_probs[:, first:last, ids.start : ids.stop].clamp(min=-1e4)  # -inf for gamepads, masked below
        smoothed = -(self.motion_targets[bins] * motion).sum(-1)
        smoothed = torch.where((device == 0)[:, None], smoothed, nll[:, first:last])
        return nll[:, :first].sum(-1) + smoothed.sum(-1) + nll[:, last:].sum(-1)


def _smooth_targets(num_bins: int, deviation: float) -> Tensor:
    """float (bins, bins): row b is the target of bin b, a normal bell over its neighbours; one-hot for 0."""
    if deviation == 0:
        return torch.eye(num_bins)
    distance = torch.arange(num_bins)[:, None] - torch.arange(num_bins)[None]
    return torch.softmax(-0.5 * (distance / deviation) ** 2, dim=-1)
