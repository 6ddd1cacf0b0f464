"""peft's forward is the attached adapter's; nothing outside the adapter learns; a fresh one changes nothing."""

from pathlib import Path

import pytest
import torch

from gi_model.actions import NEUTRAL, ActionSpace
from gi_model.adapters import Adapter, AdapterConfig
from gi_model.attachment import attach, merge
from gi_model.batch import Batch
from gi_model.checkpoint import load_policy, save_policy
from gi_model.config import PolicyConfig, preset
from gi_model.errors import ConfigError
from gi_model.policy import Policy
from gi_train.adapted_modules import GROUPS, Adapted, adapt, adapter_tensors, choose_modules

HYBRID = preset("debug").replace(encoder="hybrid", encoder_dim=64, encoder_layers=1)
CONFIGS = {
    "stem": preset("debug"),
    "hybrid": HYBRID,
    "timm": preset("debug").replace(encoder="resnet10t", past_actions="none"),
}


def make_batch(config: PolicyConfig, space: ActionSpace) -> Batch:
    generator = torch.Generator().manual_seed(0)
    neutral = torch.from_numpy(space.encode(NEUTRAL))
    return Batch(
        frames=torch.randint(0, 256, (2, 4, 3, config.height, config.width), generator=generator, dtype=torch.uint8),
        actions=neutral.expand(2, 4, -1).clone(),
        known=torch.ones(2, 4, dtype=torch.bool),
        previous=neutral.expand(2, -1).clone(),
        previous_known=torch.zeros(2, dtype=torch.bool),
        game_id=torch.zeros(2, dtype=torch.long),
    )


def adapter_of(policy: Policy, adapted: Adapted) -> Adapter:
    config = AdapterConfig(
        name="test",
        base_fingerprint=policy.fingerprint,
        base_name=policy.name,
        rank=3,
        alpha=6.0,
        fps=10.0,
        targets=adapted.targets,
        replaced=adapted.replaced,
        action_space=policy.space.fingerprint,
    )
    return Adapter(config, adapter_tensors(policy, adapted))


@pytest.fixture(params=sorted(CONFIGS))
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_policy(Policy(CONFIGS[request.param]), tmp_path / "base")
    return tmp_path / "base"


def groups_of(policy: Policy) -> list[str]:
    return [name for name in GROUPS if name != "past" or policy.past is not None]


def test_trained_by_peft_attached_and_merged_are_one_function(base: Path) -> None:
    policy = load_policy(base)
    batch = make_batch(policy.config, policy.space)
    before = policy.score(batch).log_probs
    adapted = choose_modules(policy, groups_of(policy))
    adapt(policy, adapted, rank=3, alpha=6.0)
    torch.testing.assert_close(policy.score(batch).log_probs, before)  # a fresh adapter changes nothing
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    trained = policy.score(batch).log_probs
    assert (trained - before).nan_to_num(0.0).abs().max() > 0.1
    adapter = adapter_of(policy, adapted)
    for apply in (attach, merge):
        other = load_policy(base)
        apply(other, adapter)
        torch.testing.assert_close(other.score(batch).log_probs, trained, rtol=1e-4, atol=1e-4)


def test_all_of_the_adapter_learns_and_nothing_of_the_base(base: Path) -> None:
    policy, untouched = load_policy(base).train(), load_policy(base)
    adapted = choose_modules(policy, groups_of(policy))
    adapt(policy, adapted, rank=3, alpha=6.0)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    before = {name: tensor.clone() for name, tensor in adapter_tensors(policy, adapted).items()}
    for _ in range(2):  # the first step moves B only: it starts at 0, and A's gradient with it
        loss, _ = policy(make_batch(policy.config, policy.space))
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    after = adapter_tensors(policy, adapted)
    still = {name.rpartition(".")[0] for name in after if torch.equal(after[name], before[name])}
    assert not {path for path in still if path.startswith(("backbone", "decoder.context", "encoder.project"))}
    weights = dict(untouched.named_parameters())
    for name, parameter in policy.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, weights[name.replace(".base_layer", "")]), name


def test_only_what_is_named_learns() -> None:
    policy = Policy(preset("debug"))
    adapted = choose_modules(policy, ("head",))
    assert adapted == Adapted(targets=(), replaced=("decoder.head",))
    adapt(policy, adapted, rank=3, alpha=6.0)
    assert {n for n, p in policy.named_parameters() if p.requires_grad} == {"decoder.head.weight", "decoder.head.bias"}


def test_maps_inside_an_opaque_module_are_left_alone() -> None:
    """torch's MultiheadAttention reads its output map's weight itself: an update of it would never be computed."""
    policy = Policy(CONFIGS["timm"])
    assert "encoder.pool.out_proj" in dict(policy.named_modules())
    assert "encoder.pool.out_proj" not in choose_modules(policy, ("stem",)).targets


@pytest.mark.parametrize(("group", "words"), [("tail", "unknown part"), ("past", "no past to adapt")])
def test_groups_that_are_not_there_are_named(group: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        choose_modules(Policy(CONFIGS["timm"]), ("backbone", group))
