"""`MotionEncoder`: what moved between a frame and the next one, for models that may see it (inverse dynamics models).

The action of tick t shows in what changes from frame t to frame t + 1. Attention over one token a frame cannot recover
a shift of the picture: each frame was reduced to a vector before it met its neighbour. So frames meet while they are
pictures still: features of a small convolution are compared at every displacement of up to `REACH` cells (a cost volume,
as in FlowNet, Dosovitskiy et al. 2015), and mean agreements by region of the picture say where to it moved. Matching is
a product, which the 3D convolutions of VPT (Baker et al. 2022, appendix D) have to learn from tens of thousands of hours.

B windows, T ticks, C channels, h x w cells, S = (2 * REACH_DOWN + 1) * (2 * REACH + 1) displacements.
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
REGIONS: Final = (3, 2)  # rows and columns of the picture that may move differently: walking is not turning
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
    """Mean products of two feature maps (N, C, h, w) at every displacement, by region, over their energy: (N, S, 6).

    Rows are matched by one matrix product each: all places against all places, of which the diagonals are kept.
    """
    num_rows, width = here.shape[-2:]
    padded = F.pad(there, (REACH, REACH, REACH_DOWN, REACH_DOWN))
    query, keys = here.permute(0, 2, 3, 1), padded.permute(0, 2, 1, 3)  # (N, h, w, C), (N, h + ..., C, w + ...)
    found = []
    for down in range(2 * REACH_DOWN + 1):
        products = query @ keys[:, down : down + num_rows]  # (N, h, w, w + 2 REACH)
        skewed = F.pad(products.flatten(2), (0, width)).unflatten(2, (width, width + 2 * REACH + 1))
        found.append(F.adaptive_avg_pool2d(skewed[..., : 2 * REACH + 1].permute(0, 3, 1, 2), REGIONS))
    energy = [F.adaptive_avg_pool2d(cells.square().sum(1, keepdim=True), REGIONS) for cells in (here, there)]
    scale = (energy[0] * energy[1] + 1e-4).rsqrt()
    return (torch.cat(found, dim=1) * scale).flatten(2)


def _find_edges(features: nn.Conv2d) -> None:
    """Start with filters that sum to zero: flat walls agree at every displacement and say nothing."""
    with torch.no_grad():
        nn.init.normal_(features.weight, std=0.3)
        features.weight.sub_(features.weight.mean((2, 3), keepdim=True))
        nn.init.zeros_(features.bias)  # type: ignore[arg-type]
