"""64-bit perceptual hashes of small grey pictures: pictures that look alike differ in few bits.

The signs of the 8x8 lowest frequencies (DCT) against their median. Measured on Doom, share within 8 bits: re-encoded at
crf 34 .88, cut by 4 % .96, by 10 % .55, brighter or darker 1.0; pictures of other recordings of the same game .004.
Rejected: differences of neighbouring pixels (dHash): .17, .80, and .13 on the same pictures; frequencies without the
constant row and column: .83, .91, .31. A shift of 5 ticks defeats each of them in a game that turns fast.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 36, 64  # of the pictures that are hashed; their shape is forgotten, so a stretched copy is found
FLATTEST = 4.0  # standard deviation in grey levels below which a picture shows nothing that a hash could hold
NO_HASH = np.uint64(0)

Hashes = NDArray[np.uint64]


def shrink(pictures: NDArray[np.uint8], height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.float32]:
    """Area-average grey pictures (T, H, W) to float32 (T, height, width)."""
    down, across = _overlaps(pictures.shape[1], height), _overlaps(pictures.shape[2], width)
    small: NDArray[np.float32] = down @ pictures.astype(np.float32) @ across.T
    return small


def hash_pictures(small: NDArray[np.float32]) -> Hashes:
    """uint64 (T,) of pictures (T, HEIGHT, WIDTH); `NO_HASH` where there is nothing to see."""
    if not len(small):
        return np.empty(0, dtype=np.uint64)
    waves = (_cosines(small.shape[1]) @ small @ _cosines(small.shape[2]).T).reshape(len(small), 64)
    bits = waves > np.median(waves[:, 1:], axis=1, keepdims=True)
    packed = np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)
    return np.where(small.std(axis=(1, 2)) < FLATTEST, NO_HASH, packed)


def distance(a: Hashes, b: Hashes) -> NDArray[np.uint8]:
    """Bits in which hashes differ, elementwise."""
    bits: NDArray[np.uint8] = np.bitwise_count(a ^ b)
    return bits


@lru_cache(maxsize=64)
def _overlaps(size_in: int, size_out: int) -> NDArray[np.float32]:
    """(size_out, size_in): share of each input pixel in each output pixel; rows sum to 1."""
    low_out, low_in = np.arange(size_out)[:, None] * size_in, np.arange(size_in)[None] * size_out
    overlap = np.minimum(low_out + size_in, low_in + size_out) - np.maximum(low_out, low_in)
    weights: NDArray[np.float32] = (np.maximum(overlap, 0) / size_in).astype(np.float32)
    return weights


@lru_cache(maxsize=8)
def _cosines(size: int) -> NDArray[np.float32]:
    """(8, size): the lowest frequencies of the cosine transform."""
    waves: NDArray[np.float32] = np.cos(np.pi / size * np.outer(np.arange(8), np.arange(size) + 0.5)).astype(np.float32)
    return waves
