"""What a run needs to go on exactly where it stopped: weights, optimiser moments, random state, reader position.

One folder a saved step, `steps/000500/`: a policy checkpoint with two more files. Tensors are safetensors and the rest
JSON, never pickle: a folder is renamed into place when whole, so a kill or a full disk leaves the newest whole one to
resume from.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gi_model.checkpoint import WEIGHTS, load_weights, save_policy
from gi_model.errors import CheckpointError
from gi_model.policy import Policy

TENSORS, POSITION = "optimizer.safetensors", "position.json"


@dataclass(frozen=True)
class Position:
    """How far a run is: optimiser steps done, and the reader's state after the windows consumed so far."""

    step: int
    reader: dict[str, Any]


def save_state(folder: Path, policy: Policy, optimizer: torch.optim.Optimizer, position: Position) -> Path:
    """Write a resumable checkpoint `folder/STEP`; returns it. Raises CheckpointError; earlier steps stay."""
    target = folder / f"{position.step:06d}"
    writing = folder / f"writing-{position.step:06d}"
    try:
        save_policy(policy, writing, facts={"step": position.step})
        save_file(_optimizer_tensors(policy, optimizer), writing / TENSORS)
        (writing / POSITION).write_text(json.dumps({"step": position.step, "reader": position.reader}))
        shutil.rmtree(target, ignore_errors=True)
        writing.rename(target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(writing, ignore_errors=True)
        do = "Free disk space and run the same command again; it resumes from the newest step."
        raise CheckpointError(f"cannot save step {position.step} to {folder}", got=error, do=do) from error
    return target


def load_state(folder: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> Position:
    """Restore weights, moments, and random state from a step folder. Raises CheckpointError."""
    try:
        load_weights(policy, load_file(folder / WEIGHTS), folder)
        tensors = load_file(folder / TENSORS)
        data = json.loads((folder / POSITION).read_text())
        torch.set_rng_state(tensors.pop("rng"))
        _restore_optimizer(policy, optimizer, tensors)
        return Position(int(data["step"]), data["reader"])
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        do = f"Delete {folder} to resume from the step before, or the run's folder to start anew."
        raise CheckpointError(f"cannot resume from {folder}", got=error, do=do) from error


def newest_state(folder: Path) -> Path | None:
    """The newest whole step folder, or None."""
    whole = sorted(path for path in folder.glob("[0-9]*") if (path / POSITION).exists())
    return whole[-1] if whole else None


def prune_states(folder: Path, keep: int) -> None:
    """Delete all but the `keep` newest step folders."""
    for old in sorted(folder.glob("[0-9]*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def _optimizer_tensors(policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {"rng": torch.get_rng_state()}
    for name, parameter in policy.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = torch.as_tensor(value).detach().cpu().contiguous()
    return tensors


def _restore_optimizer(policy: Policy, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = dict(policy.named_parameters())
    for name, value in tensors.items():
        owner, _, key = name.rpartition("/")
        parameter = parameters[owner]
        on_host = key == "step"  # AdamW keeps its step count on the host
        optimizer.state[parameter][key] = value if on_host else value.to(parameter.device)
