"""`PolicyConfig`: everything that fixes a policy's shape; stored in checkpoints. One dial: the preset's name.

A preset states its command, hardware, time, and expected number. Sizes above `tiny` grow on the same fields: 192 pixels
and 10 s at 20 Hz, several backbone tokens a frame (a step reads every weight once however many; but on a CPU a matrix
product of four rows or more is bound by arithmetic and costs twice that of up to three, so four are for GPU sizes),
widths in tiles of a GPU, grouped-query attention so that the caches of 64 streams fit beside the weights.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, get_args

from gi_model.errors import CheckpointError, ConfigError

PastActions = Literal["none", "dropout", "full", "hidden"]
ENCODER_HEAD_DIM: Final = 64
# Fields that checkpoints written before them lack; their defaults are what those checkpoints mean.
_LATER_FIELDS: Final = frozenset({"lookahead_ticks", "encoder_dim", "encoder_layers"})


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Shape of a policy. Sizes in pixels, ticks, tokens, or channels."""

    height: int = 60
    width: int = 80
    fps: float = 17.5
    encoder: str = "stem"  # "stem", "hybrid", or any timm backbone by name
    stem_channels: tuple[int, int, int] = (32, 64, 64)
    encoder_dim: int = 256  # width of a hybrid encoder's transformer, 64 a head
    encoder_layers: int = 2  # and its depth
    tokens_per_frame: int = 1  # V
    dim: int = 160
    num_layers: int = 3
    num_heads: int = 5
    num_kv_heads: int = 5
    window_ticks: int = 8  # each layer sees this many ticks, the current one included
    lookahead_ticks: int = 0  # and this many later ones: 0 plays, more only labels (an inverse dynamics model)
    rope_period_ticks: int = 4096
    decoder_dim: int = 64
    decoder_layers: int = 1
    past_actions: PastActions = "full"  # hidden: no longer shown (an adapter's choice); none: it never was
    past_action_dropout: float = 0.5  # share hidden while training, with past_actions "dropout"
    motion_smoothing_bins: float = 1.0  # standard deviation of the motion targets, in bins; 0 = one-hot

    def __post_init__(self) -> None:
        def need(condition: bool, what: str, got: object, expected: str) -> None:
            if not condition:
                raise ConfigError(f"policy config: {what}", got=got, expected=expected)

        need(self.dim % self.num_heads == 0, "dim not divisible by num_heads", (self.dim, self.num_heads), "a multiple")
        need(self.head_dim % 2 == 0, "odd head size", self.head_dim, "an even number (RoPE turns pairs)")
        heads = (self.num_heads, self.num_kv_heads)
        need(self.num_heads % self.num_kv_heads == 0, "heads not divisible by kv heads", heads, "a multiple")
        need(1 <= self.tokens_per_frame <= 16, "tokens_per_frame out of range", self.tokens_per_frame, "1 to 16")
        ticks = (self.window_ticks, self.rope_period_ticks)
        need(1 <= ticks[0] <= ticks[1] // 2, "window against rope period", ticks, "window at most half the period")
        need(0 <= self.lookahead_ticks <= ticks[0], "lookahead out of range", self.lookahead_ticks, f"0 to {ticks[0]}")
        ways = get_args(PastActions)
        need(self.past_actions in ways, "past_actions", self.past_actions, "|".join(ways))
        peeks = self.lookahead_ticks > 0 and self.past_actions != "none"
        need(not peeks, "past_actions of a model that sees later frames", self.past_actions, "none")
        need(0.0 <= self.past_action_dropout < 1.0, "past_action_dropout", self.past_action_dropout, "in [0, 1)")
        need(min(self.height, self.width) >= 32, "frame too small", (self.height, self.width), "at least 32 pixels")
        encoder = (self.encoder_dim, self.encoder_layers)
        fits = self.encoder_dim % ENCODER_HEAD_DIM == 0 and min(encoder) >= 1
        need(fits, "encoder_dim, encoder_layers", encoder, f"a multiple of {ENCODER_HEAD_DIM}, and at least 1")

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.num_heads

    def replace(self, **changes: Any) -> Self:
        """A copy with `changes`, checked anew."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises CheckpointError on unknown or missing fields, by name."""
        names = {field.name for field in dataclasses.fields(cls)}
        if odd := (names ^ set(data)) - (_LATER_FIELDS - set(data)):
            do = "It was written by another version of gi-model; use that version, or retrain."
            raise CheckpointError("policy config with other fields", got=sorted(odd), expected=sorted(names), do=do)
        return cls(**{**data, "stem_channels": tuple(data["stem_channels"])})


_SMALL: Final = PolicyConfig(
    height=192,
    width=192,
    fps=20.0,
    encoder="hybrid",
    stem_channels=(32, 64, 128),
    encoder_dim=256,
    encoder_layers=2,
    tokens_per_frame=2,
    dim=384,
    num_layers=6,
    num_heads=6,
    num_kv_heads=2,
    window_ticks=200,
    decoder_dim=128,
    decoder_layers=2,
    past_actions="dropout",  # human players' own past misleads a policy that always sees it; hidden half the time
)

PRESETS: Final[Mapping[str, PolicyConfig]] = {
    # gi pretrain --preset debug: any CPU, seconds; learns nothing. A forward and backward pass takes milliseconds.
    "debug": PolicyConfig(
        height=32,
        width=40,
        stem_channels=(8, 16, 16),
        dim=32,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        decoder_dim=16,
    ),
    # `make demo`, or gi pretrain --preset tiny: 1.6 M parameters; trains on two laptop cores in minutes, to a mean
    # normalised score of about 0.8 over three Doom games.
    "tiny": PolicyConfig(),
    # gi pretrain --preset small: one GPU, tens of minutes. 14 M parameters, so that its checkpoint is under 30 MB in
    # bf16; 0.28 GFLOP an action and 1.2 MB of cache a session; an action in 15 to 20 ms of one CPU thread. Not trained
    # yet: no loss to expect.
    "small": _SMALL,
    # gi pretrain --preset base: one H100 or more, hours to days. 152 M parameters, 1.8 GFLOP an action, 4.5 MB of
    # cache; an action in about 90 ms of one CPU thread. Not trained yet.
    "base": _SMALL.replace(
        stem_channels=(64, 128, 192),
        encoder_dim=512,
        encoder_layers=4,
        dim=1024,
        num_layers=11,
        num_heads=8,
        num_kv_heads=2,
        decoder_dim=256,
    ),
    # torchrun ... gi pretrain --preset large: eight H100, days. 613 M parameters, 7.7 GFLOP an action, 27 MB of cache.
    # Not trained yet.
    "large": _SMALL.replace(
        stem_channels=(96, 192, 384),
        encoder_dim=768,
        encoder_layers=4,
        tokens_per_frame=4,
        dim=1536,
        num_layers=22,
        num_heads=12,
        num_kv_heads=3,
        decoder_dim=384,
        decoder_layers=3,
    ),
    # The same over several nodes (k8s/). 1.19 B parameters, 15.3 GFLOP an action, 39 MB of cache. Not trained yet.
    "xl": _SMALL.replace(
        stem_channels=(128, 256, 512),
        encoder_dim=1024,
        encoder_layers=5,
        tokens_per_frame=4,
        dim=2048,
        num_layers=24,
        num_heads=16,
        num_kv_heads=4,
        decoder_dim=512,
        decoder_layers=3,
    ),
}


def preset(name: str) -> PolicyConfig:
    """The policy config of a preset. Raises ConfigError on an unknown name."""
    if name not in PRESETS:
        raise ConfigError("unknown preset", got=name, expected=" | ".join(PRESETS))
    return PRESETS[name]
