"""A timm encoder starts from a local file; a file that does not fit is refused and changes nothing."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from gi_model.checkpoint import load_policy, save_policy
from gi_model.errors import CheckpointError, ConfigError
from gi_model.policy import Policy
from gi_model.pretrained import load_encoder_weights
from tests.model.factories import DEBUG, make_policy, random_batch

NAME = "vit_tiny_patch16_224"
VIT = DEBUG.replace(encoder=NAME, height=32, width=32)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    """Of a model as timm publishes it: with a classifier, for another size of picture."""
    torch.manual_seed(11)
    return dict(timm.create_model(NAME, num_classes=7, img_size=48).state_dict())


def saved(weights: dict[str, Tensor], path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


def test_weights_are_taken_and_positions_resampled(weights: dict[str, Tensor], tmp_path: Path) -> None:
    policy = make_policy(VIT)
    load_encoder_weights(policy, saved(weights, tmp_path / "model.safetensors"))
    own = policy.state_dict()
    assert (own["encoder.backbone.blocks.3.mlp.fc1.weight"] == weights["blocks.3.mlp.fc1.weight"]).all()
    assert own["encoder.backbone.pos_embed"].shape == (1, 5, 192)
    assert (own["encoder.backbone.pos_embed"][:, 0] == weights["pos_embed"][:, 0]).all()


def test_a_convnet_takes_its_own(tmp_path: Path) -> None:
    config = DEBUG.replace(encoder="resnet10t", height=64, width=64)
    torch.manual_seed(5)
    published = timm.create_model("resnet10t", num_classes=3)
    policy = make_policy(config)
    load_encoder_weights(policy, saved(dict(published.state_dict()), tmp_path / "model.safetensors"))
    assert (policy.state_dict()["encoder.backbone.conv1.0.weight"] == published.state_dict()["conv1.0.weight"]).all()


def test_a_checkpoint_never_asks_for_the_file_again(weights: dict[str, Tensor], tmp_path: Path) -> None:
    policy, path = make_policy(VIT), saved(weights, tmp_path / "model.safetensors")
    load_encoder_weights(policy, path)
    save_policy(policy, tmp_path / "policy")
    path.unlink()
    batch = random_batch(1, 3, VIT)
    with torch.inference_mode():
        expected = policy.features(batch)
        torch.testing.assert_close(load_policy(tmp_path / "policy").features(batch), expected, atol=1e-5, rtol=0)


def refused(policy: Policy, path: Path, match: str) -> None:
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    with pytest.raises((CheckpointError, ConfigError), match=match):
        load_encoder_weights(policy, path)
    assert all((tensor == before[name]).all() for name, tensor in policy.state_dict().items())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    refused(make_policy(VIT), tmp_path / "none.safetensors", "none.safetensors")


def test_a_damaged_file_is_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(weights, tmp_path / "model.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    refused(make_policy(VIT), path, "cannot read encoder weights")


@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "weights.pt"])
def test_pickles_are_refused_with_a_way_to_convert_them(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"whatever")
    refused(make_policy(VIT), tmp_path / name, "save_file")


def test_weights_of_another_model_are_named(tmp_path: Path) -> None:
    other = dict(timm.create_model("resnet10t").state_dict())
    refused(make_policy(VIT), saved(other, tmp_path / "model.safetensors"), "do not fit vit_tiny_patch16_224")


def test_a_missing_and_a_misshapen_tensor_are_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    some = {name: tensor for name, tensor in weights.items() if name != "norm.bias"}
    refused(make_policy(VIT), saved(some, tmp_path / "some.safetensors"), "norm.bias")
    odd = weights | {"norm.bias": torch.zeros(5)}
    refused(make_policy(VIT), saved(odd, tmp_path / "odd.safetensors"), "norm.bias .* another shape")


@pytest.mark.parametrize("encoder", ["stem", "hybrid"])
def test_our_own_encoders_take_none(encoder: str, weights: dict[str, Tensor], tmp_path: Path) -> None:
    policy = make_policy(DEBUG.replace(encoder=encoder))
    refused(policy, saved(weights, tmp_path / "model.safetensors"), "only timm encoders")
