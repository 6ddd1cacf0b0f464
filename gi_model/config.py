"""`PolicyConfig`: everything that fixes a policy's shape; stored in checkpoints. One dial: the preset's name.

A preset states its command, hardware, time, and expected number. Sizes above `tiny` grow on the same fields.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from gi_model.errors import CheckpointError, ConfigError

PastActions = Literal["none", "dropout", "full"]


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Shape of a policy. Sizes in pixels, ticks, tokens, or channels."""

    height: int = 60
    width: int = 80
    fps: float = 17.5
    encoder: str = "stem"  # "stem", or any timm backbone by name
    stem_channels: tuple[int, int, int] = (32, 64, 64)
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
    past_actions: PastActions = "full"
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
        need(self.past_actions in ("none", "dropout", "full"), "past_actions", self.past_actions, "none|dropout|full")
        peeks = self.lookahead_ticks > 0 and self.past_actions != "none"
        need(not peeks, "past_actions of a model that sees later frames", self.past_actions, "none")
        need(0.0 <= self.past_action_dropout < 1.0, "past_action_dropout", self.past_action_dropout, "in [0, 1)")
        need(min(self.height, self.width) >= 32, "frame too small", (self.height, self.width), "at least 32 pixels")

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
        if odd := names ^ set(data):
            do = "It was written by another version of gi-model; use that version, or retrain."
            raise CheckpointError("policy config with other fields", got=sorted(odd), expected=sorted(names), do=do)
        return cls(**{**data, "stem_channels": tuple(data["stem_channels"])})


PRESETS: Final[Mapping[str, PolicyConfig]] = {
    # Tests and smoke runs: a forward and backward pass in milliseconds on one CPU thread.
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
    # `make demo`: trains on two laptop cores in minutes.
    "tiny": PolicyConfig(),
}


def preset(name: str) -> PolicyConfig:
    """The policy config of a preset. Raises ConfigError on an unknown name."""
    if name not in PRESETS:
        raise ConfigError("unknown preset", got=name, expected=" | ".join(PRESETS))
    return PRESETS[name]
