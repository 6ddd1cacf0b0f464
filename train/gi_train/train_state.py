"""What a run needs to go on exactly where it stopped, under any strategy and any number of ranks.

One folder a saved step, `steps/000500/`:

    tensors-00000-of-00002.safetensors   whole float32 tensors: "weights/NAME", and the optimiser's, "exp_avg/NAME"
    tensors-00001-of-00002.safetensors   ... those that rank 1 of 2 wrote; every tensor is in one file
    position.json                        step, reader, what the run was; written last
    config.json, action_space.json       what the policy is

A file holds whole tensors, not slices, so whoever reads needs not know how they were sharded. No random state: every
random draw comes from (seed, step, window). A folder is renamed into place when whole, so that a kill or a full disk
leaves the one before. Rejected: torch's distributed checkpoints, whose metadata is a pickle; a file a shard, which
only the same number of ranks can read cheaply.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gi_model.actions import ActionSpace
from gi_model.checkpoint import CONFIG, SPACE, load_weights, save_policy
from gi_model.config import PolicyConfig
from gi_model.errors import CheckpointError
from gi_model.policy import Policy

POSITION, WEIGHTS = "position.json", "weights"


@dataclass(frozen=True)
class Position:
    """How far a run is: optimiser steps done, and the reader's state after the windows consumed so far.

    evaluated: the last step whose held-out values were written; optimizer: who wrote the moments.
    """

    step: int
    reader: dict[str, Any]
    evaluated: int = 0
    optimizer: str = "adamw"
    values: dict[str, float] = field(default_factory=dict)


def file_of(rank: int, world_size: int) -> str:
    """Name of the file that one rank writes."""
    return f"tensors-{rank:05d}-of-{world_size:05d}.safetensors"


def owners(sizes: Mapping[str, int], world_size: int) -> dict[str, int]:
    """Which rank writes which tensor: the largest first, each to whom has least so far; the same on all ranks."""
    loads, found = [0] * world_size, {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        found[name] = loads.index(min(loads))
        loads[found[name]] += sizes[name]
    return found


def write_tensors(folder: Path, tensors: Mapping[str, Tensor], *, rank: int = 0, world_size: int = 1) -> None:
    """Write one rank's file and wait until it is on disk. Raises OSError or SafetensorError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_of(rank, world_size)
    save_file(dict(tensors), path)
    _sync(path)


def commit(writing: Path, target: Path, policy: Policy, position: Position) -> None:
    """Make a folder whole, all files being there: what the policy is, then the position, then its name."""
    (writing / CONFIG).write_text(json.dumps(policy.config.to_dict(), indent=2) + "\n")
    (writing / SPACE).write_text(json.dumps(policy.space.to_dict()) + "\n")
    (writing / POSITION).write_text(json.dumps(asdict(position)))
    _sync(writing / POSITION)
    shutil.rmtree(target, ignore_errors=True)
    writing.rename(target)
    _sync(target.parent)


class StateReader:
    """Reads a step folder, tensor by tensor. A context manager. Raises CheckpointError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = ExitStack()
        try:
            self.config = PolicyConfig.from_dict(json.loads((folder / CONFIG).read_text()))
            self.space = ActionSpace.from_dict(json.loads((folder / SPACE).read_text()))
            self.position = Position(**json.loads((folder / POSITION).read_text()))
            self._where = dict(self._open(self._paths()))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            self._files.close()
            raise self._damaged(error) from error

    def names(self) -> list[str]:
        """Of all tensors, "KIND/NAME"."""
        return sorted(self._where)

    def tensor(self, name: str) -> Tensor:
        """One whole tensor, on the host."""
        try:
            found: Tensor = self._where[name].get_tensor(name)
            return found
        except (KeyError, SafetensorError) as error:
            raise self._damaged(error) from error

    def weights(self) -> dict[str, Tensor]:
        """All weights and buffers by name."""
        prefix = f"{WEIGHTS}/"
        return {name.removeprefix(prefix): self.tensor(name) for name in self.names() if name.startswith(prefix)}

    def moments(self, name: str) -> dict[str, Tensor]:
        """What the optimiser keeps of one parameter, by its own names."""
        kinds = {each.partition("/")[0] for each in self._where} - {WEIGHTS}
        return {kind: self.tensor(f"{kind}/{name}") for kind in sorted(kinds) if f"{kind}/{name}" in self._where}

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def __enter__(self) -> "StateReader":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _paths(self) -> list[Path]:
        paths = sorted(self.folder.glob("tensors-*.safetensors"))
        expected = {file_of(rank, len(paths)) for rank in range(len(paths))}
        if not paths or {path.name for path in paths} != expected:
            raise ValueError(f"files {[path.name for path in paths]} are not a whole set")
        return paths

    def _open(self, paths: Sequence[Path]) -> Iterator[tuple[str, Any]]:
        for path in paths:
            file = self._files.enter_context(safe_open(path, framework="pt"))
            yield from ((name, file) for name in file.keys())  # noqa: SIM118  # no dictionary

    def _damaged(self, error: Exception) -> CheckpointError:
        do = f"Delete {self.folder} to resume from the step before, or the run's folder to start anew."
        return CheckpointError(f"cannot read the saved step {self.folder}", got=error, do=do)


def check_same_run(state: StateReader, policy: PolicyConfig, optimizer: str) -> None:
    """Raise CheckpointError naming what of a saved run does not fit one that wants to go on."""
    before = {**state.config.to_dict(), "optimizer": state.position.optimizer}
    now = {**policy.to_dict(), "optimizer": optimizer}
    if odd := [name for name in now if before[name] != now[name]]:
        got, expected = {name: now[name] for name in odd}, {name: before[name] for name in odd}
        do = "Give the settings it was started with, or another --out."
        raise CheckpointError(f"{state.folder} was saved with other settings", got=got, expected=expected, do=do)


def export_policy(folder: Path, out: Path, *, dtype: torch.dtype = torch.float32, facts: Mapping[str, Any]) -> Policy:
    """Write the policy of a saved step as a checkpoint that serves, evaluates, and adapts. Raises CheckpointError."""
    with StateReader(folder) as state:
        policy = Policy(state.config, state.space)
        load_weights(policy, state.weights(), folder)
    save_policy(policy.cast_weights(dtype), out, facts=facts)
    return policy


def newest_state(folder: Path) -> Path | None:
    """The newest whole step folder, or None."""
    whole = sorted(path for path in folder.glob("[0-9]*") if (path / POSITION).exists())
    return whole[-1] if whole else None


def find_state(source: Path) -> Path:
    """A step folder, or the newest of a run's folder. Raises CheckpointError."""
    found = source if (source / POSITION).exists() else newest_state(source / "steps")
    if found is None:
        do = "Give the folder that `gi pretrain --out` wrote, or one of its steps."
        raise CheckpointError(f"no saved step in {source}", got="none", expected=f"steps/NUMBER/{POSITION}", do=do)
    return found


def prune_states(folder: Path, keep: int) -> None:
    """Delete all but the `keep` newest step folders."""
    for old in sorted(folder.glob("[0-9]*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete what a kill left half written."""
    for half in folder.glob("writing-*"):
        shutil.rmtree(half, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
