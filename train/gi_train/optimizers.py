"""AdamW, and Muon for hidden matrices: what turns gradients into steps.

Muon makes the update of a matrix orthogonal, so that every direction of it learns at one pace (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon); scaled to the size of an AdamW update it shares AdamW's learning rate and
weight decay (Liu et al. 2025, Muon is Scalable for LLM Training, section 2.2). It is for matrices between hidden
layers: embeddings, the head, convolutions, norms, and biases stay with AdamW. Both are torch's own (but see `muon`).
Here they are one optimiser with one list of groups and one state, so that accelerate, checkpoints, and schedules see
no difference. Rejected: two optimisers, which every one of those would have to know.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from gi_model.errors import ConfigError, TrainingError
from gi_model.policy import Policy
from gi_train.config import TrainConfig
from gi_train.muon import Float32Muon, multiplies_bf16

BETAS: Final = (0.9, 0.95)
MOMENTUM: Final = 0.95

Groups = list[dict[str, Any]]


class MuonWithAdamW(torch.optim.Optimizer):
    """torch's Muon on groups with `is_muon`, torch's AdamW on the others.

    Muon needs whole matrices: FSDP2's sharded ones gather themselves in every product (right, and slow), but ZeRO cuts
    flat pieces, which `step` refuses with a TrainingError.
    """

    def __init__(self, groups: Groups, *, lr: float) -> None:
        super().__init__(groups, {"lr": lr})
        self._parts: tuple[torch.optim.Optimizer, ...] = ()
        self._connect()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over groups and state, from `load_state_dict` or a copy."""
        super().__setstate__(state)
        self._parts = ()  # they hold the old groups; a wrapper may still be changing the new ones

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move all parameters that have a gradient."""
        _check_matrices(self.param_groups)
        if not self._parts:
            self._connect()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.state = self.state
            part.step()
        return loss

    def _connect(self) -> None:
        """Let torch's optimisers work on this one's groups: the same dictionaries, so that a new `lr` reaches them."""
        muon = [group for group in self.param_groups if group["is_muon"]]
        adamw = [group for group in self.param_groups if not group["is_muon"]]
        device = muon[0]["params"][0].device
        kind = torch.optim.Muon if multiplies_bf16(device) else Float32Muon
        self._parts = (
            kind(muon, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(adamw, betas=BETAS, fused=True),
        )


def build_optimizer(policy: Policy, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser that `config` names, as one object, of what is not frozen; weight decay on matrices only.

    Every group has an `lr_scale`: a schedule sets `group["lr"] = lr * group["lr_scale"]`. Raises ConfigError for Muon
    with ZeRO.
    """
    hidden = set(hidden_matrices(policy)) if config.optimizer == "muon" else set()
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    others = [parameter for parameter in trained if parameter not in hidden]
    groups = [
        _group([parameter for parameter in others if parameter.ndim >= 2], config.weight_decay),
        _group([parameter for parameter in others if parameter.ndim < 2], 0.0),
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr_peak, betas=BETAS, fused=True)
    if config.strategy.startswith("zero"):
        do = "Choose --optimizer adamw, or --strategy ddp or fsdp2."
        raise ConfigError("Muon needs whole matrices; ZeRO cuts them up", got=config.strategy, expected="ddp", do=do)
    matrices = _group([parameter for parameter in trained if parameter in hidden], config.weight_decay)
    return MuonWithAdamW(
        [matrices | {"is_muon": True}, *(group | {"is_muon": False} for group in groups)], lr=config.lr_peak
    )


def hidden_matrices(policy: Policy) -> list[Tensor]:
    """Weights of linear maps between hidden layers: all but the head, whose rows are tokens."""
    linear = [module for module in policy.modules() if isinstance(module, nn.Linear)]
    return [module.weight for module in linear if module is not policy.decoder.head]


def _check_matrices(groups: Groups) -> None:
    """Refuse what a wrapper has cut up since; torch's own word for it names no flag."""
    muon = (parameter for group in groups if group["is_muon"] for parameter in group["params"])
    if flat := [tuple(parameter.shape) for parameter in muon if parameter.ndim != 2]:
        do = "Choose --optimizer adamw with ZeRO, or ddp or fsdp2 with Muon."
        raise TrainingError("Muon was given pieces of matrices", got=flat[0], expected="two dimensions", do=do)


def _group(parameters: list[Tensor], weight_decay: float) -> dict[str, Any]:
    return {"params": parameters, "weight_decay": weight_decay, "lr_scale": 1.0}
