"""`MotionEncoder`: what moved between a frame and the next one, for models that may see it (inverse dynamics models).

The action of tick t shows in what changes from frame t to frame t + 1. Attention over one token a frame cannot recover
a shift of the picture: each frame was reduced to a vector before it met its neighbour. So frames meet while they are
pictures still: features of a small convolution are compared at every displacement of up to `REACH` cells (a cost
volume, as in FlowNet, Dosovitskiy et al. 2015); agreement by region of the picture says where to it moved. Matching is
a product, which convolutions over both frames (VPT, Baker et al. 2022) have to learn from far more data.

B windows, T ticks, C channels, h x w cells, S displacements, (2 * REACH_DOWN + 1) * (2 * REACH + 1) of them.
"""

from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gi_model.config import PolicyConfig

CELLS: Final = 40  # about so many across the picture
CHANNELS: Final = 6
REACH: Final = 8  # cells to either side: a fifth of the picture a tick
REACH_DOWN: Final = 2
DOWN: Final = range(2 * REACH_DOWN + 1)
REGIONS: Final = (3, 2)  # bands and halves of the picture that may move differently: walking is not turning
HIDDEN: Final = 128


class MotionEncoder(nn.Module):
    """Frames of neighbouring ticks -> V vectors a tick; a learned vector for the last, which has no next frame."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        stride = max(1, config.width // CELLS)
        self.features = nn.Conv2d(3, CHANNELS, kernel_size=stride + 1, stride=stride, padding=stride // 2)
        num_numbers = (2 * REACH_DOWN + 1) * (2 * REACH + 1) * REGIONS[0] * REGIONS[1]
        self.agreement_norm = nn.LayerNorm(num_numbers)
        self.hidden = nn.Linear(num_numbers, HIDDEN)
        self.project = nn.Linear(HIDDEN, config.tokens_per_frame * config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.unknown = nn.Parameter(torch.zeros(config.tokens_per_frame, config.dim))
        self.shape = (config.tokens_per_frame, config.dim)
        _find_edges(self.features)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames uint8 (B, T, 3, H, W) -> (B, T, V, D)."""
        num_rows, num_ticks = frames.shape[:2]
        unknown = self.unknown.expand(num_rows, 1, -1, -1)
        if num_ticks == 1:
            return unknown
        pixels = frames.flatten(0, 1).to(self.project.weight.dtype).mul_(4.0 / 255.0).sub_(2.0)
        cells = self.features(pixels)
        cells = (cells - cells.mean((2, 3), keepdim=True)).unflatten(0, (num_rows, num_ticks))
        numbers = agreement(cells[:, :-1].flatten(0, 1), cells[:, 1:].flatten(0, 1)).flatten(1)
        motion = self.project(F.relu(self.hidden(self.agreement_norm(numbers))))
        motion = self.norm(motion.unflatten(-1, self.shape)).unflatten(0, (num_rows, num_ticks - 1))
        return torch.cat([motion, unknown.to(motion.dtype)], dim=1)


def agreement(here: Tensor, there: Tensor) -> Tensor:
    """Cosine of two feature maps (N, C, h, w) at every displacement, by region: (N, REGIONS[0], REGIONS[1], S).

    A band of rows is matched by one matrix product, all columns against all columns, of which the diagonals are kept:
    wasteful in operations and several times faster than shifting the maps one displacement after another.
    """
    bands = [_bands(F.pad(there, (REACH, REACH, REACH_DOWN, REACH_DOWN))[:, :, down:], here.shape[2]) for down in DOWN]
    query = _bands(here, here.shape[2])
    products = torch.stack([_diagonals(query.transpose(-1, -2) @ keys) for keys in bands], dim=-2).flatten(-2)
    energy = [_bands(cells, here.shape[2]).square().sum(-2)[..., None] for cells in (here, there)]
    scale = (_halves(energy[0]) * _halves(energy[1]) + 1e-4).rsqrt()
    return _halves(products) * scale


def _bands(cells: Tensor, height: int) -> Tensor:
    """The first `height` rows in bands, channels and rows together: (N, C, ..., w) -> (N, bands, C * rows, w)."""
    num_rows = -(-height // REGIONS[0])
    padded = F.pad(cells[:, :, :height], (0, 0, 0, num_rows * REGIONS[0] - height))
    num, channels, _, width = padded.shape
    return padded.reshape(num, channels, REGIONS[0], num_rows, width).transpose(1, 2).flatten(2, 3)


def _diagonals(products: Tensor) -> Tensor:
    """Entries (x, x + i) for i in 0 ... 2 REACH: (..., w, w + 2 REACH) -> (..., w, 2 REACH + 1)."""
    width, length = products.shape[-2:]
    skewed = F.pad(products.flatten(-2), (0, width)).reshape(*products.shape[:-1], length + 1)
    return skewed[..., : 2 * REACH + 1]


def _halves(columns: Tensor) -> Tensor:
    """Sums over the left and the right half: (N, bands, w, X) -> (N, bands, 2, X)."""
    middle = columns.shape[2] // 2
    return torch.stack([columns[:, :, :middle].sum(2), columns[:, :, middle:].sum(2)], dim=2)


def _find_edges(features: nn.Conv2d) -> None:
    """Start with filters that sum to zero: flat walls agree at every displacement and say nothing."""
    with torch.no_grad():
        nn.init.normal_(features.weight, std=0.3)
        features.weight.sub_(features.weight.mean((2, 3), keepdim=True))
        nn.init.zeros_(features.bias)  # type: ignore[arg-type]
