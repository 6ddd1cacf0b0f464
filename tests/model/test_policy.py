"""Laws of the policy: what streams is what was trained, and nobody sees the future or a neighbour."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from gi_model.batch import Batch
from gi_model.config import PolicyConfig
from gi_model.errors import ConfigError
from gi_model.policy import Policy, PolicyState
from gi_model.policy_stepper import PolicyStepper
from gi_model.sampling import Draw, keep_top_p
from gi_model.stepper import Sampling
from tests.model.factories import DEBUG, SPACE, cut, make_policy, random_batch, random_frames

CONFIGS = {
    "grouped heads": DEBUG,
    "several tokens a frame": DEBUG.replace(tokens_per_frame=3, num_kv_heads=2),
    "blind to past actions": DEBUG.replace(past_actions="none"),
    "short rope period": DEBUG.replace(rope_period_ticks=16),
    "hybrid": DEBUG.replace(encoder="hybrid", height=64, width=72, encoder_dim=64, tokens_per_frame=2),
    "vit": DEBUG.replace(encoder="vit_tiny_patch16_224", height=32, width=48, tokens_per_frame=2),
}


@pytest.fixture(params=list(CONFIGS.values()), ids=list(CONFIGS))
def policy(request: pytest.FixtureRequest) -> Policy:
    return make_policy(request.param)


def stream(policy: Policy, batch: Batch, state: PolicyState, slots: list[int]) -> Tensor:
    """Features (B, T, D) of `batch` played tick by tick in `slots`, its own actions as the past."""
    index, features = torch.tensor(slots), []
    with torch.inference_mode():
        for tick in range(batch.frames.shape[1]):
            features.append(policy.step_features(batch.frames[:, tick], state, index))
            state.actions[index] = batch.actions[:, tick]
    return torch.stack(features, dim=1)


def test_streaming_equals_the_full_forward_beyond_three_windows(policy: Policy) -> None:
    batch = random_batch(2, 4 * policy.config.window_ticks, policy.config)
    with torch.inference_mode():
        full = policy.features(batch)
    streamed = stream(policy, batch, policy.empty_state(4), [3, 1])
    torch.testing.assert_close(streamed, full, atol=1e-5, rtol=0)


def test_the_future_cannot_change_the_past(policy: Policy) -> None:
    batch = random_batch(2, 12, policy.config)
    other = random_batch(2, 12, policy.config, seed=1)
    cut = 7
    changed = dataclasses.replace(
        batch,
        frames=torch.cat([batch.frames[:, :cut], other.frames[:, cut:]], dim=1),
        actions=torch.cat([batch.actions[:, : cut - 1], other.actions[:, cut - 1 :]], dim=1),
    )
    with torch.inference_mode():
        before, after = policy.features(batch), policy.features(changed)
    torch.testing.assert_close(before[:, :cut], after[:, :cut], atol=1e-6, rtol=0)
    assert (before[:, cut:] - after[:, cut:]).abs().max() > 1e-2


def test_ticks_outside_the_window_of_every_layer_are_forgotten(policy: Policy) -> None:
    reach = policy.config.num_layers * (policy.config.window_ticks - 1)
    batch, other = random_batch(1, reach + 4, policy.config), random_batch(1, reach + 4, policy.config, seed=1)
    mixed = dataclasses.replace(batch, frames=torch.cat([other.frames[:, :3], batch.frames[:, 3:]], dim=1))
    with torch.inference_mode():
        one, two = policy.features(batch)[0, -1], policy.features(mixed)[0, -1]
        assert (policy.features(batch)[0, 3] - policy.features(mixed)[0, 3]).abs().max() > 1e-3
    torch.testing.assert_close(one, two, atol=1e-6, rtol=0)


def test_a_million_ticks_later_it_is_the_same_function(policy: Policy) -> None:
    reach = policy.config.num_layers * (policy.config.window_ticks - 1) + 1
    batch = random_batch(1, reach + 6, policy.config)
    fresh, old = policy.empty_state(1), policy.empty_state(1)
    stream(policy, random_batch(1, 9, policy.config, seed=5), old, [0])
    old.ticks[0] = 1_000_003
    expected = stream(policy, batch, fresh, [0])[:, reach:]
    torch.testing.assert_close(stream(policy, batch, old, [0])[:, reach:], expected, atol=1e-5, rtol=0)


def test_batched_equals_alone(policy: Policy) -> None:
    """To 1e-5: kernels sum in another order for another batch size. The drawn actions are equal."""
    batch = random_batch(4, 9, policy.config)
    together = stream(policy, batch, policy.empty_state(4), [0, 1, 2, 3])
    for row in range(4):
        alone = stream(policy, cut(batch, rows=slice(row, row + 1)), policy.empty_state(1), [0])
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)


def play(stepper: PolicyStepper, frames: np.ndarray, groups: list[list[int]]) -> np.ndarray:
    """Tokens (S, T, K) of S streams over their frames (S, T, H, W, 3), batched as `groups` of slots."""
    ticks = []
    for tick in range(frames.shape[1]):
        tokens = np.zeros((len(frames), SPACE.num_tokens), dtype=np.int64)
        for group in groups:
            tokens[group] = stepper.step(frames[group, tick], group).tokens
        ticks.append(tokens)
    return np.stack(ticks, axis=1)


def images(num_streams: int, num_ticks: int, config: PolicyConfig) -> np.ndarray:
    return random_frames(num_streams, num_ticks, config=config).permute(0, 1, 3, 4, 2).contiguous().numpy()


def test_same_seed_same_actions_however_batched(policy: Policy) -> None:
    frames = images(3, 12, policy.config)
    frames[2] = frames[0]
    played = []
    for groups in ([[0, 1, 2]], [[2], [1], [0]], [[1, 2], [0]]):
        stepper = PolicyStepper(policy, num_slots=3)
        for slot, seed in enumerate((7, 7, 7)):
            stepper.open(slot, Sampling(seed=seed))
        played.append(play(stepper, frames, groups))
    assert (played[0] == played[1]).all()
    assert (played[0] == played[2]).all()
    assert (played[0][0] == played[0][2]).all()
    assert (played[0][0] != played[0][1]).any()


def test_another_seed_draws_other_actions_and_reopening_a_slot_forgets(policy: Policy) -> None:
    frames = images(1, 10, policy.config)
    stepper = PolicyStepper(policy, num_slots=1)

    def run(seed: int) -> np.ndarray:
        stepper.open(0, Sampling(seed=seed))
        return play(stepper, frames, [[0]])

    first = run(1)
    assert (run(2) != first).any()
    assert (run(1) == first).all()


@pytest.mark.parametrize("rule", [Sampling(), Sampling(temperature=5.0, motion="sample"), Sampling(top_p=0.5)])
def test_every_drawn_action_decodes(policy: Policy, rule: Sampling) -> None:
    stepper = PolicyStepper(policy, num_slots=8)
    for slot in range(8):
        stepper.open(slot, dataclasses.replace(rule, seed=slot))
    for row in play(stepper, images(8, 6, policy.config), [list(range(8))]).reshape(-1, SPACE.num_tokens):
        assert (SPACE.encode(SPACE.decode(row)) == row).all()


def test_gamepads_and_keyboards_mix_in_a_batch_and_draw_what_they_draw_alone() -> None:
    """A batch without gamepads scores only a slot's legal ids; one with them scores all. The draws are the same."""
    policy = make_policy()
    with torch.no_grad():  # about every second tick on the gamepad, whatever the frame
        policy.decoder.head.weight[SPACE.gamepad_id].zero_()
        policy.decoder.head.bias[SPACE.gamepad_id] = 5.0
    num = 6
    together, alone = (PolicyStepper(policy, num_slots=num) for _ in range(2))
    for slot in range(num):
        for stepper in (together, alone):
            stepper.open(slot, Sampling(seed=slot))
    frames = images(num, 16, policy.config)
    mixed = play(together, frames, [list(range(num))])
    assert (mixed == play(alone, frames, [[slot] for slot in range(num)])).all()
    played = [SPACE.decode(row).gamepad is not None for row in mixed.reshape(-1, SPACE.num_tokens)]
    assert 0.2 < sum(played) / len(played) < 0.8


