"""What a policy computes and weighs, by part: floating-point operations a tick, parameters, bytes of memory a stream.

Counted from the config alone, so that a size too big for this machine is counted too; tests hold every number against
torch's counter on real modules. A multiplication with an addition counts two. Norms, activations, rotations, and
softmax are not counted, as is usual; of attention, the pairs of tokens that see each other, not the square that a dense
kernel computes, so that utilisation is never flattered.

T ticks of a training window, V tokens a tick, D width, K action tokens, C decoder width, A vocabulary.
"""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from gi_model.actions import ActionSpace
from gi_model.backbone import hidden_dim
from gi_model.config import PolicyConfig
from gi_model.encoder import TimmEncoder, cell_channels, count_cells
from gi_model.motion_encoder import CELLS, CHANNELS, HIDDEN, REACH, REACH_DOWN, REGIONS
from gi_model.policy import Policy

BACKWARD = 2  # a backward pass computes two products for each of the forward pass


@dataclass(frozen=True)
class Parts:
    """Forward operations of one tick."""

    encoder: float
    past: float  # the action of the tick before
    backbone: float  # projections and MLPs
    attention: float  # of the backbone, between its tokens
    decoder: float

    @property
    def total(self) -> float:
        """All of it. In play all of it is on the critical path: nothing runs before the frame or after the action."""
        return self.encoder + self.past + self.backbone + self.attention + self.decoder


@dataclass(frozen=True)
class Flops:
    """The count of one config."""

    config: PolicyConfig
    parameters: dict[str, int]  # encoder, past, backbone, decoder; the token embedding once, with `past`
    fixed: Parts  # everything but attention, whose `attention` is 0
    tick_pair: float  # operations of one tick's attention to one tick

    @property
    def num_parameters(self) -> int:
        """Of all parts."""
        return sum(self.parameters.values())

    @property
    def streaming(self) -> Parts:
        """Of one step with the whole window in its cache."""
        return self._with_attention(self.config.window_ticks)

    def window(self, num_ticks: int) -> Parts:
        """Of a tick in a training window of `num_ticks`, on average over its ticks."""
        return self._with_attention(visible_ticks(self.config, num_ticks) / num_ticks)

    def training(self, num_ticks: int) -> float:
        """Forward and backward operations of a tick in a training window; recomputed activations not counted.

        Charges for a gradient of the pixels, which nobody computes: a tenth too much at `tiny`, a hundredth at `base`.
        """
        return (1 + BACKWARD) * self.window(num_ticks).total

    def cache_bytes(self, bytes_per_number: int = 2) -> int:
        """Keys and values that a stream keeps: the whole window, in bf16 by default."""
        config = self.config
        numbers_per_token = 2 * config.num_layers * config.num_kv_heads * config.head_dim
        return bytes_per_number * numbers_per_token * config.tokens_per_frame * config.window_ticks

    def _with_attention(self, mean_visible_ticks: float) -> Parts:
        fixed = self.fixed
        return Parts(
            fixed.encoder, fixed.past, fixed.backbone, self.tick_pair * mean_visible_ticks, decoder=fixed.decoder
        )


def count(config: PolicyConfig) -> Flops:
    """Count a policy of `config`. Raises ConfigError on an encoder that does not exist."""
    with torch.device("meta"):
        policy = Policy(config)
    backbone = config.num_layers * _block(config.dim, config.num_kv_heads * config.head_dim)
    fixed = Parts(
        encoder=_encoder(config, policy) + (motion_flops(config) if config.lookahead_ticks else 0.0),
        past=0.0 if policy.past is None else _linear(policy.space.num_tokens * config.decoder_dim, config.dim),
        backbone=config.tokens_per_frame * backbone,
        attention=0.0,
        decoder=_decoder(config, policy.space),
    )
    pairs_of_tokens = config.tokens_per_frame**2
    return Flops(config, _parameters(policy), fixed, pairs_of_tokens * config.num_layers * _pair(config.dim))


