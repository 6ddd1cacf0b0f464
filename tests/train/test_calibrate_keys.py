"""The likeliest action forgets what players do at moments that nobody can foresee; calibrated play does not.

A policy learns made-up play: KeyW is down where the picture is bright, which can be seen. Space is pressed in a
twentieth and released in a fifth of the ticks, and the left mouse button is down in a fifth of them, whatever is seen.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gi_model.actions import ActionSpace, Gamepad, InputState
from gi_model.batch import Batch
from gi_model.calibration import Calibration, load_calibration, save_calibration
from gi_model.config import preset
from gi_model.errors import CorpusError
from gi_model.policy import Policy
from gi_model.policy_stepper import PolicyStepper
from gi_model.stepper import Sampling
from gi_train.calibrate_keys import calibrate_keys
from gi_train.config import TrainConfig
from gi_train.optimizers import build_optimizer

CONFIG = preset("debug").replace(past_actions="full", window_ticks=4)
PRESS, RELEASE, CLICK = 0.05, 0.2, 0.2  # Space is down for 0.05 / (0.05 + 0.2) of the time
B, T = 8, 9
SPACE = ActionSpace()

Frames = NDArray[np.uint8]  # (B, T, 3, H, W)


def play(rng: np.random.Generator, num_rows: int, num_ticks: int) -> tuple[Frames, NDArray[np.bool_]]:
    """Frames, and what is held, bool (B, T, 3): KeyW, Space, left mouse button."""
    held = np.zeros((num_rows, num_ticks, 3), dtype=bool)
    held[:, 0] = rng.random((num_rows, 3)) < 0.2
    for tick in range(1, num_ticks):
        before, dice = held[:, tick - 1], rng.random((num_rows, 3))
        held[:, tick, 0] = np.where(dice[:, 0] < 0.15, ~before[:, 0], before[:, 0])
        held[:, tick, 1] = np.where(before[:, 1], dice[:, 1] > RELEASE, dice[:, 1] < PRESS)
        held[:, tick, 2] = dice[:, 2] < CLICK
    noise = rng.integers(0, 120, (num_rows, num_ticks, 3, CONFIG.height, CONFIG.width))
    return (noise + 120 * held[:, :, 0, None, None, None]).astype(np.uint8), held


def batch_of(frames: Frames, held: NDArray[np.bool_]) -> Batch:
    """All but the first tick, which is the action before."""
    names = np.array(["KeyW", "Space", "MouseLeft"])
    states = [
        InputState(keys=frozenset(names[:2][row[:2]].tolist()), buttons=frozenset(names[2:][row[2:]].tolist()))
        for row in held.reshape(-1, 3)
    ]
    actions = torch.from_numpy(SPACE.encode_all(states)).view(*held.shape[:2], -1)
    rows, ticks = held.shape[0], held.shape[1] - 1
    return Batch(
        frames=torch.from_numpy(frames[:, 1:]),
        actions=actions[:, 1:],
        known=torch.ones(rows, ticks, dtype=torch.bool),
        previous=actions[:, 0],
        previous_known=torch.ones(rows, dtype=torch.bool),
        game_id=torch.zeros(rows, dtype=torch.long),
    )


def batches(seed: int, num: int) -> Iterator[Batch]:
    rng = np.random.default_rng(seed)
    return (batch_of(*play(rng, B, T)) for _ in range(num))


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.manual_seed(0)
    policy = Policy(CONFIG)
    optimizer = build_optimizer(policy, TrainConfig(optimizer="muon"))
    for step, batch in enumerate(batches(0, 250)):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 250)
        loss, _ = policy(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return policy.eval()


@pytest.fixture(scope="module")
def calibration(policy: Policy) -> Calibration:
    return calibrate_keys(policy, batches(1, 60))


def let_play(policy: Policy, calibration: Calibration, rule: Sampling) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What the policy held and what the picture said of KeyW: bool (B, T, 3) and (B, T)."""
    frames, held = play(np.random.default_rng(2), 16, 80)
    stepper = PolicyStepper(policy, num_slots=16, calibration=calibration)
    for slot in range(16):
        stepper.open(slot, rule)
    played = np.zeros_like(held)
    for tick in range(frames.shape[1]):
        answer = stepper.step(frames[:, tick].transpose(0, 2, 3, 1), range(16))
        for row, tokens in enumerate(answer.tokens):
            state = SPACE.decode(tokens)
            played[row, tick] = "KeyW" in state.keys, "Space" in state.keys, "MouseLeft" in state.buttons
    return played, held[:, :, 0]


def test_the_likeliest_action_never_does_what_cannot_be_foreseen(policy: Policy, calibration: Calibration) -> None:
    played, _ = let_play(policy, calibration, Sampling(keys="mode"))
    assert played[:, :, 1:].mean() < 0.01


def test_calibrated_play_holds_as_players_do_and_stays_right_where_it_can_tell(
    policy: Policy, calibration: Calibration
) -> None:
    played, bright = let_play(policy, calibration, Sampling(keys="calibrated"))
    assert (played[:, :, 0] == bright)[:, 1:].mean() > 0.97
    assert played[:, :, 1].mean() == pytest.approx(PRESS / (PRESS + RELEASE), abs=0.1)
    assert played[:, :, 2].mean() == pytest.approx(CLICK, abs=0.1)
    presses = played[:, 1:, 1] & ~played[:, :-1, 1]
    assert presses.mean() == pytest.approx(PRESS * RELEASE / (PRESS + RELEASE), abs=0.025)


def test_calibrated_play_is_a_function_of_frames_and_seed(policy: Policy, calibration: Calibration) -> None:
    first, second, other = (let_play(policy, calibration, Sampling(keys="calibrated", seed=s))[0] for s in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


def test_only_controls_that_players_hold_have_points(calibration: Calibration) -> None:
    assert set(calibration.points) == {"KeyW", "Space", "MouseLeft"}
    up, down = calibration.points["Space"]
    assert up < 0 < down  # sharpened around 0, it would never be pressed, and never be let go


def test_unknown_ticks_do_not_count(policy: Policy) -> None:
    batch = next(batches(3, 1))
    batch.known[:, 6:] = False
    cut = Batch(
        batch.frames[:, :6],
        batch.actions[:, :6],
        batch.known[:, :6],
        batch.previous,
        batch.previous_known,
        batch.game_id,
    )
    whole, part = (calibrate_keys(policy, [each]).table(SPACE) for each in (batch, cut))
    np.testing.assert_allclose(whole, part, rtol=1e-5)


def test_gamepads_are_calibrated_too(policy: Policy) -> None:
    batch = next(batches(4, 1))
    names = {"GamepadSouth", "GamepadEast"}
    states = [InputState(gamepad=Gamepad(frozenset(names if tick % 3 else {"GamepadEast"}))) for tick in range(T - 1)]
    batch.actions[0] = torch.from_numpy(SPACE.encode_all(states))
    assert set(calibrate_keys(policy, [batch]).points) == names | {"KeyW", "Space", "MouseLeft"}


def test_it_is_kept_beside_the_policy(calibration: Calibration, tmp_path: Path) -> None:
    save_calibration(calibration, tmp_path)
    assert load_calibration(tmp_path, SPACE) == calibration


def test_no_batches_are_refused(policy: Policy) -> None:
    with pytest.raises(CorpusError, match="held-out"):
        calibrate_keys(policy, [])