def test_sampled_frequencies_follow_the_scored_probabilities() -> None:
    """What training scores is what play draws: button masks of 4,000 draws against exp(-nll)."""
    policy = make_policy(DEBUG)
    features = torch.randn(1, DEBUG.dim, generator=torch.Generator().manual_seed(3))
    num = 4000
    noise = np.random.default_rng(0).random((num, SPACE.num_tokens), dtype=np.float32)
    rule = Draw.of([Sampling(motion="sample")] * num, noise, torch.device("cpu"))
    with torch.inference_mode():
        tokens, probs = policy.decoder.sample(features.expand(num, -1), rule)
        score = policy.decoder.score(features.expand(num, -1), tokens)
    torch.testing.assert_close(probs[:, :5], (-score.nll[:, :5]).exp(), atol=1e-5, rtol=1e-4)
    likeliest = int(tokens[:, 0].mode().values)
    expected = float(score.log_probs[0, 0, likeliest].exp())
    assert abs(float((tokens[:, 0] == likeliest).float().mean()) - expected) < 4 * (0.25 / num) ** 0.5


def test_unknown_ticks_teach_nothing() -> None:
    policy = make_policy().train()
    batch = random_batch(2, 6)
    batch.known[:, 3:] = False
    short = cut(batch, ticks=slice(3))
    torch.testing.assert_close(policy(batch)[0], policy(short)[0])


def test_a_few_steps_of_training_fit_a_batch() -> None:
    policy = make_policy().train()
    batch = random_batch(2, 6)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    first = policy(batch)[0].item()
    for _ in range(60):
        loss, logs = policy(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * first
    assert set(logs) >= {"nll", "nll/keys", "nll/motion"}


def test_top_p_keeps_the_smallest_sufficient_set() -> None:
    probs = torch.tensor([[0.5, 0.2, 0.3], [0.9, 0.05, 0.05]])
    kept = keep_top_p(probs, torch.tensor([[0.6], [0.9]])) > 0
    assert kept.tolist() == [[True, False, True], [True, False, False]]


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 33},
        {"num_heads": 3},
        {"tokens_per_frame": 17},
        {"window_ticks": 4000},
        {"past_actions": "some"},
        {"encoder_dim": 100},
        {"encoder_layers": 0},
    ],
)
def test_impossible_configs_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        DEBUG.replace(**change)


def test_unknown_encoder_suggests_names() -> None:
    with pytest.raises(ConfigError, match="timm name like"):
        Policy(DEBUG.replace(encoder="vit_tinny"))
