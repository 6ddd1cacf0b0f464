"""Laws of the labeller: what overlapping windows say together, and that what is seen is what it learns from."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gi_model.actions import NEUTRAL, ActionSpace
from gi_model.actions.motion import MOTION
from gi_model.batch import Batch
from gi_model.config import preset
from gi_model.ensemble import decode_together
from gi_model.errors import ConfigError
from gi_model.policy import Policy
from gi_model.policy_stepper import PolicyStepper
from gi_train.labeller import CHUNK, Labeller, centre_weights, window_starts

SPACE = ActionSpace()
IDM = preset("debug").replace(window_ticks=6, lookahead_ticks=5, past_actions="none")


def make_idm(seed: int = 0) -> Policy:
    torch.manual_seed(seed)
    policy = Policy(IDM).eval()
    with torch.no_grad():
        policy.decoder.head.weight.mul_(20)
    return policy


def play(num_ticks: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    shape = (num_ticks, 3, IDM.height, IDM.width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_a_policy_cannot_label_and_an_idm_cannot_play() -> None:
    with pytest.raises(ConfigError, match="a policy cannot label"):
        Labeller(Policy(preset("debug")))
    with pytest.raises(ConfigError, match="sees later frames"):
        PolicyStepper(make_idm(), num_slots=1)


@pytest.mark.parametrize("stride", [0, 6, 7])
def test_windows_must_overlap(stride: int) -> None:
    with pytest.raises(ConfigError, match="stride"):
        Labeller(make_idm(), stride=stride)


@pytest.mark.parametrize("num_ticks", [1, 2, 5, 6, 7, 40, CHUNK, CHUNK + 1, CHUNK + 2])
def test_every_tick_but_the_last_is_answered_with_an_action(num_ticks: int) -> None:
    labeller = Labeller(make_idm())
    found = labeller(play(num_ticks))
    assert found.answered.tolist() == [True] * (num_ticks - 1) + [False]
    assert found.tokens.shape == (num_ticks, labeller.space.num_tokens)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    for tokens in found.tokens:
        labeller.space.decode(tokens)


def test_a_single_window_says_what_the_model_says() -> None:
    """One window: features as in training, each slot its likeliest token (motion: its median)."""
    idm, frames = make_idm(), play(IDM.window_ticks)
    with torch.inference_mode():
        features = idm.backbone(idm.encode(torch.from_numpy(frames)[None])).mean(2)[0]
        tokens, _ = decode_together(idm.decoder, features[:, None], torch.ones(len(frames), 1))
    assert (Labeller(idm)(frames).tokens[:-1] == tokens.numpy()[:-1]).all()


def test_the_future_beyond_its_windows_changes_no_answer() -> None:
    labeller, frames = Labeller(make_idm()), play(30)
    other = frames.copy()
    other[20:] = play(10, seed=1)
    seen = 20 - IDM.window_ticks
    same, changed = labeller(frames), labeller(other)
    assert (same.tokens[:seen] == changed.tokens[:seen]).all()
    assert (same.tokens != changed.tokens).any()


def test_identical_members_equal_one_alone() -> None:
    torch.manual_seed(1)
    idm, features = make_idm(), torch.randn(50, 1, IDM.dim)
    alone = decode_together(idm.decoder, features, torch.ones(50, 1))
    together = decode_together(idm.decoder, features.expand(50, 3, -1), torch.tensor([0.2, 0.5, 0.3]).expand(50, 3))
    assert (alone[0] == together[0]).all()
    torch.testing.assert_close(alone[1], together[1])


def test_a_member_without_weight_has_no_say() -> None:
    torch.manual_seed(1)
    idm, features = make_idm(), torch.randn(50, 2, IDM.dim)
    alone = decode_together(idm.decoder, features[:, :1], torch.ones(50, 1))
    together = decode_together(idm.decoder, features, torch.tensor([1.0, 0.0]).expand(50, 2))
    assert (alone[0] == together[0]).all()
    assert (alone[0] != decode_together(idm.decoder, features, torch.full((50, 2), 0.5))[0]).any()


def test_members_average_their_log_probabilities() -> None:
    """Slot 0 by hand: the product of experts over the buttons."""
    torch.manual_seed(2)
    idm, features = make_idm(), torch.randn(20, 2, IDM.dim)
    tokens, probs = decode_together(idm.decoder, features, torch.tensor([0.25, 0.75]).expand(20, 2))
    log_probs = idm.decoder.score(features.flatten(0, 1), torch.zeros(40, tokens.shape[1], dtype=torch.long)).log_probs
    legal = torch.from_numpy(idm.space.legal[0, 0])
    first = log_probs[:, 0, legal].reshape(20, 2, -1)
    expected = (0.25 * first[:, 0] + 0.75 * first[:, 1]).softmax(-1)
    torch.testing.assert_close(probs[:, 0], expected.max(-1).values)
    assert (legal.nonzero()[expected.argmax(-1), 0] == tokens[:, 0]).all()


@given(st.integers(1, 60), st.integers(2, 12), st.data())
def test_windows_cover_a_stretch_so_that_every_effect_is_seen(num_ticks: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window - 1))
    starts = window_starts(num_ticks, window, stride)
    length = min(window, num_ticks)
    assert starts[0] == 0
    assert starts[-1] + length == num_ticks
    weights = np.zeros(num_ticks)
    for start in starts:
        weights[start : start + length] += centre_weights(length)
    assert (weights[:-1] > 0).all()
    assert weights[-1] == 0


def test_windows_count_most_where_they_see_most() -> None:
    weights = centre_weights(8)
    assert weights[-1] == 0
    assert max(weights) == weights[3]
    assert weights[0] == weights[6] == min(weights[:-1])


# ------------------------------------------------------------------ learning motion

COUNTS = 8  # a count moves the picture by half a pixel


def panning(num_rows: int, num_ticks: int, seed: int) -> Batch:
    """Windows of a random texture that shifts by what the mouse did."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    texture = torch.nn.functional.interpolate(torch.rand(1, 3, IDM.height // 2, 400), scale_factor=2, mode="bilinear")[
        0
    ]
    counts = rng.integers(-COUNTS, COUNTS + 1, (num_rows, num_ticks))
    left = rng.integers(200, 500, num_rows)[:, None] + np.cumsum(counts, axis=1) - counts
    frames = torch.stack([torch.stack([view(texture, x / 2) for x in row]) for row in left.tolist()])
    actions = np.tile(SPACE.encode(NEUTRAL), (num_rows, num_ticks, 1))
    actions[..., 1] = SPACE.motion_ids.start + MOTION.encode(counts)
    tokens = torch.from_numpy(actions)
    yes, no = torch.ones(num_rows, num_ticks, dtype=torch.bool), torch.zeros(num_rows, dtype=torch.bool)
    return Batch(frames, tokens, yes, torch.zeros_like(tokens[:, 0]), no, no.long())


def view(texture: torch.Tensor, x: float) -> torch.Tensor:
    """The picture whose left edge is at `x`."""
    first, share = math.floor(x), x - math.floor(x)
    pixels = texture[:, :, first : first + IDM.width + 1]
    return ((1 - share) * pixels[..., :-1] + share * pixels[..., 1:]).mul(255).byte()


@pytest.mark.slow  # about 20 s: it has to learn
def test_a_model_learns_from_a_panning_picture_how_the_mouse_moved() -> None:
    torch.manual_seed(0)
    idm = Policy(IDM.replace(motion_smoothing_bins=1.0))
    optimizer = torch.optim.AdamW(idm.parameters(), lr=2e-3)
    for step in range(250):
        loss, _ = idm(panning(16, IDM.window_ticks, seed=step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    labeller, batch = Labeller(idm), panning(20, 12, seed=10_000)
    answers = np.concatenate([labeller(frames).tokens[:-1, 1] for frames in batch.frames.numpy()])
    truth = batch.actions[:, :-1, 1].flatten().numpy()
    assert np.corrcoef(answers, truth)[0, 1] > 0.9
