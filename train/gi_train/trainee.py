"""`Trainee`: a base policy and what of it learns; how what came of it is kept: as an adapter, or as a policy."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from gi_data.demonstrations import Demonstrations
from gi_data.storage import write_atomic
from gi_model import __version__
from gi_model.adapters import HEAD, Adapter, AdapterConfig, load_adapter, save_adapter
from gi_model.attachment import attach
from gi_model.checkpoint import load_policy, save_policy
from gi_model.command_head import build_head
from gi_model.embodiment import Embodiment
from gi_model.errors import CheckpointError, ConfigError
from gi_model.policy import Policy
from gi_train.adapted_modules import Adapted, adapt, adapter_tensors, choose_modules
from gi_train.posttrain_config import PosttrainConfig
from gi_train.run_files import RunPaths

SETTINGS = "posttrain.json"


@dataclass(frozen=True)
class Trainee:
    """adapted: what an adapter holds; None where all weights are trained. facts: what fixes the run, JSON values."""

    policy: Policy
    base: Path
    paths: RunPaths
    demonstrations: Demonstrations
    config: PosttrainConfig
    body: Embodiment | None
    adapted: Adapted | None
    facts: Mapping[str, Any]

    @classmethod
    def start(
        cls,
        base: Path,
        demonstrations: Demonstrations,
        *,
        out: Path,
        config: PosttrainConfig,
        body: Embodiment | None = None,
    ) -> Self:
        """Load the base and make learn what shall. Raises ConfigError, CheckpointError."""
        policy = load_policy(base)
        if policy.config.lookahead_ticks:
            got, do = f"lookahead {policy.config.lookahead_ticks}", "Adapt a policy (gi pretrain without --task idm)."
            raise ConfigError("this base sees later frames: it cannot play", got=got, expected="a policy", do=do)
        facts = {
            "base": f"{policy.name} ({policy.fingerprint})",
            "body": body.fingerprint if body else "",
            "train": list(demonstrations.train),
            "held out": list(demonstrations.held_out),
            "ticks": demonstrations.num_ticks,
            "settings": config.to_dict(),
            "version": __version__,
        }
        adapted = None if config.method == "full" else choose_modules(policy, config.groups)
        if config.past_actions == "hidden":
            policy.hide_past()
        torch.manual_seed(config.train.seed)  # new weights are drawn here
        if adapted:
            adapt(policy, adapted, rank=config.rank, alpha=config.alpha)
            policy.command_head = build_head(policy.config, body)
        else:
            _refuse_head(body)
            policy.config = policy.config.replace(fps=demonstrations.fps)  # an adapter has a rate of its own
        return cls(policy, base, RunPaths(out), demonstrations, config, body, adapted, facts)

    def learn(self) -> None:
        """Put what learns into training mode, and nothing else: a frozen norm's running statistics stay, too."""
        self.policy.train()
        for module in self.policy.modules():
            if not any(parameter.requires_grad for parameter in module.parameters()):
                module.eval()

    @property
    def folder(self) -> Path:
        """Where the best so far is kept."""
        return self.paths.adapter if self.adapted else self.paths.checkpoint

    def check_same_run(self) -> None:
        """Note what fixes the run, the first time; later raise CheckpointError naming what is not as it was."""
        path, now = self.paths.out / SETTINGS, json.loads(json.dumps(self.facts))
        if not path.exists():
            write_atomic(path, json.dumps(now, indent=1).encode())
        before = json.loads(path.read_text())
        if odd := [name for name in now if before.get(name) != now[name]]:
            got, expected = ({name: each.get(name) for name in odd} for each in (now, before))
            do = "Give the settings that it was started with, or another --out."
            raise CheckpointError(f"{self.paths.out} is of another run", got=got, expected=expected, do=do)

    def save(self, facts: Mapping[str, Any]) -> None:
        """Write what has been learned so far, whole, in the place of what was kept before. Raises CheckpointError."""
        known = {
            "method": self.config.method,
            "demonstrations": f"{len(self.demonstrations)}, {len(self.demonstrations.held_out)} of them held out",
            "ticks": self.demonstrations.num_ticks,
            "games": ", ".join(self.demonstrations.games),
            "body": self.body.name if self.body else "none",
            "seed": self.config.train.seed,
        }
        if self.adapted is None:
            save_policy(self.policy, self.folder, facts={"base": self.facts["base"], **known, **facts})
        else:
            save_adapter(self._adapter(self.adapted), self.folder, facts={**known, **facts})

    def load(self) -> Policy:
        """The best so far, as it will play."""
        if self.adapted is None:
            return load_policy(self.folder)
        policy = load_policy(self.base)
        attach(policy, load_adapter(self.folder))
        return policy

    def _adapter(self, adapted: Adapted) -> Adapter:
        policy = self.policy
        config = AdapterConfig(
            name=re.sub(r"[^a-zA-Z0-9._-]+", "-", self.paths.out.resolve().name).strip("._-")[:64] or "adapter",
            base_fingerprint=policy.fingerprint,
            base_name=policy.name,
            rank=self.config.rank,
            alpha=self.config.alpha,
            fps=self.demonstrations.fps,
            targets=adapted.targets,
            replaced=adapted.replaced,
            action_space=policy.space.fingerprint,
            past_actions=self.config.past_actions,
            embodiment=self.body,
        )
        head = {} if policy.command_head is None else policy.command_head.state_dict()
        tensors = {f"{HEAD}{name}": tensor.to("cpu", torch.float32, copy=True) for name, tensor in head.items()}
        return Adapter(config, adapter_tensors(policy, adapted) | tensors)


def _refuse_head(body: Embodiment | None) -> None:
    """A checkpoint holds no body, and so no head for one."""
    if body is not None and len(body.command_space):
        names, do = ", ".join(body.command_space.names), "Train an adapter: leave --method out."
        raise ConfigError("direct actuators need an adapter", got=names, expected="method lora or head", do=do)
