"""Planes: frames as video stores them, YUV 4:2:0, and the one conversion to RGB that data, training, and tests share.

Layout (I420): uint8 (..., H * 3 / 2, W), H and W even: H rows of Y, then U (H / 2, W / 2), then V, row after row. Half
the bytes of RGB; converting costs more than decoding, so frames of a corpus travel as planes to the device and become
RGB there. BT.709, limited range, in whole numbers, each chroma sample serving its four pixels: numpy, CPU, and GPU give
the same bytes. Rejected: smooth chroma, which H.264 at these sizes
does not reward; libraries' own conversions, each of which rounds in its own way.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.uint8]  # (..., H * 3 / 2, W)

LUMA: Final = 298  # of Y - 16, in each colour
RED_V: Final = 459  # of V - 128
GREEN_U: Final = -55  # of U - 128
GREEN_V: Final = -136
BLUE_U: Final = 541
HALF: Final = 128  # rounds to nearest
SHIFT: Final = 8  # all of them in units of 1 / 256


def size_of(planes: Planes) -> tuple[int, int]:
    """Height and width of the pictures."""
    return planes.shape[-2] * 2 // 3, planes.shape[-1]


def to_rgb(planes: Planes) -> NDArray[np.uint8]:
    """Convert uint8 (..., H * 3 / 2, W) to RGB uint8 (..., H, W, 3)."""
    height, width = size_of(planes)
    lead, half = planes.shape[:-2], (height // 2, width // 2)
    luma = ((planes[..., :height, :].astype(np.int32) - 16) * LUMA + HALF).reshape(*lead, half[0], 2, width)
    chroma = planes[..., height:, :].astype(np.int32).reshape(*lead, 2, *half) - 128
    u, v = chroma[..., 0, :, :], chroma[..., 1, :, :]
    rgb = np.empty((*lead, half[0], 2, width, 3), dtype=np.uint8)
    for colour, offset in enumerate((RED_V * v, GREEN_U * u + GREEN_V * v, BLUE_U * u)):
        level = (luma + offset.repeat(2, axis=-1)[..., None, :]) >> SHIFT
        rgb[..., colour] = level.clip(0, 255)
    return rgb.reshape(*lead, height, width, 3)
