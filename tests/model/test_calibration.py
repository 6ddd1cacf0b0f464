"""Laws of calibration: a sharpened chain is still a distribution, keeps the rate, and writes legal actions only."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gi_model.actions import KEYS, MOUSE_BUTTONS, ActionSpace, Gamepad, InputState
from gi_model.calibration import (
    CALIBRATION,
    MAX_POINT,
    NEVER,
    SHARPNESS,
    Calibration,
    control_ids,
    load_calibration,
    matching_point,
    save_calibration,
)
from gi_model.checkpoint import save_policy
from gi_model.errors import CheckpointError, ConfigError
from gi_model.policy_stepper import PolicyStepper, load_stepper
from gi_model.sampling import button_hazards, held_controls, list_hazards, sharpen, sharpen_list, sharpen_masks
from gi_model.stepper import Sampling
from tests.model.factories import make_policy

SPACE = ActionSpace()
NAMES = sorted(control_ids(SPACE))
ALWAYS = Calibration(dict.fromkeys(NAMES, (-1e3, -1e3)))
HALF = Calibration(dict.fromkeys(NAMES, (0.0, 0.0)))


def random_probs(size: int, seed: int) -> Tensor:
    """float64 (5, size), some of them 0."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(5, size, generator=generator, dtype=torch.float64)
    forbidden = torch.rand(5, size, generator=generator) < 0.3
    forbidden[:, 0] = False
    return logits.masked_fill(forbidden, float("-inf")).softmax(-1)


# ---------------------------------------------------------------------- chains of decisions


@given(seed=st.integers(0, 1000))
def test_a_lists_hazards_multiply_to_its_probabilities(seed: int) -> None:
    probs = random_probs(9, seed)
    hazards = list_hazards(probs)[:, 1:]
    all_up = torch.cat([torch.ones(5, 1), (1 - hazards).cumprod(-1)], dim=1)
    torch.testing.assert_close(probs[:, 1:], hazards * all_up[:, :-1])
    torch.testing.assert_close(probs[:, 0], all_up[:, -1])


@given(seed=st.integers(0, 1000))
def test_buttons_hazards_multiply_to_the_probability_of_a_mask(seed: int) -> None:
    probs = random_probs(32, seed).clamp(min=1e-9)
    probs = probs / probs.sum(-1, keepdim=True)
    for mask in (0, 1, 6, 21, 31):
        product = torch.ones(5, dtype=torch.float64)
        for bit in range(5):
            held = button_hazards(probs, bit)[:, mask % (1 << bit)]
            product = product * (held if mask >> bit & 1 else 1 - held)
        torch.testing.assert_close(product, probs[:, mask])


@given(seed=st.integers(0, 1000), point=st.floats(-5, 5))
def test_what_is_sharpened_is_a_distribution_over_what_was_possible(seed: int, point: float) -> None:
    for size, sharpened in ((9, sharpen_list), (32, sharpen_masks)):
        probs = random_probs(size, seed)
        sharp = sharpened(probs, torch.full_like(probs, point))
        torch.testing.assert_close(sharp.sum(-1), torch.ones(5, dtype=torch.float64))
        assert (sharp[probs == 0] == 0).all()
        assert (sharp >= 0).all()


def test_sharpening_is_certain_where_the_model_is_and_fair_at_the_point() -> None:
    hazards = torch.tensor([0.0, 0.02, 0.2, 0.98, 1.0, float("nan")])
    point = torch.tensor(0.2).logit()
    sharp = sharpen(hazards, point.expand(6))
    assert sharp[2] == pytest.approx(0.5)
    assert sharp[1] < 1e-3
    assert sharp[3] > 1 - 1e-6
    assert sharp[0] == sharp[5] == 0
    assert sharp[4] == 1


# ---------------------------------------------------------------------- points


