"""Frames: RGB images, uint8 (H, W, 3), and the one resize that recording, training, and serving share.

The resize is the exact area average in whole numbers: output pixel = (sum of weight * pixel + half) // total, where
weights are the overlaps of input and output pixels. No floats, so numpy here, a client in another language, and a GPU
give the same bytes. Bilinear was rejected: every library rounds it its own way, and it aliases when it shrinks.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gi_model.errors import FrameError

Frame = NDArray[np.uint8]  # (H, W, 3), RGB
MAX_SIDE = 8192


def check_frame(frame: object) -> Frame:
    """Return `frame` if it is a uint8 (H, W, 3) array. Raises FrameError otherwise."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise FrameError("not a frame", got=got, expected="a uint8 array (H, W, 3), RGB")
    if min(frame.shape) < 1 or max(frame.shape) > MAX_SIDE:
        raise FrameError("frame size out of range", got=frame.shape, expected=f"1 to {MAX_SIDE} pixels a side")
    return frame


def resize(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Area-average uint8 (..., H, W, 3) to uint8 (..., height, width, 3); exact, the same on every machine."""
    if frames.shape[-3:-1] == (height, width):
        return frames
    if frames.shape[-3] % height == 0 and frames.shape[-2] % width == 0:
        return _shrink_whole(frames, height, width)
    return _resize_any(frames, height, width)


def _shrink_whole(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Whole-number factors: the mean of each block."""
    rows, columns = frames.shape[-3] // height, frames.shape[-2] // width
    down = frames[..., ::rows, :, :].astype(np.uint16 if rows * columns <= 256 else np.uint32)
    for row in range(1, rows):
        np.add(down, frames[..., row::rows, :, :], out=down)
    # Colours apart while adding columns: numpy is three times slower along an innermost axis of three.
    planes = np.ascontiguousarray(np.moveaxis(down, -1, -3))
    total = planes[..., ::columns].copy()
    for column in range(1, columns):
        np.add(total, planes[..., column::columns], out=total)
    mean = ((total + rows * columns // 2) // (rows * columns)).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(mean, -3, -1))


def _resize_any(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Any size: weights by overlap, which sum to the input's size along each axis."""
    down, across = _overlaps(frames.shape[-3], height), _overlaps(frames.shape[-2], width)
    # float64 holds these whole numbers exactly (below 2**53), and uses BLAS.
    summed = np.einsum("ij,...jkc->...ikc", down, frames.astype(np.float64), optimize=True)
    summed = np.einsum("lk,...ikc->...ilc", across, summed, optimize=True)
    area = frames.shape[-3] * frames.shape[-2]
    means: NDArray[np.uint8] = ((summed.astype(np.int64) + area // 2) // area).astype(np.uint8)
    return means


@lru_cache(maxsize=64)
def _overlaps(size_in: int, size_out: int) -> NDArray[np.float64]:
    """(size_out, size_in): overlap of output pixel [i in, (i + 1) in) with input pixel [j out, (j + 1) out)."""
    low_out, low_in = np.arange(size_out)[:, None] * size_in, np.arange(size_in)[None] * size_out
    overlap = np.minimum(low_out + size_in, low_in + size_out) - np.maximum(low_out, low_in)
    weights: NDArray[np.float64] = np.maximum(overlap, 0).astype(np.float64)
    return weights
