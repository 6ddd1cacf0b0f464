"""Adapters: what post-training adds to a policy for one game or body: low-rank updates, and a few modules whole.

    adapter.json          name, base, rank, what is adapted       embodiment.toml   the body it drives, if it is a robot
    adapter.safetensors   the tensors: a few MB                   README.md         the card

An adapter for a body with direct actuators also has the head that commands them (`gi_model.command_head`). An adapter
is bound to the very weights it was trained on. One on a policy: `gi_model.attachment`; many at once:
`gi_model.adapter_bank`. Rejected: peft's folder (no body, no base by its hash), a merged checkpoint for each adapter
(all of the base again, for each).
"""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gi_model.checkpoint import CARD, read_json, replace_folder
from gi_model.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from gi_model.embodiment import Embodiment

CONFIG, WEIGHTS, EMBODIMENT = "adapter.json", "adapter.safetensors", "embodiment.toml"
FORMAT, VERSION = "gi-adapter", 1
HEAD: Final = "command_head."  # before the names of its tensors
NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
_BESIDE: Final = ("embodiment", "fingerprint")  # fields that adapter.json does not hold
_PATHS: Final = ("targets", "replaced")
_LATER: Final = {"past_actions": "seen"}  # what files of before have no word of
ShownPast = Literal["seen", "hidden"]


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What an adapter is for. Fingerprints are sha256; that of a policy never saved is "".

    targets: paths of modules with a low-rank update; replaced: of modules without children, kept whole; fps: of its
    demonstrations; past_actions: whether the policy is shown its last action; fingerprint: of the adapter itself, set
    by `load_adapter`.
    """

    name: str
    base_fingerprint: str
    base_name: str
    rank: int
    alpha: float  # updates are multiplied by alpha / rank
    fps: float
    targets: tuple[str, ...]
    replaced: tuple[str, ...] = ()
    action_space: str
    past_actions: ShownPast = "seen"
    embodiment: "Embodiment | None" = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        def need(condition: bool, what: str, got: object, expected: str) -> None:
            if not condition:
                raise ConfigError(f"adapter: {what}", got=got, expected=expected)

        need(bool(NAME.fullmatch(self.name)), "name", self.name, "letters, digits, . _ -, at most 64")
        need(self.rank >= 1, "rank", self.rank, "at least 1")
        need(math.isfinite(self.alpha) and self.alpha > 0, "alpha", self.alpha, "above 0")
        need(math.isfinite(self.fps) and self.fps > 0, "fps", self.fps, "above 0")
        need(bool(self.targets or self.replaced), "it changes nothing", "no module", "targets or replaced modules")
        twice = set(self.targets) & set(self.replaced)
        need(self.past_actions in get_args(ShownPast), "past_actions", self.past_actions, "seen|hidden")
        need(not twice, "a module both updated and replaced", sorted(twice), "one of the two")

    @property
    def hides_past(self) -> bool:
        """Whether the policy is not shown its last action."""
        return self.past_actions == "hidden"

    @property
    def has_head(self) -> bool:
        """Whether it commands direct actuators, by a head of its own."""
        return self.embodiment is not None and len(self.embodiment.command_space) > 0

    @property
    def scale(self) -> float:
        """What an update is multiplied by."""
        return self.alpha / self.rank

    def to_dict(self) -> dict[str, Any]:
        """JSON form: what adapter.json holds."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _BESIDE}
        return {"format": FORMAT, "version": VERSION, **values}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises CheckpointError on another format, and by name on fields it does not know."""
        if (data.get("format"), data.get("version")) != (FORMAT, VERSION):
            got = f"{data.get('format')}, version {data.get('version')}"
            raise CheckpointError("not an adapter that this version reads", got=got, expected=f"{FORMAT}, {VERSION}")
        values = _LATER | {name: value for name, value in data.items() if name not in ("format", "version")}
        names = {field.name for field in fields(cls)} - set(_BESIDE)
        if odd := set(values) ^ names:
            raise CheckpointError("adapter config with other fields", got=sorted(odd), expected=sorted(names))
        if wrong := [name for name, value in values.items() if not _fits(name, value)]:
            raise CheckpointError(f"adapter config: {wrong[0]} of another type", got=values[wrong[0]])
        return cls(**values | {name: tuple(values[name]) for name in _PATHS})


def _fits(name: str, value: object) -> bool:
    """Whether a JSON value is of the type of the field `name`."""
    if name in _PATHS:
        return isinstance(value, list) and all(isinstance(path, str) for path in value)
    kinds = {"rank": (int,), "alpha": (int, float), "fps": (int, float)}.get(name, (str,))
    return type(value) in kinds  # bool is no int here


@dataclass(frozen=True)
class Adapter:
    """A config and its tensors, float32: `PATH.lora_A`, `PATH.lora_B`, and `PATH.PARAMETER` of replaced modules.

    `command_head.PARAMETER` are of the head of a body with direct actuators (`gi_model.command_head`). Raises
    CheckpointError if a tensor is missing, odd, or not finite.
    """

    config: AdapterConfig
    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        needed = {f"{path}.{half}" for path in self.config.targets for half in ("lora_A", "lora_B")}
        whole = {name for name in self.tensors if name.rpartition(".")[0] in self.config.replaced}
        empty = {f"{path}.*" for path in self.config.replaced if not any(_is_of(name, path) for name in whole)}
        head = {f"{HEAD}{name}" for name in self.head}
        if self.config.has_head and not head:
            empty.add(f"{HEAD}*")
        if missing := (needed - set(self.tensors)) | empty:
            raise CheckpointError(f"adapter {self.config.name} lacks tensors", got=sorted(missing)[:4])
        if odd := set(self.tensors) - needed - whole - (head if self.config.has_head else set()):
            do = "Neither its config nor its body has what they belong to."
            raise CheckpointError(f"adapter {self.config.name} has odd tensors", got=sorted(odd)[:4], do=do)
        for name, tensor in self.tensors.items():
            if not tensor.isfinite().all():
                raise CheckpointError(f"adapter {self.config.name}: {name} is not finite", do="Train it again.")

    def update(self, path: str, like: Tensor) -> tuple[Tensor, Tensor]:
        """A and scaled B of the module at `path`, on the device and of the type of `like`."""
        lora_a, lora_b = self.tensors[f"{path}.lora_A"], self.tensors[f"{path}.lora_B"] * self.config.scale
        return lora_a.to(like), lora_b.to(like)

    @property
    def head(self) -> dict[str, Tensor]:
        """Tensors of the command head, by their names in it; empty where there is none."""
        return {name.removeprefix(HEAD): tensor for name, tensor in self.tensors.items() if name.startswith(HEAD)}

    def parameters(self, path: str) -> dict[str, Tensor]:
        """The parameters of the replaced module at `path`, by name."""
        return {name.rpartition(".")[2]: tensor for name, tensor in self.tensors.items() if _is_of(name, path)}


def _is_of(name: str, path: str) -> bool:
    return name.rpartition(".")[0] == path


# ---------------------------------------------------------------------- on disk


def save_adapter(adapter: Adapter, folder: Path, *, facts: Mapping[str, Any] | None = None) -> None:
    """Write `adapter` to `folder`, replacing what is there at once. `facts` go into the card.

    Raises CheckpointError if it cannot be written; what was there stays.
    """
    partial = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(
            {name: tensor.float().contiguous().cpu() for name, tensor in adapter.tensors.items()}, partial / WEIGHTS
        )
        (partial / CONFIG).write_text(json.dumps(adapter.config.to_dict(), indent=2) + "\n")
        if adapter.config.embodiment is not None:
            (partial / EMBODIMENT).write_text(adapter.config.embodiment.to_toml())
        (partial / CARD).write_text(_card(adapter, facts or {}))
        replace_folder(partial, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        do = "Free disk space or choose another folder; what was there is untouched."
        raise CheckpointError(f"cannot save an adapter to {folder}", got=error, do=do) from error


def load_adapter(folder: Path) -> Adapter:
    """Read an adapter, onto the CPU. Raises CheckpointError that names what is missing, damaged, or odd."""
    config = AdapterConfig.from_dict(read_json(folder / CONFIG, what="adapter", writer="gi posttrain"))
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot read the adapter in {folder}", got=error, expected=WEIGHTS, do="Copy it again."
        ) from error
    if (folder / EMBODIMENT).exists():
        from gi_model.embodiment import read_embodiment

        config = replace(config, embodiment=read_embodiment(folder / EMBODIMENT))
    return Adapter(replace(config, fingerprint=read_adapter_fingerprint(folder)), tensors)


def read_adapter_fingerprint(folder: Path) -> str:
    """sha256 over config, tensors, and body: what sessions and their recordings are bound to."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS, EMBODIMENT):
        if name != EMBODIMENT or (folder / name).exists():
            digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def _card(adapter: Adapter, facts: Mapping[str, Any]) -> str:
    config, num_numbers = adapter.config, sum(tensor.numel() for tensor in adapter.tensors.values())
    base = f"{config.base_name} ({config.base_fingerprint[:12]})"
    body = {} if config.embodiment is None else {"body": config.embodiment.name}
    rows = {
        "base": base,
        "fps": config.fps,
        "rank": config.rank,
        "past actions": config.past_actions,
        "numbers": num_numbers,
        **body,
        **facts,
    }
    lines = [f"- {name}: {value}" for name, value in rows.items()]
    return "\n".join([f"# gi-model adapter {config.name}", "", "Works with its base only.", "", *lines, ""])
