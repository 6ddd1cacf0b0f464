"""`adapt`: what post-training may change of a policy, by peft, and what of it is an adapter's tensors.

A group names a part of the policy (`GROUPS`). Linear maps get a low-rank update by peft (Hu et al. 2021, LoRA), small
modules are trained whole: the head, whose rows are tokens; norms; a convolution stem, which has no rank to spare. peft
wraps modules in place and freezes the rest; its names become those of `gi_model.adapters`, which serving knows.
Rejected: LoRA of our own here (peft has the initialisations and variants that people ask for), and peft's own files
(their names depend on its wrappers, and serving would need peft).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from gi_model.encoder import StemEncoder
from gi_model.errors import ConfigError
from gi_model.policy import Policy

GROUPS: Final[Mapping[str, str]] = {
    "stem": "the frame encoder: a convolution stem whole, a larger one by low-rank updates",
    "past": "the map of the past action",
    "backbone": "the transformer over ticks",
    "decoder": "the decoder's transformer and its context",
    "head": "the decoder's head, whole",
    "embedding": "the embedding of action tokens, whole: for controls that the base never saw held",
    "norms": "all norms, whole",
}
_NAME: Final = "default"  # peft's, of the only adapter


@dataclass(frozen=True)
class Adapted:
    """Paths of modules: with a low-rank update, and trained whole."""

    targets: tuple[str, ...]
    replaced: tuple[str, ...]


def choose_modules(policy: Policy, groups: Sequence[str]) -> Adapted:
    """The modules of `policy` that `groups` name. Raises ConfigError on an unknown group, or one without a module."""
    if unknown := [name for name in groups if name not in GROUPS]:
        raise ConfigError("unknown part of a policy", got=unknown[0], expected=" | ".join(GROUPS))
    chosen = [list(_members(policy, group)) for group in groups]
    if empty := [name for name, members in zip(groups, chosen, strict=True) if not members]:
        do = f"Leave it out: --modules {','.join(name for name in groups if name not in empty)}"
        raise ConfigError(f"this policy has no {empty[0]} to adapt", got=empty[0], expected="a part of it", do=do)
    paths = {path: is_whole for members in chosen for path, is_whole in members}
    return Adapted(
        tuple(sorted(path for path, is_whole in paths.items() if not is_whole)),
        tuple(sorted(path for path, is_whole in paths.items() if is_whole)),
    )


def adapt(policy: Policy, adapted: Adapted, *, rank: int, alpha: float) -> None:
    """Freeze `policy`, in place, but for new low-rank updates (which change nothing yet) and what is trained whole."""
    policy.requires_grad_(False)
    if adapted.targets:
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(adapted.targets))  # type: ignore[arg-type]
        inject_adapter_in_model(config, policy, adapter_name=_NAME)
    for path in adapted.replaced:
        policy.get_submodule(path).requires_grad_(True)


def adapter_tensors(policy: Policy, adapted: Adapted) -> dict[str, Tensor]:
    """What `adapt` made trainable, under the names of `gi_model.adapters`; copies on the host."""
    found = {}
    for path in adapted.targets:
        module = policy.get_submodule(path)
        for half in ("lora_A", "lora_B"):
            found[f"{path}.{half}"] = module.get_submodule(f"{half}.{_NAME}").get_parameter("weight")
    for path in adapted.replaced:
        for name, parameter in policy.get_submodule(path).named_parameters():
            found[f"{path}.{name}"] = parameter
    return {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in found.items()}


def _members(policy: Policy, group: str) -> Iterator[tuple[str, bool]]:
    """(path, whether it is trained whole) of every module of a group."""
    is_small = isinstance(policy.encoder, StemEncoder)
    head, embedding = policy.decoder.head, policy.decoder.embedding
    opaque = {
        id(inner)
        for module in policy.modules()
        if isinstance(module, nn.MultiheadAttention)
        for inner in module.modules()
    }
    for path, module in policy.named_modules():
        part = path.partition(".")[0]
        if id(module) in opaque:  # reads its maps' weights itself: an update of theirs would go unseen
            continue
        is_norm, is_map = isinstance(module, nn.RMSNorm | nn.LayerNorm), isinstance(module, nn.Linear | nn.Conv2d)
        if group == "stem" and part == "encoder" and (is_map or (is_small and is_norm)):
            yield path, is_small
        elif group in ("past", "backbone", "decoder") and part == group and is_map and module is not head:
            yield path, False
        elif (group == "norms" and is_norm) or module is {"head": head, "embedding": embedding}.get(group):
            yield path, True
