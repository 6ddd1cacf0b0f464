"""Frames: RGB images, uint8 (H, W, 3), and the one resize that recording, training, and serving share.

The resize is the exact area average in whole numbers: output pixel = (sum of weight * pixel + half) // total, where
weights are the overlaps of input and output pixels. No floats, so numpy here, a client in another language, and a GPU
give the same bytes. Bilinear was rejected: every library rounds it its own way, and it aliases when it shrinks.
"""

from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

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
    """Any size: weighted sums along one axis, then the other, in the smallest whole numbers that hold them."""
    down, across = _bands(frames.shape[-3], height), _bands(frames.shape[-2], width)
    area = down.total * across.total
    rows = _sum_bands(frames, down, _whole(255 * down.total))
    columns_first = np.ascontiguousarray(np.moveaxis(rows, -2, -3))
    sums = _sum_bands(columns_first, across, whole := _whole(255 * area + area))
    means = ((sums + whole(area // 2)) // whole(area)).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(means, -3, -2))


class _Bands(NamedTuple):
    """Which inputs (size_out, N) each output covers, with weights (size_out, N) that sum to `total`."""

    inputs: NDArray[np.int64]
    weights: NDArray[np.int64]
    total: int


@lru_cache(maxsize=64)
def _bands(size_in: int, size_out: int) -> _Bands:
    """Overlap of output pixel [i in, (i + 1) in) with input pixel [j out, (j + 1) out), in units of their divisor."""
    divisor = gcd(size_in, size_out)
    step, unit = size_in // divisor, size_out // divisor
    start = np.arange(size_out)[:, None] * step
    inputs = start // unit + np.arange(-(-step // unit) + 1)
    overlap = np.minimum(start + step, (inputs + 1) * unit) - np.maximum(start, inputs * unit)
    return _Bands(np.minimum(inputs, size_in - 1), np.maximum(overlap, 0), step)


def _sum_bands(values: NDArray[Any], bands: _Bands, whole: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    """(..., N, M, 3) -> (..., size_out, M, 3)."""
    total = np.zeros((*values.shape[:-3], len(bands.inputs), *values.shape[-2:]), dtype=whole)
    for inputs, weights in zip(bands.inputs.T, bands.weights.T, strict=True):
        total += values[..., inputs, :, :] * weights[:, None, None].astype(whole)
    return total


def _whole(largest: int) -> type[np.unsignedinteger[Any]]:
    """The smallest type that holds `largest`."""
    return np.uint16 if largest < 2**16 else np.uint32 if largest < 2**32 else np.uint64