@given(
    hazards=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40),
    share=st.floats(0, 1),
)
def test_the_point_brings_sharpened_hazards_to_the_rate(hazards: list[float], share: float) -> None:
    num_held, values = round(share * len(hazards)), np.array(hazards, dtype=np.float32)
    point = matching_point(values, num_held)
    sharp = float(sharpen(torch.from_numpy(values).double(), torch.tensor(point)).sum())
    if abs(point) < 0.99 * MAX_POINT:
        assert sharp == pytest.approx(num_held, abs=0.3)
    else:
        assert (sharp > num_held) == (point > 0)  # as far as it may go


def test_where_the_model_is_sure_its_own_point_is_kept() -> None:
    sure = np.array([1e-4] * 50 + [1 - 1e-4] * 10, dtype=np.float32)
    assert matching_point(sure, 10) == 0.0


def test_a_hazard_that_never_varies_keeps_its_rate() -> None:
    point = matching_point(np.full(1000, 0.2, dtype=np.float32), 200)
    assert float(sharpen(torch.tensor([0.2]), torch.tensor(point))) == pytest.approx(0.2, abs=1e-3)
    drifted = float(sharpen(torch.tensor([0.21]), torch.tensor(point)))
    assert 0.2 < drifted < 0.2 + SHARPNESS * 0.012  # not 1, as over a threshold


def test_what_recordings_never_show_is_neither_barred_nor_stuck() -> None:
    assert matching_point(np.zeros(0, dtype=np.float32), 0) == 0.0
    assert matching_point(np.array([0.9, 0.95], dtype=np.float32), 0) <= MAX_POINT
    assert matching_point(np.array([0.1, 0.05], dtype=np.float32), 2) >= -MAX_POINT


def test_the_table_has_a_point_for_every_control_and_never_for_the_rest() -> None:
    table = Calibration({"KeyW": (1.0, 2.0), "MouseRight": (3.0, 4.0)}).table(SPACE)
    assert table[:, SPACE.ids["KeyW"]].tolist() == [1.0, 2.0]
    assert table[:, SPACE.ids["buttons:2"]].tolist() == [3.0, 4.0]
    assert (table == NEVER).sum() == 2 * (SPACE.vocabulary_size - 2)


def test_what_a_tick_holds_is_found_in_its_tokens() -> None:
    held = frozenset({"KeyW", "Space"})
    states = [
        InputState(keys=held, buttons=frozenset({"MouseLeft", "MouseMiddle"}), motion=(7, 0)),
        InputState(gamepad=Gamepad(frozenset({"GamepadSouth"}))),
    ]
    seen = held_controls(torch.from_numpy(SPACE.encode_all(states)), SPACE)
    found = [{name for name, index in control_ids(SPACE).items() if row[index]} for row in seen]
    assert found == [held | {"MouseLeft", "MouseMiddle"}, {"GamepadSouth"}]
    nothing = held_controls(torch.zeros(1, SPACE.num_tokens, dtype=torch.long), SPACE)
    assert not nothing[:, list(control_ids(SPACE).values())].any()


# ---------------------------------------------------------------------- play


def let_play(
    calibration: Calibration, rules: list[Sampling], *, num_ticks: int = 12, fast: bool = True
) -> list[Tensor]:
    """Tokens int64 (B, K) of each tick, from random weights and frames."""
    policy = make_policy()
    if not fast:  # the path of GPUs and gamepads
        policy.decoder._draw_keyboard = policy.decoder._draw_any  # type: ignore[method-assign]
    stepper = PolicyStepper(policy, num_slots=len(rules), calibration=calibration)
    for slot, rule in enumerate(rules):
        stepper.open(slot, rule)
    rng = np.random.default_rng(0)
    shape = (num_ticks, len(rules), policy.config.height, policy.config.width, 3)
    frames = rng.integers(0, 256, shape, dtype=np.uint8)
    return [torch.from_numpy(stepper.step(tick, range(len(rules))).tokens) for tick in frames]


CALIBRATED = [Sampling(keys="calibrated", seed=seed) for seed in range(6)]


