"""Laws of the one resize, and frames that are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_model.errors import FrameError
from gi_model.frames import _resize_any, check_frame, resize

sides = st.integers(1, 12)


def overlaps(size_in: int, size_out: int) -> np.ndarray:
    """(size_out, size_in): overlap of output pixel [i in, (i + 1) in) with input pixel [j out, (j + 1) out)."""
    low_out, low_in = np.arange(size_out)[:, None] * size_in, np.arange(size_in)[None] * size_out
    covered: np.ndarray = np.maximum(0, np.minimum(low_out + size_in, low_in + size_out) - np.maximum(low_out, low_in))
    return covered


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@given(sides, sides, st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_whole_factors_and_general_path_agree_bit_for_bit(h: int, w: int, down: int, across: int, seed: int) -> None:
    frame = noise(h * down, w * across, seed=seed)
    assert (resize(frame, h, w) == _resize_any(frame, h, w)).all()


@given(sides, sides, sides, sides, st.integers(0, 255))
def test_constant_frames_stay_constant(h: int, w: int, height: int, width: int, value: int) -> None:
    assert (resize(np.full((h, w, 3), value, dtype=np.uint8), height, width) == value).all()


@given(sides, sides, sides, sides, st.integers(0, 99))
def test_resizing_commutes_with_mirroring(h: int, w: int, height: int, width: int, seed: int) -> None:
    frame = noise(h, w, seed=seed)
    assert (resize(frame[:, ::-1], height, width) == resize(frame, height, width)[:, ::-1]).all()


@given(sides, sides, sides, sides, st.integers(0, 99))
def test_each_pixel_is_the_mean_of_what_it_covers(h: int, w: int, height: int, width: int, seed: int) -> None:
    frame = noise(h, w, seed=seed)
    down, across = overlaps(h, height), overlaps(w, width)
    sums = np.einsum("ij,jkc,lk->ilc", down, frame.astype(np.int64), across)
    np.testing.assert_array_equal(resize(frame, height, width), (sums + h * w // 2) // (h * w))


def test_a_batch_is_resized_frame_by_frame() -> None:
    frames = noise(4, 30, 41)
    assert (resize(frames, 12, 17) == np.stack([resize(frame, 12, 17) for frame in frames])).all()


def test_mean_is_exact_and_rounds_half_up() -> None:
    frame = np.zeros((2, 2, 3), dtype=np.uint8)
    frame[0, 0] = 2  # mean 0.5
    assert resize(frame, 1, 1).tolist() == [[[1, 1, 1]]]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        np.zeros((4, 4)),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((9000, 1, 3), np.uint8),
    ],
)
def test_what_is_no_frame_is_refused(bad: object) -> None:
    with pytest.raises(FrameError, match="expected"):
        check_frame(bad)
