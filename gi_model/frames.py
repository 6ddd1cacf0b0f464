"""Frames: RGB images, uint8 (H, W, 3), and the one resize that recording, training, and serving share.

The resize is the exact area average in whole numbers: output pixel = (sum of weight * pixel + half) // total, where
weights are the overlaps of input and output pixels. No floats, so numpy here, a client in another language, and a GPU
give the same bytes. Bilinear was rejected: every library rounds it its own way, and it aliases when it shrinks.
"""

from typing import Any

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
    """Any size: an output pixel is the difference of the image's integral at its edges, one axis after the other."""
    rows_in, columns_in = frames.shape[-3:-1]
    area = rows_in * columns_in
    whole: type[np.unsignedinteger[Any]] = np.uint32 if 255 * area < 2**32 else np.uint64
    rows = _sum_overlaps(frames.reshape(*frames.shape[:-2], -1), height, whole)
    sums = _sum_overlaps(rows.reshape(*rows.shape[:-1], columns_in, 3), width, whole)
    means: NDArray[np.uint8] = ((sums + whole(area // 2)) // whole(area)).astype(np.uint8)
    return means


def _sum_overlaps(values: NDArray[Any], size: int, whole: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    """(..., N, M) -> (..., size, M): sums weighted by overlap; integrals may wrap, their differences are exact."""
    num = values.shape[-2]
    inside, part = np.divmod(np.arange(size + 1) * num, size)
    before = np.zeros((*values.shape[:-2], num + 1, values.shape[-1]), dtype=whole)
    np.cumsum(values, axis=-2, dtype=whole, out=before[..., 1:, :])
    edges = values[..., np.minimum(inside, num - 1), :] * part.astype(whole)[:, None]
    integral = before[..., inside, :] * whole(size) + edges
    sums: NDArray[Any] = integral[..., 1:, :] - integral[..., :-1, :]
    return sums
