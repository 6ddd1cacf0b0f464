"""`decode_together`: one action from several views of a tick, most likely tokens first to last.

A labelled tick lies in several windows; each gives features of it, and their log-probabilities are averaged slot by
slot (a weighted product of experts: what any of them rules out stays out), with the tokens chosen so far in common.
Buttons, wheel, and keys take the likeliest token. Motion takes the median bin: the evidence is a shift measured with an
error, so the likely bins lie side by side, and of those the median errs least in counts. (A policy that plays must not
do so: its motion may have two targets, and their middle is neither.)

N ticks, M members, K slots, D backbone width, C decoder width, A vocabulary.
"""

from typing import cast

import torch
from torch import Tensor

from gi_model.decoder import ActionDecoder, DecoderBlock, num_heads
from gi_model.sampling import MOTION_SLOTS


@torch.inference_mode()
def decode_together(decoder: ActionDecoder, features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, M, D), weights (N, M) summing to 1 -> tokens int64 (N, K), and their probabilities float (N, K).

    Of a motion, the probability that it lies near the answer, as near as its blurred targets can tell.
    """
    num, num_members, _ = features.shape
    num_slots, dim = decoder.slots.shape
    context = decoder.context(features.flatten(0, 1)).unflatten(-1, decoder.slots.shape) + decoder.slots
    heads = num_heads(dim)
    memory = context.new_empty(len(decoder.blocks), 2, len(context), heads, num_slots, dim // heads)
    tokens = torch.zeros(num, num_slots, dtype=torch.long, device=features.device)
    probs = torch.ones(tokens.shape, device=features.device)
    for slot in range(num_slots):
        x = context[:, slot : slot + 1]
        if slot:
            x = x + decoder.embedding(tokens[:, slot - 1]).repeat_interleave(num_members, dim=0)[:, None]
        for block, past in zip(cast("list[DecoderBlock]", decoder.blocks), memory, strict=True):
            x = block.step(x, past, slot)
        logits = decoder.head(decoder.norm(x).squeeze(1)).float().unflatten(0, (num, num_members))
        agreed = _agree(logits, decoder.allowed(tokens, slot), weights)
        tokens[:, slot], probs[:, slot] = _choose(decoder, agreed, slot)
    return tokens, probs


def _agree(logits: Tensor, allowed: Tensor, weights: Tensor) -> Tensor:
    """Probabilities (N, A) whose logs are the members' averaged; logits (N, M, A), allowed bool (N, A)."""
    log_probs = logits.masked_fill(~allowed[:, None], float("-inf")).log_softmax(-1)
    mean = (log_probs.masked_fill(~allowed[:, None], 0.0) * weights[..., None]).sum(1)
    return mean.masked_fill(~allowed, float("-inf")).softmax(-1)


def _choose(decoder: ActionDecoder, probs: Tensor, slot: int) -> tuple[Tensor, Tensor]:
    """The answer of a slot and how sure it is: (N, A) -> int64 (N,), float (N,)."""
    best, choice = probs.max(-1)
    if slot not in MOTION_SLOTS:
        return choice, best
    ids = decoder.space.motion_ids
    bins = probs[:, ids.start : ids.stop]
    total = bins.cumsum(-1)
    middle = (total < 0.5 * total[:, -1:]).sum(-1)
    places = torch.arange(len(ids), device=probs.device)
    near = torch.where((places - middle[:, None]).abs() <= decoder.near_bins, bins, 0.0).sum(-1)
    is_mouse = choice >= ids.start
    is_mouse &= choice < ids.stop
    return torch.where(is_mouse, middle + ids.start, choice), torch.where(is_mouse, near, best)
