"""Laws of matching: a shift is found where it is, and a frame meets its next frame only."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gi_model.flops import motion_flops
from gi_model.motion_encoder import REACH, REACH_DOWN, REGIONS, MotionEncoder, agreement
from gi_model.policy import Policy
from tests.model.factories import DEBUG, random_frames

IDM = DEBUG.replace(lookahead_ticks=4, past_actions="none")


@pytest.mark.parametrize("size", [(30, 40), (26, 37), (17, 21)])
@pytest.mark.parametrize("shift", [(0, 0), (1, -3), (-REACH_DOWN, REACH), (REACH_DOWN, -REACH)])
def test_a_shifted_picture_agrees_most_at_its_shift(size: tuple[int, int], shift: tuple[int, int]) -> None:
    (height, width), (down, right) = size, shift
    torch.manual_seed(0)
    world = torch.randn(1, 6, height + 2 * REACH_DOWN, width + 2 * REACH)
    here = world[:, :, REACH_DOWN:, REACH:][:, :, :height, :width]
    there = world[:, :, REACH_DOWN - down :, REACH - right :][:, :, :height, :width]
    found = agreement(here, there)
    assert found.shape == (1, *REGIONS, (2 * REACH_DOWN + 1) * (2 * REACH + 1))
    best = int(found.sum((1, 2)).argmax())
    assert (best // (2 * REACH + 1) - REACH_DOWN, best % (2 * REACH + 1) - REACH) == (down, right)


def test_agreement_is_a_cosine_and_flat_pictures_agree_nowhere() -> None:
    cells = torch.randn(2, 6, 12, 16)
    middle = REACH_DOWN * (2 * REACH + 1) + REACH
    torch.testing.assert_close(agreement(cells, cells)[..., middle], torch.ones(2, *REGIONS))
    torch.testing.assert_close(agreement(3 * cells, cells), agreement(cells, cells))
    assert (agreement(torch.zeros(1, 6, 12, 16), torch.zeros(1, 6, 12, 16)) == 0).all()


def test_a_tick_meets_its_next_frame_and_no_other() -> None:
    torch.manual_seed(0)
    encoder, frames = MotionEncoder(IDM), random_frames(1, 6)
    other = frames.clone()
    other[:, 3] = random_frames(1, 1, seed=1)[:, 0]
    changed = (encoder(frames) != encoder(other)).flatten(2).any(-1)[0]
    assert changed.tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize("num_ticks", [1, 2, 5])
def test_the_last_tick_has_no_next_frame(num_ticks: int) -> None:
    encoder = MotionEncoder(IDM)
    with torch.no_grad():
        encoder.unknown.fill_(7.0)
    found = encoder(random_frames(2, num_ticks))
    assert found.shape == (2, num_ticks, IDM.tokens_per_frame, IDM.dim)
    assert (found[:, -1] == 7.0).all()
    assert (found[:, :-1] != 7.0).any(-1).all()


def test_only_models_that_see_later_frames_compare_them() -> None:
    assert Policy(DEBUG).motion is None
    assert Policy(IDM).motion is not None


@pytest.mark.parametrize(("height", "width"), [(32, 40), (60, 80), (64, 97)])
def test_operations_are_counted_as_torch_counts_them(height: int, width: int) -> None:
    config = IDM.replace(height=height, width=width)
    with FlopCounterMode(display=False) as counter:
        MotionEncoder(config)(random_frames(1, 2, config=config))
    with FlopCounterMode(display=False) as one_more:
        MotionEncoder(config).features(torch.zeros(1, 3, height, width))
    assert counter.get_total_flops() - one_more.get_total_flops() == motion_flops(config)  # two frames, one motion
