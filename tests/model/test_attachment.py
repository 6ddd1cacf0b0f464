"""Laws of one adapter on one policy: fresh changes nothing, merged equals attached, detached leaves no trace."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gi_model.adapters import Adapter
from gi_model.attachment import attach, detach, merge
from gi_model.checkpoint import load_policy, save_policy
from gi_model.config import PolicyConfig
from gi_model.errors import BaseMismatchError, CheckpointError, ConfigError
from gi_model.policy import Policy
from gi_model.sampling import Draw
from gi_model.stepper import Sampling
from tests.model.adapter_factory import LINEAR, TARGETS, make_adapter
from tests.model.factories import DEBUG, SPACE, make_policy, random_batch, random_frames

HYBRID = DEBUG.replace(height=64, width=64, encoder="hybrid", encoder_dim=64, encoder_layers=1, tokens_per_frame=2)
HYBRID_TARGETS = (*LINEAR, "encoder.convs.6", "encoder.narrow", "encoder.blocks.0.mlp.gate_up", "decoder.context")
TWO_POLICIES = [(DEBUG, TARGETS), (HYBRID, HYBRID_TARGETS)]


def play(policy: Policy, num_ticks: int = 4) -> tuple[Tensor, Tensor]:
    """Tokens and probabilities of a few ticks of two streams, and so of the draw from a part of the head."""
    state, slots = policy.empty_state(2), torch.tensor([0, 1])
    noise = torch.rand(2, SPACE.num_tokens, generator=torch.Generator().manual_seed(1)).numpy()
    rule = Draw.of([Sampling(seed=1)] * 2, noise, torch.device("cpu"))
    ticks = []
    for tick in range(num_ticks):
        frames = random_frames(2, config=policy.config, seed=tick)
        tokens, probs, state = policy.step(frames, state, slots=slots, rule=rule)
        ticks.append((tokens, probs))
    return torch.stack([tokens for tokens, _ in ticks]), torch.stack([probs for _, probs in ticks])


def loss_of(policy: Policy) -> Tensor:
    with torch.inference_mode():
        loss: Tensor = policy(random_batch(2, 5, policy.config))[0]
        return loss


@pytest.mark.parametrize(("config", "targets"), TWO_POLICIES)
def test_a_fresh_adapter_changes_nothing(config: PolicyConfig, targets: tuple[str, ...]) -> None:
    policy = make_policy(config)
    loss, (tokens, probs) = loss_of(policy), play(policy)
    attach(policy, make_adapter(policy, is_fresh=True, targets=targets))
    assert torch.equal(loss_of(policy), loss)
    assert torch.equal(play(policy)[0], tokens)
    torch.testing.assert_close(play(policy)[1], probs)


@pytest.mark.parametrize(("config", "targets"), TWO_POLICIES)
def test_merged_equals_attached_and_differs_from_the_base(config: PolicyConfig, targets: tuple[str, ...]) -> None:
    base, attached, merged = (make_policy(config) for _ in range(3))
    adapter = make_adapter(base, targets=targets)
    attach(attached, adapter)
    merge(merged, adapter)
    torch.testing.assert_close(loss_of(merged), loss_of(attached), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(loss_of(merged), loss_of(base), atol=1e-2)
    (tokens, probs), (tokens_too, probs_too) = play(attached), play(merged)
    assert torch.equal(tokens, tokens_too)
    torch.testing.assert_close(probs, probs_too, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_its_say_in_play(target: str) -> None:
    policy = make_policy()
    _, probs = play(policy)
    attach(policy, make_adapter(policy, targets=(target,), replaced=()))
    assert not torch.allclose(play(policy)[1], probs, atol=1e-3)


def others_past(policy: Policy) -> tuple[Tensor, Tensor]:
    """Features of two windows, and of a step, that differ in nothing but the actions before them."""
    windows = random_batch(2, 5, policy.config)
    windows = replace(windows, frames=windows.frames[:1].expand_as(windows.frames))
    state = policy.empty_state(2)
    state.ticks[:], state.actions[0], state.actions[1] = 3, windows.actions[0, 0], windows.actions[1, 0]
    with torch.inference_mode():
        step = policy.step_features(windows.frames[:, 0], state, torch.tensor([0, 1]))
        return policy.features(windows), step


@pytest.mark.parametrize("use", [attach, merge])
def test_a_policy_whose_past_is_hidden_acts_by_its_frames_alone(use: object, tmp_path: Path) -> None:
    policy = make_policy()
    assert all(not torch.allclose(first, second) for first, second in others_past(policy))
    use(policy, make_adapter(policy, past_actions="hidden"))  # type: ignore[operator]
    for first, second in others_past(policy):
        torch.testing.assert_close(first, second)
    if policy.attached is None:
        save_policy(policy, tmp_path / "merged")
        for first, second in others_past(load_policy(tmp_path / "merged")):
            torch.testing.assert_close(first, second)
    else:
        detach(policy)
        assert all(not torch.allclose(first, second) for first, second in others_past(policy))


def test_where_there_is_no_past_action_none_is_hidden(tmp_path: Path) -> None:
    policy = make_policy(DEBUG.replace(past_actions="none"))
    merge(policy, make_adapter(policy, past_actions="hidden", targets=(LINEAR[0],)))
    save_policy(policy, tmp_path / "merged")
    assert load_policy(tmp_path / "merged").config.past_actions == "none"


@pytest.mark.parametrize("past_actions", ["seen", "hidden"])
def test_detached_is_as_it_was(past_actions: str) -> None:
    policy = make_policy()
    weights, loss = {name: each.clone() for name, each in policy.state_dict().items()}, loss_of(policy)
    attach(policy, make_adapter(policy, past_actions=past_actions))
    assert list(policy.state_dict()) == list(weights)
    detach(policy)
    detach(policy)
    assert torch.equal(loss_of(policy), loss)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in policy.state_dict().items())
    assert policy.attached is None


def test_an_adapted_policy_keeps_its_type() -> None:
    policy = make_policy().cast_weights(torch.bfloat16)
    attach(policy, make_adapter(policy))
    with torch.inference_mode():
        features = policy.step_features(random_frames(1), policy.empty_state(1), torch.tensor([0]))
    assert features.dtype == torch.bfloat16


def test_another_base_is_refused_by_name(tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("second", 1)):
        save_policy(make_policy(seed=seed), tmp_path / name / "checkpoint")
    first, second = (load_policy(tmp_path / name / "checkpoint") for name in ("first", "second"))
    adapter = make_adapter(first)
    hashes = rf"got second \({second.fingerprint[:12]}\); expected first \({first.fingerprint[:12]}\)"
    with pytest.raises(BaseMismatchError, match=hashes):
        attach(second, adapter)
    with pytest.raises(BaseMismatchError, match=r"got unnamed \(never saved\)"):
        attach(make_policy(), adapter)
    attach(first, adapter)
    detach(first)
    merge(first, adapter)
    assert first.name == "first+rover"
    with pytest.raises(BaseMismatchError, match=r"first\+rover \(never saved\)"):
        merge(first, adapter)


@pytest.mark.parametrize("use", [attach, merge])
def test_another_action_space_is_refused(use: object) -> None:
    policy = make_policy()
    with pytest.raises(BaseMismatchError, match="another action space; got 0123; expected"):
        use(policy, make_adapter(policy, action_space="0123"))  # type: ignore[operator]


def with_tensor(adapter: Adapter, name: str, tensor: Tensor | None) -> Adapter:
    tensors = {**adapter.tensors, **({} if tensor is None else {name: tensor})}
    return Adapter(adapter.config, tensors if tensor is not None else {n: t for n, t in tensors.items() if n != name})


def test_what_does_not_fit_is_named_and_changes_nothing() -> None:
    policy = make_policy()
    adapter, loss = make_adapter(policy), loss_of(policy)
    wrong = [
        (with_tensor(adapter, "past.project.lora_A", torch.zeros(3, 2)), r"past.project.lora_A has another.*\(3, 2\)"),
        (with_tensor(adapter, "encoder.convs.2.lora_B", torch.zeros(16, 3)), r"convs.2.lora_B has another shape"),
        (with_tensor(adapter, "encoder.norm.bias", None), "encoder.norm has other parameters.*bias"),
        (with_tensor(adapter, "encoder.norm.scale", torch.ones(32)), "encoder.norm has other parameters.*scale"),
        (make_renamed(adapter, "past.project", "past.projekt"), "past.projekt is no module"),
        (make_renamed(adapter, "past.project", "backbone.blocks.0"), "blocks.0 takes no low-rank update.*Block"),
        (make_renamed(adapter, "past.project", "decoder.norm"), "decoder.norm takes no low-rank update.*RMSNorm"),
        (make_renamed(adapter, "backbone.norm", "past"), "past cannot be replaced.*PastAction"),
        (make_renamed(adapter, "backbone.norm", "encoder.convs.1"), "convs.1 cannot be replaced.*ReLU"),
    ]
    for each, words in wrong:
        with pytest.raises(CheckpointError, match=words):
            attach(policy, each)
        with pytest.raises(CheckpointError, match=words):
            merge(policy, each)
    assert policy.attached is None
    assert torch.equal(loss_of(policy), loss)


def make_renamed(adapter: Adapter, old: str, new: str) -> Adapter:
    def rename(path: str) -> str:
        return new if path == old else path

    changes = {name: tuple(map(rename, getattr(adapter.config, name))) for name in ("targets", "replaced")}
    values = {**adapter.config.to_dict(), **changes}
    config = type(adapter.config)(**{name: each for name, each in values.items() if name not in ("format", "version")})
    tensors = {f"{rename(name.rpartition('.')[0])}.{name.rpartition('.')[2]}": t for name, t in adapter.tensors.items()}
    return Adapter(config, tensors)


def test_one_at_a_time_and_never_saved_half(tmp_path: Path) -> None:
    policy = make_policy()
    attach(policy, make_adapter(policy))
    for use in (attach, merge):
        with pytest.raises(ConfigError, match="the policy has an adapter; got rover"):
            use(policy, make_adapter(policy))
    with pytest.raises(ConfigError, match="not saved; got rover"):
        save_policy(policy, tmp_path / "policy")
    detach(policy)
    save_policy(policy, tmp_path / "policy")