def visible_ticks(config: PolicyConfig, num_ticks: int) -> int:
    """Pairs (tick, tick it sees) in a window of `num_ticks`."""
    before, after = config.window_ticks - 1, config.lookahead_ticks
    return sum(min(tick, before) + 1 + min(num_ticks - 1 - tick, after) for tick in range(num_ticks))


def _parameters(policy: Policy) -> dict[str, int]:
    """By part; a tensor that parts share belongs to the first."""
    seen: set[int] = set()
    counts = {}
    for name, part in policy.named_children():
        own = [parameter for parameter in part.parameters() if id(parameter) not in seen]
        seen |= {id(parameter) for parameter in own}
        counts[name] = sum(parameter.numel() for parameter in own)
    return counts


def _encoder(config: PolicyConfig, policy: Policy) -> float:
    if isinstance(policy.encoder, TimmEncoder):
        return _counted(policy.encoder, config)
    strides = (4, 2, 2, 2) if config.encoder == "hybrid" else (4, 2, 2)
    channels = (*config.stem_channels, config.encoder_dim)
    height, width, before, total = config.height, config.width, 3, 0.0
    for channel, stride in zip(channels, strides, strict=False):
        kernel = 8 if before == 3 else 3
        height, width = (_convolved(side, kernel, stride) for side in (height, width))
        total += height * width * _linear(kernel * kernel * before, channel)
        before = channel
    num_features = height * width * before
    if config.encoder == "hybrid":
        cells, dim = count_cells(config), config.encoder_dim
        per_cell = config.encoder_layers * (_block(dim, dim) + cells * _pair(dim)) + _linear(dim, cell_channels(dim))
        total += cells * per_cell
        num_features = cells * cell_channels(dim)
    return total + _linear(num_features, config.tokens_per_frame * config.dim)


def motion_flops(config: PolicyConfig) -> float:
    """Of the comparison of a frame with the next one, in models that see later frames."""
    stride, reach = max(1, config.width // CELLS), (2 * REACH_DOWN + 1) * (2 * REACH + 1)
    kernel, padding = stride + 1, stride // 2
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (config.height, config.width))
    cells = height * width * _linear(kernel * kernel * 3, CHANNELS)
    rows = -(-height // REGIONS[0]) * REGIONS[0]
    matches = (2 * REACH_DOWN + 1) * rows * width * _linear(CHANNELS, width + 2 * REACH)
    numbers = reach * REGIONS[0] * REGIONS[1]
    return cells + matches + _linear(numbers, HIDDEN) + _linear(HIDDEN, config.tokens_per_frame * config.dim)


def _convolved(side: int, kernel: int, stride: int) -> int:
    padding = 2 if kernel == 8 else 1
    return (side + 2 * padding - kernel) // stride + 1


def _counted(encoder: TimmEncoder, config: PolicyConfig) -> float:
    """One frame through a backbone that is not ours, by torch's counter, without memory for it."""
    frame = torch.zeros(1, 3, config.height, config.width, dtype=torch.uint8, device="meta")
    counter = FlopCounterMode(display=False)
    with counter:
        encoder.requires_grad_(False).train()(
            frame
        )  # in `eval` mode attention may take a fused path that the counter does not know
    return float(counter.get_total_flops())


def _decoder(config: PolicyConfig, space: ActionSpace) -> float:
    dim, slots = config.decoder_dim, space.num_tokens
    per_slot = config.decoder_layers * (_block(dim, dim) + slots * _pair(dim)) + _linear(dim, space.vocabulary_size)
    return _linear(config.dim, slots * dim) + slots * per_slot


def _block(dim: int, dim_kv: int) -> float:
    """Projections and MLP of one token."""
    attention = _linear(dim, dim + 2 * dim_kv) + _linear(dim, dim)
    return attention + _linear(dim, 2 * hidden_dim(dim)) + _linear(hidden_dim(dim), dim)


def _pair(dim: int) -> float:
    """One query and one key over all heads: the score, and the value's share."""
    return 2 * _linear(dim, 1)


def _linear(dim_in: int, dim_out: int) -> float:
    return 2.0 * dim_in * dim_out
