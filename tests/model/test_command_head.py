"""Laws of the command head: one distribution in learning and in play, over the levels that there are."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gi_model.adapters import HEAD, Adapter, load_adapter, save_adapter
from gi_model.attachment import attach, detach, merge
from gi_model.checkpoint import save_policy
from gi_model.command_head import CommandHead, build_head
from gi_model.errors import CheckpointError, ConfigError
from gi_model.policy_stepper import PolicyStepper
from gi_model.sampling import Draw
from gi_model.stepper import Sampling, Steps
from tests.model.adapter_factory import make_adapter
from tests.model.factories import DEBUG, make_policy, random_batch, random_frames
from tests.model.limited_body import actuator, body, direct

# Stick, mast of 9 levels, and gripper of 5 with neutral at its end: a mixed body, with rows of levels of two lengths.
BODY = body(
    actuator("drive", "left_stick.y"),
    direct("mast", 9, minimum=-0.7),
    direct("gripper", 5, minimum=0.0),
)
SPACE = BODY.command_space


def make_head(seed: int = 0, loudness: float = 5.0) -> CommandHead:
    """Random weights, loud enough that levels differ."""
    torch.manual_seed(seed)
    head = CommandHead(DEBUG, SPACE)
    with torch.no_grad():
        head.rows.mul_(loudness)
    return head


def random_features(num: int) -> Tensor:
    return torch.randn(num, DEBUG.dim, generator=torch.Generator().manual_seed(1))


def all_commands() -> Tensor:
    """Every pair of levels, (45, 2)."""
    pairs = product(*(range(size) for size in SPACE.sizes))
    return torch.from_numpy(SPACE.decode(np.array(list(pairs))))


def rule_of(num: int, sampling: Sampling) -> Draw:
    noise = np.random.default_rng(0).random((num, len(SPACE)), dtype=np.float32)
    return Draw.of_commands([sampling] * num, noise, torch.device("cpu"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-2.0, 2.0, width=32), st.floats(-2.0, 2.0, width=32)), min_size=1))
def test_levels_are_those_of_the_command_space(commands: list[tuple[float, float]]) -> None:
    given_commands = np.array(commands, np.float32)
    levels = make_head().nearest(torch.from_numpy(given_commands)).numpy()
    decoded, exact = SPACE.decode(levels), SPACE.decode(SPACE.encode(given_commands))
    np.testing.assert_allclose(abs(decoded - given_commands), abs(exact - given_commands), atol=1e-6)


def test_it_is_a_distribution_over_the_levels_that_there_are() -> None:
    commands = all_commands()
    nll, _ = make_head()(random_features(1).expand(len(commands), -1), commands)
    assert torch.exp(-nll.sum(-1)).sum().item() == pytest.approx(1.0, abs=1e-5)


def test_what_is_sampled_is_what_was_learned() -> None:
    head, num, commands = make_head(), 20_000, all_commands()
    nll, _ = head(random_features(1).expand(len(commands), -1), commands)
    drawn = head.sample(random_features(1).expand(num, -1), rule_of(num, Sampling(motion="sample")))
    seen = (drawn[:, None] == commands).all(-1).float().mean(0)
    assert seen.sum().item() == pytest.approx(1.0)
    np.testing.assert_allclose(seen, torch.exp(-nll.sum(-1)).detach(), atol=0.012)


def test_the_mode_takes_the_likeliest_level_of_one_actuator_after_the_other() -> None:
    head, features, commands = make_head(), random_features(6), all_commands()
    drawn = head.sample(features, rule_of(6, Sampling(motion="mode")))
    for row, command in zip(features, drawn, strict=True):
        nll, _ = head(row.expand(len(commands), -1), commands)
        best = commands[nll[:, 0].argmin(), 0]
        assert command[0] == best
        given_first = commands[:, 0] == best
        assert command[1] == commands[given_first][nll[given_first, 1].argmin(), 1]


def test_two_ways_around_an_obstacle_are_learned_together_and_not_their_mean() -> None:
    head, features = make_head(loudness=1.0), random_features(1)
    ways = torch.tensor([[-0.7, 0.0], [1.0, 1.0]])
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        head(features.expand(2, -1), ways)[1].mean().backward()
        optimizer.step()
    drawn = head.sample(features.expand(200, -1), rule_of(200, Sampling(motion="sample")))
    is_left, is_closed = drawn[:, 0] < -0.3, drawn[:, 1] < 0.5
    assert 50 < is_left.sum() < 150
    assert (is_left == is_closed).float().mean() > 0.95
    assert ((drawn[:, 0] > -0.3) & (drawn[:, 0] < 0.5)).float().mean() < 0.05


def test_ticks_without_commands_teach_nothing() -> None:
    head = make_head()
    commands = all_commands()[:4].clone()
    commands[1], commands[2, 1] = torch.nan, torch.nan
    nll, loss = head(random_features(4), commands)
    assert (nll == 0).tolist() == (loss == 0).tolist() == commands.isnan().tolist()
    loss[1].sum().backward()
    assert all(not parameter.grad.any() for parameter in head.parameters() if parameter.grad is not None)


# ---------------------------------------------------------------------- on a policy


def test_the_loss_of_a_policy_is_that_of_its_tokens_and_its_commands() -> None:
    policy, batch = make_policy(), random_batch(2, 5)
    tokens_loss, logs = policy(batch)
    policy.command_head = make_head()
    with pytest.raises(ConfigError, match="learns from commands"):
        policy(batch)
    commanded = replace(batch, commands=torch.zeros(2, 5, 2))
    _, loss = policy.command_head(policy.features(batch).flatten(0, 1), torch.zeros(10, 2))
    both, more = policy(commanded)
    torch.testing.assert_close(both, tokens_loss + loss.sum(-1).mean())
    torch.testing.assert_close(more["nll"], logs["nll"] + more["nll/commands"])


@pytest.fixture
def adapter() -> Adapter:
    return make_adapter(make_policy(), embodiment=BODY)


def test_a_head_travels_with_its_adapter(adapter: Adapter, tmp_path: Path) -> None:
    save_adapter(adapter, tmp_path / "mast")
    again = load_adapter(tmp_path / "mast")
    assert again.head.keys() == adapter.head.keys() == dict(make_head().named_parameters()).keys()
    assert all(torch.equal(tensor, adapter.tensors[name]) for name, tensor in again.tensors.items())


def test_a_head_without_its_body_or_a_body_without_its_head_is_refused(adapter: Adapter) -> None:
    with pytest.raises(CheckpointError, match="odd tensors"):
        Adapter(replace(adapter.config, embodiment=None), adapter.tensors)
    headless = {name: tensor for name, tensor in adapter.tensors.items() if not name.startswith(HEAD)}
    with pytest.raises(CheckpointError, match=r"lacks tensors; got \['command_head\.\*'\]"):
        Adapter(adapter.config, headless)


def test_a_head_of_another_shape_is_refused(adapter: Adapter) -> None:
    other = replace(BODY, actuators=(*BODY.actuators, direct("lift", 9)))
    with pytest.raises(CheckpointError, match=r"command_head\..* has another shape"):
        attach(make_policy(), Adapter(replace(adapter.config, embodiment=other), adapter.tensors))
    short = {name: tensor for name, tensor in adapter.tensors.items() if name != f"{HEAD}bias"}
    with pytest.raises(CheckpointError, match="other parameters"):
        attach(make_policy(), Adapter(adapter.config, short))


def play(stepper: PolicyStepper, num_ticks: int = 4, slot: int = 0, seed: int = 0) -> list[Steps]:
    frames = random_frames(num_ticks, seed=seed).permute(0, 2, 3, 1).numpy()
    return [stepper.step(frame[None], [slot]) for frame in frames]


def commands_of(steps: list[Steps], row: int = 0) -> list[tuple[float, ...]]:
    return [step.commands_of(row) for step in steps]


@pytest.mark.parametrize("use", [attach, merge])
def test_attached_merged_and_in_a_bank_it_commands_the_same(use: object, adapter: Adapter) -> None:
    sampling = Sampling(motion="sample", seed=3)
    alone = PolicyStepper(make_policy(), num_slots=1)
    use(alone.policy, adapter)  # type: ignore[operator]
    alone.open(0, sampling)
    banked = PolicyStepper(make_policy(), num_slots=2)
    banked.add_adapter(adapter)
    banked.open(1, sampling, "rover")
    expected = commands_of(play(alone))
    assert len(set(expected)) > 1
    np.testing.assert_allclose(commands_of(play(banked, slot=1)), expected)


def test_detached_commands_nothing_and_merged_is_not_saved(adapter: Adapter, tmp_path: Path) -> None:
    policy = make_policy()
    attach(policy, adapter)
    detach(policy)
    assert policy.command_head is None
    assert play(PolicyStepper(policy, num_slots=1))[0].commands == ()
    merge(policy, adapter)
    with pytest.raises(ConfigError, match="command head is not saved"):
        save_policy(policy, tmp_path / "merged")


def test_rows_with_and_without_a_head_play_as_they_do_alone(adapter: Adapter) -> None:
    def make_stepper() -> PolicyStepper:
        stepper = PolicyStepper(make_policy(), num_slots=4)
        stepper.add_adapter(adapter, "mast")
        stepper.add_adapter(make_adapter(make_policy(), 1, embodiment=body(direct("lift", 17))), "lift")
        stepper.add_adapter(make_adapter(make_policy(), 2), "game")
        return stepper

    names = ["mast", None, "lift", "mast"]
    together = make_stepper()
    for slot, name in enumerate(names):
        together.open(slot, Sampling(motion="sample", seed=slot), name)
    frames = np.stack([random_frames(4, seed=slot).permute(0, 2, 3, 1).numpy() for slot in range(4)], axis=1)
    steps = [together.step(tick, range(4)) for tick in frames]
    for slot, name in enumerate(names):
        alone = make_stepper()
        alone.open(slot, Sampling(motion="sample", seed=slot), name)
        expected = commands_of(play(alone, slot=slot, seed=slot))
        assert [len(row) for row in expected] == [{"mast": 2, "lift": 1}.get(str(name), 0)] * 4
        np.testing.assert_allclose(commands_of(steps, slot), expected)


def test_a_copy_draws_the_same_commands(adapter: Adapter) -> None:
    stepper = PolicyStepper(make_policy(), num_slots=2)
    stepper.add_adapter(adapter, "mast")
    stepper.open(0, Sampling(motion="sample", seed=5), "mast")
    play(stepper)
    stepper.copy(0, 1)
    assert commands_of(play(stepper, slot=1, seed=9)) == commands_of(play(stepper, slot=0, seed=9))


def test_a_body_without_direct_actuators_has_no_head() -> None:
    assert build_head(DEBUG, body(actuator("drive", "left_stick.y"))) is None
    assert build_head(DEBUG, None) is None
