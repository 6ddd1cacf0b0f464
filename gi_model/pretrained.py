"""Weights for a timm frame encoder from a file on this machine: where a new policy's eyes start, if not at random.

Used once, before the first training step: a checkpoint holds the encoder's weights itself and never asks for the file
again. Only safetensors: the other formats are pickles, which run code. Nothing is ever downloaded.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gi_model.encoder import TimmEncoder
from gi_model.errors import CheckpointError, ConfigError
from gi_model.policy import Policy

CONVERT = (
    'Convert it where you trust it: python -c "import torch, safetensors.torch as s; '
    "s.save_file(torch.load('{path}', weights_only=True), 'encoder.safetensors')\""
)


def load_encoder_weights(policy: Policy, path: Path) -> None:
    """Copy a timm model's weights from the safetensors file `path` into the policy's encoder, in place.

    A classifier in the file is left out, and position embeddings are resampled to the frame's size where timm does so.
    Raises ConfigError for an encoder that is not timm's or a file that is not safetensors; CheckpointError for a file
    that is missing, damaged, or of another model, naming what does not fit. On an error the policy is as it was.
    """
    if not isinstance(policy.encoder, TimmEncoder):
        do = "Set `encoder` to a timm name, such as vit_small_patch16_dinov3, or leave the weights out."
        raise ConfigError("only timm encoders take weights", got=policy.config.encoder, expected="a timm name", do=do)
    backbone = policy.encoder.backbone
    weights = _without_classifier(_convert(_read(path), backbone), backbone)
    own: dict[str, Tensor] = backbone.state_dict()
    _check(weights, own, path, policy.config.encoder)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        do = CONVERT.format(path=path)
        raise ConfigError("encoder weights in a format that runs code", got=path.name, expected="*.safetensors", do=do)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        do = "Give the path of a timm model's model.safetensors on this machine."
        raise CheckpointError(f"cannot read encoder weights {path}", got=error, do=do) from error


def _convert(weights: dict[str, Tensor], backbone: Any) -> Mapping[str, Tensor]:
    """As timm itself reads a file of this family: old names, other patch grids."""
    convert = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return weights
    try:
        return convert(weights, backbone)  # type: ignore[no-any-return]
    except (KeyError, RuntimeError, ValueError, AttributeError, TypeError):
        return weights  # not of this family: the check names what does not fit


def _without_classifier(weights: Mapping[str, Tensor], backbone: Any) -> dict[str, Tensor]:
    named = backbone.pretrained_cfg.get("classifier") or ()
    prefixes = tuple(f"{name}." for name in ((named,) if isinstance(named, str) else named))
    return {name: tensor for name, tensor in weights.items() if not (prefixes and name.startswith(prefixes))}


def _check(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path, encoder: str) -> None:
    do = f"Use weights of timm's {encoder}, or set `encoder` to the model that {path.name} is of."
    if odd := sorted(set(own) ^ set(weights)):
        what = f"encoder weights {path} do not fit {encoder}"
        raise CheckpointError(what, got=f"{len(odd)} odd names, {odd[:3]}", expected="the same names", do=do)
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            got, expected = tuple(weights[name].shape), tuple(tensor.shape)
            raise CheckpointError(
                f"encoder weight {name} of {path} has another shape", got=got, expected=expected, do=do
            )
