"""`FrameEncoder`: uint8 frames -> V tokens a frame. Pixels are normalised here and nowhere else.

Three kinds. `StemEncoder`, three convolutions, for CPU sizes (a ViT's patches are 5 to 8 times slower there).
`HybridEncoder`, for the sizes above: convolutions down to cells of 32 pixels, then a transformer over the 36 cells of a
192-pixel frame; a ViT-S over its 144 patches costs six times as much. `TimmEncoder`, any timm backbone by name. Weights
start at random: nothing is ever downloaded behind the user's back (`gi_model.pretrained` loads local ones).

N frames, V tokens a frame, D model width, C channels.
"""

from typing import Any

import torch
from torch import Tensor, nn

from gi_model.backbone import Block, init_blocks, run_blocks
from gi_model.config import ENCODER_HEAD_DIM, PolicyConfig
from gi_model.errors import ConfigError


class StemEncoder(nn.Module):
    """Three strided convolutions and a linear map. Kaiming init and the final norm are what makes it learn early."""

    units: tuple[nn.Module, ...] = ()  # blocks to shard apart: it is too small for any

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.convs = nn.Sequential(*_stem(config.stem_channels))
        with torch.no_grad():
            num_features = self.convs(torch.zeros(1, 3, config.height, config.width)).numel()
        self.project = nn.Linear(num_features, config.tokens_per_frame * config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.shape = (config.tokens_per_frame, config.dim)
        _init_convs(self.convs)

    def set_checkpointing(self, on: bool) -> None:
        """Nothing to keep or to compute again."""

    def forward(self, frames: Tensor) -> Tensor:
        """Frames uint8 (N, 3, H, W) -> tokens (N, V, D)."""
        features = self.convs(_normalised(frames, self.project.weight.dtype)).flatten(1)
        tokens: Tensor = self.norm(self.project(features).unflatten(1, self.shape))
        return tokens


class HybridEncoder(nn.Module):
    """Convolutions, then a transformer over cells of 32 pixels (Xiao et al., Early Convolutions Help Transformers).

    The cells are read in order, a few channels each, by one linear map: as in the stem, place survives. Pooling them by
    learned queries was no better in a short race, at more operations.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        dim = config.encoder_dim
        last = nn.Conv2d(config.stem_channels[-1], dim, kernel_size=3, stride=2, padding=1)
        self.convs = nn.Sequential(*_stem(config.stem_channels), last)
        num_cells = count_cells(config)
        heads = dim // ENCODER_HEAD_DIM
        self.places = nn.Parameter(torch.randn(num_cells, dim) * 0.1)
        self.blocks = nn.ModuleList(
            Block(dim, num_heads=heads, num_kv_heads=heads) for _ in range(config.encoder_layers)
        )
        self.cell_norm, self.narrow = nn.RMSNorm(dim), nn.Linear(dim, cell_channels(dim))
        self.project = nn.Linear(num_cells * cell_channels(dim), config.tokens_per_frame * config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.shape = (config.tokens_per_frame, config.dim)
        self.checkpointing = False
        _init_convs(self.convs)
        init_blocks(self.blocks, dim)

    @property
    def units(self) -> tuple[nn.Module, ...]:
        """Blocks to shard apart."""
        return tuple(self.blocks)

    def set_checkpointing(self, on: bool) -> None:
        """Compute blocks again in the backward pass."""
        self.checkpointing = on

    def forward(self, frames: Tensor) -> Tensor:
        """Frames uint8 (N, 3, H, W) -> tokens (N, V, D)."""
        pixels = _normalised(frames, self.project.weight.dtype).contiguous(memory_format=torch.channels_last)
        cells = self.convs(pixels).flatten(2).transpose(1, 2) + self.places
        cells = run_blocks(self.blocks, cells, repeat=self.checkpointing)
        features = self.narrow(self.cell_norm(cells)).flatten(1)
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

    @property
    def units(self) -> tuple[nn.Module, ...]:
        """Blocks to shard apart: a transformer's; a convnet stays whole."""
        return tuple(getattr(self.backbone, "blocks", ()))

    def set_checkpointing(self, on: bool) -> None:
        """Compute blocks again in the backward pass, as timm does it for this backbone."""
        self.backbone.set_grad_checkpointing(on)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames uint8 (N, 3, H, W) -> tokens (N, V, D)."""
        pixels = ((frames - self.mean) / self.std).to(self.queries.dtype)
        features = self.backbone.forward_features(pixels)
        if features.ndim == 4:  # a convnet's (N, C, h, w)
            features = features.flatten(2).transpose(1, 2)
        queries = self.queries.expand(len(features), -1, -1)
        pooled, _ = self.pool(queries, features, features, need_weights=False)
        tokens: Tensor = self.norm(self.project(pooled))
        return tokens


FrameEncoder = StemEncoder | HybridEncoder | TimmEncoder


def build_encoder(config: PolicyConfig) -> FrameEncoder:
    """The frame encoder that `config.encoder` names."""
    if config.encoder == "stem":
        return StemEncoder(config)
    return HybridEncoder(config) if config.encoder == "hybrid" else TimmEncoder(config)


def count_cells(config: PolicyConfig) -> int:
    """Cells of 32 pixels, those that the frame cuts included."""
    return -(-config.height // 32) * -(-config.width // 32)


def cell_channels(dim: int) -> int:
    """Channels that a hybrid encoder of width `dim` hands on of each cell."""
    return min(64, dim // 8)


def _stem(channels: tuple[int, int, int]) -> list[nn.Module]:
    """Pixels to sixteenths of the height and width."""
    first, second, third = channels
    return [
        nn.Conv2d(3, first, kernel_size=8, stride=4, padding=2),
        nn.ReLU(),
        nn.Conv2d(first, second, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(second, third, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
    ]


def _normalised(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 -> [-2, 2]: inputs scaled up are part of what makes a small encoder learn early."""
    return frames.to(dtype).mul_(4.0 / 255.0).sub_(2.0)


def _init_convs(convs: nn.Sequential) -> None:
    for module in convs:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def _create_backbone(config: PolicyConfig) -> Any:
    import timm  # seconds of imports, which the other encoders do without

    if not timm.is_model(config.encoder):
        near = timm.list_models(f"*{config.encoder[:4]}*")[:3]
        raise ConfigError(
            "unknown frame encoder", got=config.encoder, expected=f"stem, hybrid, or a timm name like {near}"
        )
    size = (config.height, config.width)
    try:
        return timm.create_model(config.encoder, pretrained=False, num_classes=0, img_size=size)
    except TypeError:  # convnets take any size and no img_size
        return timm.create_model(config.encoder, pretrained=False, num_classes=0)
