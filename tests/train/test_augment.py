"""Laws of augmentation: labels still say what the picture does, and a row's pixels depend on nothing but the row."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gi_data.ingest.optical_flow import global_flow
from gi_data.ingest.timeline import TimedFrame
from gi_model.actions import InputState
from gi_model.batch import Batch, Window
from gi_model.errors import ConfigError
from gi_train import augment as augment_module
from gi_train.augment import SHIFT, augment

HEIGHT, WIDTH, TICKS = 120, 160, 16
TICK_NS = 50_000_000

Pictures = NDArray[np.uint8]  # (B, T, H, W, 3)


def batch_of(frames: torch.Tensor) -> Batch:
    b, t = frames.shape[:2]
    return Batch(
        frames=frames,
        actions=torch.arange(b * t * 14).view(b, t, 14),
        known=torch.ones(b, t, dtype=torch.bool),
        previous=torch.zeros(b, 14, dtype=torch.long),
        previous_known=torch.zeros(b, dtype=torch.bool),
        game_id=torch.zeros(b, dtype=torch.long),
        windows=tuple(Window(f"clip{row}", 8 * row) for row in range(b)),
    )


def random_planes(b: int = 6, t: int = 3, *, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return batch_of(torch.randint(0, 256, (b, t, 48, 40), dtype=torch.uint8, generator=generator))


def select(batch: Batch, rows: Sequence[int]) -> Batch:
    names = ("frames", "actions", "known", "previous", "previous_known", "game_id")
    picked = {name: getattr(batch, name)[list(rows)] for name in names}
    return replace(batch, **picked, windows=tuple(batch.windows[row] for row in rows))


# ---------------------------------------------------------------------- a row alone


def test_a_rows_pixels_do_not_depend_on_the_batch_around_it() -> None:
    batch = random_planes()
    whole = augment(batch, strength=1.0, seed=3, step=7).frames
    for rows in ([4], [5, 0, 2], [1, 1]):
        assert torch.equal(augment(select(batch, rows), strength=1.0, seed=3, step=7).frames, whole[rows])


def test_planes_and_rgb_give_the_same_bytes() -> None:
    batch = random_planes()
    as_rgb = replace(batch, frames=batch.rgb())
    before = as_rgb.frames.clone()
    planes, rgb = (augment(each, strength=0.7, seed=0, step=0).frames for each in (batch, as_rgb))
    assert torch.equal(planes, rgb)
    assert torch.equal(as_rgb.frames, before)


@pytest.mark.parametrize("change", [{"seed": 1}, {"step": 1}])
def test_seed_and_step_change_every_row(change: dict[str, int]) -> None:
    batch = random_planes()
    one = augment(batch, strength=1.0, seed=0, step=0)
    other = augment(batch, strength=1.0, **{"seed": 0, "step": 0, **change})
    assert not (one.frames == other.frames).all(dim=(1, 2, 3, 4)).any()


def test_the_window_changes_a_row() -> None:
    batch = batch_of(random_planes(1).rgb().expand(6, -1, -1, -1, -1))
    rows = augment(batch, strength=1.0, seed=0, step=0).frames.flatten(1)
    assert len({row.numpy().tobytes() for row in rows}) == 6


def test_labels_stay_and_strength_zero_touches_nothing() -> None:
    batch = random_planes()
    out = augment(batch, strength=1.0, seed=0, step=0)
    assert out.actions is batch.actions
    assert out.known is batch.known
    assert out.windows == batch.windows
    assert augment(batch, strength=0.0, seed=0, step=0) is batch


# ---------------------------------------------------------------------- what it does to a picture


def test_frames_of_a_window_change_alike_but_for_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(random_planes(6, 1).rgb().expand(-1, 4, -1, -1, -1))
    noisy = augment(batch, strength=1.0, seed=0, step=0).frames
    assert not torch.equal(noisy[:, 0], noisy[:, 1])
    monkeypatch.setattr(augment_module, "NOISE", 0.0)
    quiet = augment(batch, strength=1.0, seed=0, step=0).frames
    assert (quiet == quiet[:, :1]).all()
    assert not torch.equal(quiet, batch.frames)


def test_a_shift_moves_whole_pictures_and_repeats_their_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BRIGHTNESS", "CONTRAST", "SATURATION", "TINT", "NOISE"):
        monkeypatch.setattr(augment_module, name, 0.0)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(80), indexing="ij")
    picture = torch.stack([rows, columns, torch.zeros_like(rows)]).to(torch.uint8)
    batch = batch_of(picture.expand(40, 2, -1, -1, -1))
    frames = augment(batch, strength=1.0, seed=0, step=0).frames.int()
    reach, seen = round(SHIFT * 64), set()
    for frame in frames[:, 0]:
        down, right = 30 - int(frame[0, 30, 40]), 40 - int(frame[1, 30, 40])
        assert max(abs(down), abs(right)) <= reach
        assert torch.equal(frame[0], (rows - down).clamp(0, 63).int())
        assert torch.equal(frame[1], (columns - right).clamp(0, 79).int())
        seen.add((down, right))
    assert len(seen) > 20


def test_brightness_contrast_and_colour_all_vary_around_the_picture() -> None:
    batch = batch_of(random_planes(1).rgb().expand(200, -1, -1, -1, -1).contiguous())
    before, after = (each.frames.float() for each in (batch, augment(batch, strength=1.0, seed=0, step=0)))
    level, spread = after.mean(dim=(1, 2, 3, 4)), after.std(dim=(1, 2, 3, 4))
    assert level.std() > 10
    assert abs(level.mean() - before.mean()) < 10
    assert (spread < before.std()).any()
    assert (spread > before.std()).any()
    tint = after.mean(dim=(1, 3, 4))
    assert (tint[:, 0] - tint[:, 2]).std() > 3


# ---------------------------------------------------------------------- labels and geometry


def flow_correlation(windows: Pictures, motion: NDArray[np.float64]) -> float:
    """Correlation of each frame's horizontal shift with the mouse motion before it; windows (B, T, ...), (B, T)."""
    shifts: list[float] = []
    moves: list[float] = []
    for window, labels in zip(windows, motion, strict=True):
        timed = [TimedFrame(tick * TICK_NS, partial(window.__getitem__, tick)) for tick in range(len(window))]
        flow = global_flow(timed, step_ns=TICK_NS, end_ns=len(timed) * TICK_NS)
        shifts.extend(flow.shift[:, 0])
        moves.extend(labels[flow.start_ns // TICK_NS])
    assert len(shifts) > 0.8 * motion[:, 1:].size  # else the pictures were beyond comparison
    return float(np.corrcoef(shifts, moves)[0, 1])


def pictures_of(batch: Batch) -> Pictures:
    pictures: Pictures = batch.frames.permute(0, 1, 3, 4, 2).numpy()
    return pictures


@pytest.fixture(scope="module")
def doom() -> tuple[Batch, NDArray[np.float64]]:
    """Twenty windows of a player that looks around, and its mouse motion (B, T)."""
    pytest.importorskip("vizdoom")
    from gi_data.envs import make_environment

    rng, env = np.random.default_rng(0), make_environment("doom/gather")
    frames, motion = [], rng.normal(0, 25, 20 * TICKS).round()
    motion[::4] = 0
    frame, _ = env.reset(seed=0)
    for right in motion:
        frames.append(frame)
        frame, *_ = env.step(InputState(motion=(int(right), 0)))
    env.close()
    pictures = np.stack(frames).reshape(20, TICKS, *frame.shape)
    return batch_of(torch.from_numpy(pictures).permute(0, 1, 4, 2, 3).contiguous()), motion.reshape(20, TICKS)


@pytest.fixture(scope="module")
def panned() -> tuple[Batch, NDArray[np.float64]]:
    """The same of a texture that a camera pans over: a pixel a count."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 256, (HEIGHT // 4, 800, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    motion = rng.integers(-20, 21, (12, TICKS)).astype(np.float64)
    start = 1500 + np.concatenate([np.zeros((12, 1)), motion.cumsum(axis=1)[:, :-1]], axis=1).astype(int)
    pictures = np.stack([[texture[:, left : left + WIDTH] for left in row] for row in start])
    return batch_of(torch.from_numpy(pictures).permute(0, 1, 4, 2, 3).contiguous()), motion


@pytest.mark.parametrize("source", ["doom", "panned"])
@pytest.mark.parametrize("step", [0, 1])
def test_the_picture_still_moves_against_the_mouse(source: str, step: int, request: pytest.FixtureRequest) -> None:
    batch, motion = request.getfixturevalue(source)
    before = flow_correlation(pictures_of(batch), motion)
    after = flow_correlation(pictures_of(augment(batch, strength=1.0, seed=0, step=step)), motion)
    assert before < -0.95
    assert after < before + 0.05


@pytest.mark.parametrize("source", ["doom", "panned"])
def test_a_flip_would_be_found_out(source: str, request: pytest.FixtureRequest) -> None:
    batch, motion = request.getfixturevalue(source)
    flipped = replace(batch, frames=batch.frames.flip(-1))
    assert flow_correlation(pictures_of(flipped), motion) > 0.95


def test_a_shift_of_each_frames_own_would_be_found_out(panned: tuple[Batch, NDArray[np.float64]]) -> None:
    batch, motion = panned
    loose = batch_of(batch.frames.flatten(0, 1)[:, None])  # every frame a window of its own
    frames = augment(loose, strength=1.0, seed=0, step=0).frames.view_as(batch.frames)
    assert flow_correlation(pictures_of(replace(batch, frames=frames)), motion) > -0.95


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(ConfigError, match="strength"):
        augment(random_planes(), strength=strength, seed=0, step=0)


def test_rows_of_unknown_origin_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Batch\.windows"):
        augment(replace(random_planes(), windows=()), strength=1.0, seed=0, step=0)
