"""Augmentation that leaves actions right: colour, noise, and a small shift that all frames of a window share.

What a player sees change from frame to frame is what the mouse did, so nothing here may move the picture within a
window: one shift and one colour for all its frames; only noise is new in each. No flip: it would turn left into right.
Whole-number arithmetic, so that a CPU and a GPU give the same bytes; and a row's draws come from (seed, step, window)
alone, so that they depend on no rank, no accumulation, and no other row. Rejected: torchvision's transforms, which draw
from one global stream and know no windows; noise from a generator, which depends on the order.

B windows, T ticks, H and W pixels.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gi_model.batch import Batch, Window
from gi_model.errors import ConfigError

# The most that strength 1 does.
BRIGHTNESS: Final = 40.0  # levels up or down
CONTRAST: Final = 0.4  # factor of 0.6 to 1.4 about the window's mean
SATURATION: Final = 0.6  # factor of 0.4 to 1.6
TINT: Final = 0.15  # each colour's own factor, 0.85 to 1.15: light of another colour
NOISE: Final = 10.0  # standard deviation in levels
SHIFT: Final = 0.06  # of the shorter side, right or left, up or down

_UNIT: Final = 256  # factors are multiples of 1 / 256
_GREY: Final = (77, 150, 29)  # weights of red, green, and blue, in units
_NOISE_LENGTH: Final = 2**20  # normal numbers; each frame reads a stretch of them
_NOISE_STRIDE: Final = 104_729  # from one frame's stretch to the next one's; a prime

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Draws:
    """What happens to each row.

    gain int32 (B, 3), and of what a pixel's colours share: grey, mean (of the window), offset, (B, 1), all in units;
    deviation int32 (B, 1) in 1 / 16 levels; down and right int64 (B, 1) in pixels; start int64 (B, T), where a frame's
    noise begins.
    """

    gain: Tensor
    grey: Tensor
    mean: Tensor
    offset: Tensor
    deviation: Tensor
    down: Tensor
    right: Tensor
    start: Tensor


def augment(batch: Batch, *, strength: float, seed: int, step: int) -> Batch:
    """The batch with other pixels, as RGB, on its own device; labels stay. Strength 0: the very same batch.

    Raises ConfigError on a strength outside 0 to 1, or on a batch that does not say where its rows come from.
    """
    if not 0 <= strength <= 1:
        raise ConfigError("augmentation strength out of range", got=strength, expected="0 to 1")
    if strength == 0:
        return batch
    if len(batch.windows) != len(batch):
        do = "Give `Batch.windows`, as the reader does."
        raise ConfigError("cannot augment rows of unknown origin", got=len(batch.windows), expected=len(batch), do=do)
    frames = batch.rgb()
    uniform = np.stack([_uniform(seed, step, window) for window in batch.windows])
    draws = _draw(uniform, frames, strength)
    return replace(batch, frames=_recolour(_shift(frames, draws), draws))


def _uniform(seed: int, step: int, window: Window) -> Floats:
    """Ten numbers in [-1, 1), float64, that depend on the arguments only."""
    digest = hashlib.blake2b(f"{seed}/{step}/{window.start}/{window.key}".encode(), digest_size=40).digest()
    return np.frombuffer(digest, dtype="<u4") / 2.0**31 - 1


def _draw(uniform: Floats, frames: Tensor, strength: float) -> _Draws:
    """Scale uniform numbers (B, 10) to what each means."""
    num_ticks, height, width = frames.shape[1], *frames.shape[-2:]
    contrast, saturation, brightness, deviation, down, right, start = np.split(uniform[:, 3:], 7, axis=1)
    contrast, saturation = 1 + CONTRAST * strength * contrast, 1 + SATURATION * strength * saturation
    tint = 1 + TINT * strength * uniform[:, :3]
    reach = SHIFT * strength * min(height, width)
    starts = (start + 1) / 2 * _NOISE_LENGTH + _NOISE_STRIDE * np.arange(num_ticks)

    def whole(values: Floats, dtype: torch.dtype = torch.int32) -> Tensor:
        return torch.from_numpy(np.rint(values)).to(dtype).to(frames.device, non_blocking=True)

    return _Draws(
        gain=whole(contrast * saturation * tint * _UNIT),
        grey=whole(contrast * (1 - saturation) * _UNIT),
        mean=whole((1 - contrast) * _UNIT),
        offset=whole(BRIGHTNESS * strength * brightness * _UNIT + _UNIT / 2),
        deviation=whole(np.abs(deviation) * NOISE * strength * 16),
        down=whole(down * reach, torch.int64),
        right=whole(right * reach, torch.int64),
        start=whole(starts % (_NOISE_LENGTH - height * width), torch.int64),
    )


def _shift(frames: Tensor, draws: _Draws) -> Tensor:
    """Move the pictures of each row alike; the edge repeats. uint8 (B, T, 3, H, W)."""
    height, width = frames.shape[-2:]
    rows = (torch.arange(height, device=frames.device) - draws.down).clamp(0, height - 1)
    columns = (torch.arange(width, device=frames.device) - draws.right).clamp(0, width - 1)
    places = (rows[:, :, None] * width + columns[:, None]).flatten(1)[:, None, None]
    return frames.flatten(-2).gather(-1, places.expand(*frames.shape[:3], -1)).view_as(frames)


def _recolour(frames: Tensor, draws: _Draws) -> Tensor:
    """Each colour its gain, and what all three share: grey, mean, offset, noise. uint8 (B, T, 3, H, W)."""
    height, width = frames.shape[-2:]
    noise = _noise(frames.device).unfold(0, height * width, 1)[draws.start].view(*draws.start.shape, height, width)

    def spread(values: Tensor) -> Tensor:
        return values[:, :, None, None]  # (B, 1) over ticks, rows, and columns

    red, green, blue = frames.int().unbind(2)
    grey = (_GREY[0] * red).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2]).bitwise_right_shift_(8)
    mean = grey.sum(dim=(1, 2, 3), dtype=torch.int64).div(grey[0].numel(), rounding_mode="floor").int()[:, None]
    shared = grey.mul_(spread(draws.grey)).add_(spread(draws.mean * mean + draws.offset))
    shared.addcmul_(noise, spread(draws.deviation))
    out = torch.empty_like(frames)
    for colour, level in enumerate((red, green, blue)):
        level.mul_(spread(draws.gain[:, colour : colour + 1])).add_(shared)
        out[:, :, colour] = level.bitwise_right_shift_(8).clamp_(0, 255)
    return out


@lru_cache(maxsize=8)
def _noise(device: torch.device) -> Tensor:
    """Normal numbers with deviation 16, int32, the same everywhere."""
    values = np.random.default_rng(0).standard_normal(_NOISE_LENGTH)
    return torch.from_numpy(np.rint(values * 16)).int().to(device)