@pytest.mark.parametrize("calibration", [HALF, ALWAYS, Calibration({})])
def test_every_calibrated_action_is_legal(calibration: Calibration) -> None:
    states = [SPACE.decode(row) for tokens in let_play(calibration, CALIBRATED) for row in tokens.numpy()]
    mouse = [state for state in states if state.gamepad is None]
    assert mouse
    if calibration is ALWAYS:
        assert all(state.buttons == set(MOUSE_BUTTONS) and state.keys == set(KEYS[:8]) for state in mouse)
    if not calibration.points:
        assert not any(state.buttons or state.keys for state in states)


def test_both_paths_of_the_decoder_draw_the_same() -> None:
    for quick, slow in zip(let_play(HALF, CALIBRATED), let_play(HALF, CALIBRATED, fast=False), strict=True):
        assert torch.equal(quick, slow)


def test_other_rows_of_a_batch_are_drawn_as_without_it() -> None:
    others = [Sampling(seed=0), Sampling(keys="mode", seed=1), Sampling(motion="sample", temperature=2.0, seed=2)]
    mixed = let_play(ALWAYS, [*others, Sampling(keys="calibrated")], num_ticks=4)
    plain = let_play(ALWAYS, [*others, Sampling(keys="mode")], num_ticks=4)
    for with_one, without in zip(mixed, plain, strict=True):
        assert torch.equal(with_one[:3], without[:3])
        assert not torch.equal(with_one[3], without[3])


def test_the_tick_before_chooses_the_point() -> None:
    """Never pressed, always held on to: down only once somebody else pressed it (`Stepper.correct`)."""
    stepper = PolicyStepper(make_policy(), num_slots=1, calibration=Calibration({"KeyW": (1e3, -1e3)}))
    frames = np.zeros((1, stepper.height, stepper.width, 3), dtype=np.uint8)

    def keys() -> frozenset[str]:
        return SPACE.decode(stepper.step(frames, [0]).tokens[0]).keys

    stepper.open(0, Sampling(keys="calibrated"))
    assert [keys() for _ in range(3)] == [frozenset()] * 3
    stepper.correct(0, SPACE.encode(InputState(keys=frozenset({"KeyW"}))))
    assert [keys() for _ in range(3)] == [frozenset({"KeyW"})] * 3
    stepper.open(0, Sampling(keys="calibrated"))  # what the stream before held is no part of this one
    assert keys() == frozenset()


# ---------------------------------------------------------------------- on disk


def test_it_is_kept_in_the_checkpoint_that_it_belongs_to(tmp_path: Path) -> None:
    folder, calibration = tmp_path / "checkpoint", Calibration({"KeyW": (-1.5, 0.25), "GamepadSouth": (0.5, 1.0)})
    save_policy(make_policy(), folder)
    assert load_calibration(folder, SPACE) is None
    save_calibration(calibration, folder)
    assert load_calibration(folder, SPACE) == calibration
    load_stepper(folder, num_slots=1).open(0, Sampling(keys="calibrated"))
    save_policy(make_policy(seed=1), folder)  # other weights: it is no longer true
    assert load_calibration(folder, SPACE) is None


def test_calibrated_keys_without_a_calibration_are_refused(tmp_path: Path) -> None:
    save_policy(make_policy(), tmp_path / "checkpoint")
    stepper = load_stepper(tmp_path / "checkpoint", num_slots=1)
    with pytest.raises(ConfigError, match=r"calibration.*keys 'sample'"):
        stepper.open(0, Sampling(keys="calibrated"))


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"KeyNone": [0.0, 0.0]}', '{"KeyW": [0.0]}', '{"KeyW": [0.0, 31.0]}', '{"KeyW": ["a", "b"]}'],
)
def test_a_damaged_calibration_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / CALIBRATION).write_text(text)
    with pytest.raises(CheckpointError):
        load_calibration(tmp_path, SPACE)


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot save"):
        save_calibration(HALF, tmp_path / "nowhere")


def test_names_are_in_the_order_of_the_vocabulary() -> None:
    """What `sharpen_list` walks along is the order of ids, and lists are sorted by it."""
    ids = [SPACE.ids[name] for name in KEYS]
    assert all(after == before + 1 for before, after in pairwise(ids))
