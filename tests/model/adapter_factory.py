"""Small adapters for tests: random, of any modules of a policy."""

from typing import Any

import torch
from torch import Tensor

from gi_model.adapters import HEAD, Adapter, AdapterConfig
from gi_model.command_head import build_head
from gi_model.lora import is_adaptable, lora_shapes
from gi_model.policy import Policy

LINEAR = ("backbone.blocks.0.attention.qkv", "backbone.blocks.1.mlp.down", "decoder.blocks.0.qkv", "past.project")
TARGETS = (*LINEAR, "encoder.convs.2", "encoder.project", "decoder.head")
REPLACED = ("backbone.norm", "decoder.embedding", "encoder.norm")


def make_config(policy: Policy, **changes: Any) -> AdapterConfig:
    values: dict[str, Any] = {
        "name": "rover",
        "base_fingerprint": policy.fingerprint,
        "base_name": policy.name,
        "rank": 3,
        "alpha": 6.0,
        "fps": 10.0,
        "targets": TARGETS,
        "replaced": REPLACED,
        "action_space": policy.space.fingerprint,
    }
    return AdapterConfig(**values | changes)


def make_adapter(policy: Policy, seed: int = 0, *, is_fresh: bool = False, **changes: Any) -> Adapter:
    """Random numbers, loud enough to change actions; fresh: B = 0 and replaced modules as they are."""
    config, generator = make_config(policy, **changes), torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for path in config.targets:
        module = policy.get_submodule(path)
        assert is_adaptable(module)
        lora_a, lora_b = (torch.randn(shape, generator=generator) * 0.3 for shape in lora_shapes(module, config.rank))
        tensors |= {f"{path}.lora_A": lora_a, f"{path}.lora_B": torch.zeros_like(lora_b) if is_fresh else lora_b}
    for path in config.replaced:
        for name, parameter in policy.get_submodule(path).named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * (0.0 if is_fresh else 0.3)
            tensors[f"{path}.{name}"] = parameter.detach() + noise
    torch.manual_seed(seed)
    if (head := build_head(policy.config, config.embodiment)) is not None:
        tensors |= {f"{HEAD}{name}": tensor for name, tensor in head.state_dict().items()}
    return Adapter(config, tensors)
