"""Laws of the optimisers: Muon moves hidden matrices and nothing else, as torch's own would, and resumes exactly."""

import copy

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gi_model.config import preset
from gi_model.errors import ConfigError, TrainingError
from gi_model.policy import Policy
from gi_train.config import Strategy, TrainConfig
from gi_train.muon import orthogonalize
from gi_train.optimizers import BETAS, MOMENTUM, MuonWithAdamW, build_optimizer, hidden_matrices

ADAMW = TrainConfig(lr_peak=1e-2, weight_decay=0.1)
MUON = ADAMW.replace(optimizer="muon")
CONFIGS = [pytest.param(ADAMW, id="adamw"), pytest.param(MUON, id="muon")]


def make_policy() -> Policy:
    torch.manual_seed(0)
    return Policy(preset("debug"))


def names_of_hidden() -> list[str]:
    """In the order of `hidden_matrices`."""
    policy = make_policy()
    names = {id(parameter): name for name, parameter in policy.named_parameters()}
    return [names[id(matrix)] for matrix in hidden_matrices(policy)]


def give_gradients(policy: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def advance(policy: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        give_gradients(policy, step)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (step + 1) * group["lr_scale"]
        optimizer.step()


def weights(policy: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in policy.named_parameters()}


def moved(before: dict[str, Tensor], policy: nn.Module) -> set[str]:
    return {name for name, parameter in policy.named_parameters() if not torch.equal(before[name], parameter)}


@pytest.mark.parametrize("config", CONFIGS)
def test_every_parameter_is_in_one_group_and_only_matrices_decay(config: TrainConfig) -> None:
    policy = make_policy()
    groups = build_optimizer(policy, config).param_groups
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == set(policy.parameters())
    decaying = {parameter for group in groups if group["weight_decay"] for parameter in group["params"]}
    assert decaying == {parameter for parameter in policy.parameters() if parameter.ndim >= 2}


def test_muon_gets_linear_maps_between_hidden_layers_only() -> None:
    policy = make_policy()
    names = [name for name, _ in policy.named_parameters()]
    hidden = {name for name, each in policy.named_parameters() if any(each is one for one in hidden_matrices(policy))}
    blocks = {name for name in names if "blocks" in name and name.endswith(("qkv.weight", "down.weight"))}
    assert blocks < hidden
    assert hidden.isdisjoint({"decoder.head.weight", "decoder.slots", "past.embedding.weight"})
    assert not [name for name in hidden if "convs" in name or "norm" in name or "bias" in name]


def test_each_part_steps_as_torchs_own_optimiser_would() -> None:
    ours, theirs = make_policy(), make_policy()
    advance(ours, build_optimizer(ours, MUON), range(3))
    hidden = hidden_matrices(theirs)
    others = [parameter for parameter in theirs.parameters() if all(parameter is not each for each in hidden)]
    matrices, vectors = ([p for p in others if (p.ndim >= 2) is wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    muon = torch.optim.Muon(hidden, weight_decay=0.1, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(groups, betas=BETAS, fused=True)
    for step in range(3):
        give_gradients(theirs, step)
        for group in (*muon.param_groups, *adamw.param_groups):
            group["lr"] = 1e-2 / (step + 1)
        muon.step()  # type: ignore[no-untyped-call]
        adamw.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_without_bf16_products_muon_takes_the_same_steps_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apart from what bf16 rounds off: torch's updates are that coarse."""
    with_bf16, without = make_policy(), make_policy()
    before = weights(with_bf16)
    advance(with_bf16, build_optimizer(with_bf16, MUON), range(3))
    monkeypatch.setattr("gi_train.optimizers.multiplies_bf16", lambda _: False)
    advance(without, build_optimizer(without, MUON), range(3))
    for matrix, other, name in zip(
        hidden_matrices(with_bf16), hidden_matrices(without), names_of_hidden(), strict=True
    ):
        step = (matrix - before[name]).norm()
        assert 0 < (matrix - other).norm() < 0.02 * step


@pytest.mark.parametrize("shape", [(24, 64), (64, 24), (32, 32)])
def test_orthogonal_updates_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    update = orthogonalize(torch.randn(shape, generator=generator))
    values = torch.linalg.svdvals(update)
    assert update.shape == shape
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3


def test_a_step_of_muon_is_as_large_as_one_of_adamw() -> None:
    """What lets both share a learning rate: Moonlight's scaling, 0.2 RMS."""
    policy = make_policy()
    before = weights(policy)
    advance(policy, build_optimizer(policy, MUON.replace(weight_decay=0.0)), range(1))
    for name in ("backbone.blocks.0.attention.qkv.weight", "backbone.blocks.1.mlp.down.weight"):
        rms = (dict(policy.named_parameters())[name] - before[name]).square().mean().sqrt()
        assert 0.1 * 1e-2 < rms < 0.3 * 1e-2


@pytest.mark.parametrize("config", CONFIGS)
def test_a_learning_rate_of_zero_moves_nothing(config: TrainConfig) -> None:
    policy = make_policy()
    optimizer, before = build_optimizer(policy, config), weights(policy)
    give_gradients(policy, 0)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    assert not moved(before, policy)


def test_parameters_without_a_gradient_stay() -> None:
    policy = make_policy()
    optimizer, before = build_optimizer(policy, MUON), weights(policy)
    give_gradients(policy, 0)
    policy.decoder.zero_grad()
    optimizer.step()
    still = {f"decoder.{name}" for name, _ in policy.decoder.named_parameters()}
    assert moved(before, policy) == set(before) - still - {"past.embedding.weight"}


# ---------------------------------------------------------------------- resuming


@pytest.mark.parametrize("config", CONFIGS)
def test_state_by_parameter_name_resumes_exactly(config: TrainConfig) -> None:
    whole = make_policy()
    advance(whole, build_optimizer(whole, config), range(6))
    first = make_policy()
    optimizer = build_optimizer(first, config)
    advance(first, optimizer, range(3))
    saved = {
        (name, key): torch.as_tensor(value).clone()
        for name, parameter in first.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }
    second = make_policy()
    second.load_state_dict(first.state_dict())
    resumed, parameters = build_optimizer(second, config), dict(second.named_parameters())
    for (name, key), value in saved.items():
        resumed.state[parameters[name]][key] = value
    advance(second, resumed, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("config", CONFIGS)
def test_the_state_dict_resumes_exactly(config: TrainConfig) -> None:
    whole = make_policy()
    optimizer = build_optimizer(whole, config)
    advance(whole, optimizer, range(3))
    second = make_policy()
    second.load_state_dict(whole.state_dict())
    resumed = build_optimizer(second, config)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for policy, each in ((whole, optimizer), (second, resumed)):
        advance(policy, each, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("config", CONFIGS)
def test_accelerate_wraps_it_and_its_state_stays_where_checkpoints_look(config: TrainConfig) -> None:
    plain, policy = make_policy(), make_policy()
    advance(plain, build_optimizer(plain, config), range(3))
    optimizer = build_optimizer(policy, config)
    model, prepared = Accelerator(cpu=True).prepare(policy, optimizer)
    advance(model, prepared, range(3))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), policy.parameters(), strict=True))
    assert set(optimizer.state) == set(policy.parameters())


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
def test_zero_is_refused_with_muon_at_the_start(strategy: Strategy) -> None:
    with pytest.raises(ConfigError, match="--optimizer adamw"):
        build_optimizer(make_policy(), MUON.replace(strategy=strategy))
    build_optimizer(make_policy(), ADAMW.replace(strategy=strategy))


def test_matrices_that_a_wrapper_cut_up_are_refused_by_name() -> None:
    optimizer = build_optimizer(make_policy(), MUON)
    assert isinstance(optimizer, MuonWithAdamW)
    optimizer.param_groups[0]["params"] = [torch.zeros(12, requires_grad=True)]
    with pytest.raises(TrainingError, match=r"pieces of matrices.*--optimizer adamw"):
        optimizer.step()
