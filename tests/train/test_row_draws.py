"""Random numbers of a row depend on (seed, step, window) alone."""

import dataclasses

import pytest
import torch

from gi_model.batch import Batch, Window
from gi_train.row_draws import step_seed, with_draws

WINDOWS = tuple(Window(f"clip-{index % 7}", index) for index in range(64))


def batch(windows: tuple[Window, ...], num_ticks: int = 50) -> Batch:
    num = len(windows)
    return Batch(
        frames=torch.zeros(num, num_ticks, 3, 2, 2, dtype=torch.uint8),
        actions=torch.zeros(num, num_ticks, 14, dtype=torch.long),
        known=torch.ones(num, num_ticks, dtype=torch.bool),
        previous=torch.zeros(num, 14, dtype=torch.long),
        previous_known=torch.zeros(num, dtype=torch.bool),
        game_id=torch.zeros(num, dtype=torch.long),
        windows=windows,
    )


def draws(windows: tuple[Window, ...], *, seed: int = 0, step: int = 0) -> torch.Tensor:
    found = with_draws(batch(windows), seed=seed, step=step).draws
    assert found is not None
    return found


def test_other_rows_change_nothing() -> None:
    whole = draws(WINDOWS)
    assert torch.equal(torch.cat([draws(WINDOWS[0::2]), draws(WINDOWS[1::2])]), torch.cat([whole[0::2], whole[1::2]]))


def test_they_are_uniform_and_new_each_step_and_seed() -> None:
    first, second, third = draws(WINDOWS), draws(WINDOWS, step=1), draws(WINDOWS, seed=1)
    for values in (first, second, third):
        assert float(values.min()) >= 0
        assert float(values.max()) < 1
        assert float(values.mean()) == pytest.approx(0.5, abs=0.02)
        assert torch.histc(values, 10, 0, 1).min() > 250  # of 320
    for one, other in ((first, second), (first, third)):
        assert abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 0.05
    rows = torch.corrcoef(first)
    assert float((rows - torch.eye(len(rows))).abs().max()) < 0.7


def test_they_go_where_the_batch_goes() -> None:
    moved = with_draws(batch(WINDOWS), seed=0, step=0).to("cpu")
    assert moved.draws is not None
    assert dataclasses.replace(moved, draws=None).to("cpu").draws is None


def test_parts_have_seeds_of_their_own() -> None:
    seeds = {step_seed(0, step, part=part) for step in range(50) for part in range(8)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)
