"""One conversion, the same bytes everywhere; and colours that are right."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_model.batch import Batch, planes_to_rgb
from gi_model.planes import size_of, to_rgb
from tests.model.factories import random_batch


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_numpy_and_torch_give_the_same_bytes(rows: int, columns: int, num: int, seed: int) -> None:
    height, width = 2 * rows, 2 * columns
    planes = np.random.default_rng(seed).integers(0, 256, (num, height * 3 // 2, width), dtype=np.uint8)
    assert size_of(planes) == (height, width)
    rgb = to_rgb(planes)
    assert rgb.shape == (num, height, width, 3)
    np.testing.assert_array_equal(planes_to_rgb(torch.from_numpy(planes)).numpy(), rgb.transpose(0, 3, 1, 2))


def test_every_value_of_every_plane_is_converted_as_bt709_says() -> None:
    """All 2^16 pairs of chroma at several levels of luma, against the standard in floating point."""
    u, v = (grid.astype(np.uint8) for grid in np.meshgrid(np.arange(256), np.arange(256)))
    for level in (0, 16, 17, 81, 128, 200, 235, 255):
        planes = np.concatenate([np.full((512, 512), level, np.uint8).ravel(), u.ravel(), v.ravel()]).reshape(768, 512)
        y, cb, cr = (level - 16) / 219, (u - 128.0) / 224, (v - 128.0) / 224
        exact = np.stack([y + 1.5748 * cr, y - 0.187324 * cb - 0.468124 * cr, y + 1.8556 * cb], axis=-1)
        error = to_rgb(planes)[::2, ::2].astype(float) - (255 * exact).clip(0, 255)
        assert np.abs(error).max() < 1.0


def test_a_batch_of_planes_is_seen_as_its_rgb() -> None:
    batch = random_batch(2, 3)
    b, t = batch.frames.shape[:2]
    planes = torch.randint(0, 256, (b, t, 12, 8), dtype=torch.uint8)
    of_planes = Batch(planes, batch.actions, batch.known, batch.previous, batch.previous_known, batch.game_id)
    assert of_planes.is_planes
    assert not batch.is_planes
    assert of_planes.rgb().shape == (b, t, 3, 8, 8)
    assert torch.equal(of_planes.rgb(), planes_to_rgb(planes))
    assert batch.rgb() is batch.frames


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 3, 4, 4, 1)])
def test_a_batch_of_neither_is_refused(shape: tuple[int, ...]) -> None:
    batch = random_batch(2, 3)
    with pytest.raises(Exception, match="do not fit together"):
        Batch(torch.zeros(shape, dtype=torch.uint8), *list(vars(batch).values())[1:6])
