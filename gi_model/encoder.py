"""`FrameEncoder`: uint8 frames -> V tokens a frame. Pixels are normalised here and nowhere else.

Two kinds: `StemEncoder`, three convolutions for CPU sizes (a ViT's patches are 5 to 8 times slower there), and
`TimmEncoder`, any timm backbone by name. Weights start at random: nothing is ever downloaded behind the user's back.

N frames, V tokens a frame, D model width, C channels.
"""

from typing import Any

import timm
import torch
from torch import Tensor, nn

from gi_model.config import PolicyConfig
from gi_model.errors import ConfigError


class StemEncoder(nn.Module):
    """Three strided convolutions and a linear map. Kaiming init and the final norm are what makes it learn early."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        first, second, third = config.stem_channels
        self.convs = nn.Sequential(
            nn.Conv2d(3, first, kernel_size=8, stride=4, padding=2),
            nn.ReLU(),
            nn.Conv2d(first, second, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(second, third, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
        )
        with torch.no_grad():
            num_features = self.convs(torch.zeros(1, 3, config.height, config.width)).numel()
        self.project = nn.Linear(num_features, config.tokens_per_frame * config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.shape = (config.tokens_per_frame, config.dim)
        for module in self.convs:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, frames: Tensor) -> Tensor:
        """Frames uint8 (N, 3, H, W) -> tokens (N, V, D)."""
        pixels = frames.to(self.project.weight.dtype).mul_(4.0 / 255.0).sub_(2.0)  # in [-2, 2]
        features = self.convs(pixels).flatten(1)
        tokens: Tensor = self.norm(self.project(features).unflatten(1, self.shape))
        return tokens


class TimmEncoder(nn.Module):
    """A timm backbone; V learned queries pool its last feature map by cross-attention."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.backbone = _create_backbone(config)
        channels = self.backbone.num_features
        self.queries = nn.Parameter(torch.randn(config.tokens_per_frame, channels) * 0.02)
        self.pool = nn.MultiheadAttention(channels, num_heads=1, batch_first=True)
        self.project = nn.Linear(channels, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        for name in ("mean", "std"):
            values = torch.tensor(self.backbone.pretrained_cfg[name]).view(1, 3, 1, 1) * 255.0
            self.register_buffer(name, values, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames uint8 (N, 3, H, W) -> tokens (N, V, D)."""
        pixels = (frames.to(self.queries.dtype) - self.mean) / self.std
        features = self.backbone.forward_features(pixels)
        if features.ndim == 4:  # a convnet's (N, C, h, w)
            features = features.flatten(2).transpose(1, 2)
        queries = self.queries.expand(len(features), -1, -1)
        pooled, _ = self.pool(queries, features, features, need_weights=False)
        tokens: Tensor = self.norm(self.project(pooled))
        return tokens


def build_encoder(config: PolicyConfig) -> StemEncoder | TimmEncoder:
    """The frame encoder that `config.encoder` names."""
    return StemEncoder(config) if config.encoder == "stem" else TimmEncoder(config)


def _create_backbone(config: PolicyConfig) -> Any:
    if not timm.is_model(config.encoder):
        near = timm.list_models(f"*{config.encoder[:4]}*")[:3]
        raise ConfigError("unknown frame encoder", got=config.encoder, expected=f"'stem' or a timm name like {near}")
    size = (config.height, config.width)
    try:
        return timm.create_model(config.encoder, pretrained=False, num_classes=0, img_size=size)
    except TypeError:  # convnets take any size and no img_size
        return timm.create_model(config.encoder, pretrained=False, num_classes=0)
