"""Checkpoints: a folder with config.json, model.safetensors, action_space.json, and a model card. No pickle anywhere.

Written beside its target and renamed, so a checkpoint is whole or absent; a full disk or a kill leaves the one before.
Loading names whatever does not match.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gi_model.actions import ActionSpace
from gi_model.config import PolicyConfig
from gi_model.errors import CheckpointError, ConfigError
from gi_model.policy import Policy

WEIGHTS, CONFIG, SPACE, CARD = "model.safetensors", "config.json", "action_space.json", "README.md"


def save_policy(policy: Policy, folder: Path, *, facts: Mapping[str, Any] | None = None) -> None:
    """Write `policy` to `folder`, replacing what is there at once. `facts` go into the model card.

    Raises CheckpointError if it cannot be written; what was there stays. ConfigError while an adapter is attached.
    """
    if policy.attached is not None:
        do = "Detach it, or merge it instead of attaching it."
        raise ConfigError("a policy with an adapter is not saved", got=policy.attached.name, do=do)
    if policy.command_head is not None:
        do = "Keep base and adapter: the body that its command head is for is the adapter's."
        raise ConfigError("a policy with a command head is not saved", got=policy.name, do=do)
    partial = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(_unshared_weights(policy), partial / WEIGHTS)
        (partial / CONFIG).write_text(json.dumps(policy.config.to_dict(), indent=2) + "\n")
        (partial / SPACE).write_text(json.dumps(policy.space.to_dict()) + "\n")
        (partial / CARD).write_text(_card(policy, facts or {}))
        replace_folder(partial, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        do = "Free disk space or choose another folder; the checkpoint before is untouched."
        raise CheckpointError(f"cannot save a checkpoint to {folder}", got=error, do=do) from error


def load_policy(folder: Path, *, device: str = "cpu") -> Policy:
    """Read a policy. Raises CheckpointError that names the file and what does not match."""
    space = ActionSpace.from_dict(read_json(folder / SPACE))
    config = PolicyConfig.from_dict(read_json(folder / CONFIG))
    policy = Policy(config, space)
    try:
        weights = load_file(folder / WEIGHTS, device=device)
    except (OSError, SafetensorError) as error:
        do = "Copy it again, or use another checkpoint."
        raise CheckpointError(f"cannot read weights in {folder}", got=error, expected=WEIGHTS, do=do) from error
    policy.to(device)
    load_weights(policy, weights, folder)
    policy.name, policy.fingerprint = name_of(folder), read_fingerprint(folder)
    return policy.eval()


def load_weights(policy: Policy, weights: Mapping[str, torch.Tensor], source: Path) -> None:
    """Copy `weights` into `policy`. Raises CheckpointError naming what is missing, odd, or misshapen."""
    own = _unshared_weights(policy)
    if odd := set(own) ^ set(weights):
        raise CheckpointError(f"weights in {source} do not fit the config", got=sorted(odd)[:4], expected="equal names")
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            got, expected = tuple(weights[name].shape), tuple(tensor.shape)
            raise CheckpointError(f"weight {name} in {source} has another shape", got=got, expected=expected)
        with torch.no_grad():
            tensor.copy_(weights[name])


def read_fingerprint(folder: Path) -> str:
    """sha256 over config and weights: what adapters and sessions are bound to."""
    digest = hashlib.sha256((folder / CONFIG).read_bytes())
    with (folder / WEIGHTS).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def name_of(folder: Path) -> str:
    """What the checkpoint in `folder` is called: the folder's name, or its parent's where that is `checkpoint`."""
    path = folder.resolve()
    return path.parent.name if path.name == "checkpoint" else path.name


def replace_folder(new: Path, target: Path) -> None:
    """Put the folder `new` in the place of `target`. A kill between the two renames leaves the one before as `.old`."""
    old = target.with_name(target.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _unshared_weights(policy: Policy) -> dict[str, torch.Tensor]:
    """Weights and buffers by name, each tensor once (decoder and past action share the token embedding)."""
    unique: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in policy.state_dict().items():
        unique.setdefault(tensor.data_ptr(), (name, tensor.contiguous()))
    return dict(unique.values())


def read_json(path: Path, *, what: str = "checkpoint", writer: str = "gi pretrain") -> dict[str, Any]:
    """The JSON object in the file `path` of a `what`. Raises CheckpointError."""
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        do = f"Give the folder that `{writer}` wrote (it holds {path.name})."
        raise CheckpointError(f"no {what} at {path.parent}", got=error.strerror, expected=path.name, do=do) from error
    except ValueError as error:
        raise CheckpointError(
            f"cannot read {path}", got=error, expected="JSON", do=f"Copy the {what} again."
        ) from error
    if not isinstance(data, dict):
        raise CheckpointError(f"cannot read {path}", got=type(data).__name__, expected="a JSON object")
    return data


def _card(policy: Policy, facts: Mapping[str, Any]) -> str:
    num_parameters = sum(parameter.numel() for parameter in policy.parameters())
    lines = [f"- {name}: {value}" for name, value in {"parameters": num_parameters, **facts}.items()]
    return "\n".join(["# gi-model policy", "", "Frames in, action tokens out; pixels only.", "", *lines, ""])
