"""`PosttrainConfig`: one adaptation of a policy to a few demonstrations; its defaults were measured to work."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, get_args

from gi_model.adapters import ShownPast
from gi_model.errors import ConfigError
from gi_train.adapted_modules import GROUPS
from gi_train.config import TrainConfig

Method = Literal["lora", "full", "head"]

# By method: few numbers learn well by AdamW; all weights as gi pretrain does, from wherever they start.
RECIPES: Final[Mapping[Method, Mapping[str, Any]]] = {
    "lora": {"lr_peak": 3e-3},
    "full": {"lr_peak": 4e-3, "optimizer": "muon"},
    "head": {"lr_peak": 3e-3},
}
MODULES: Final = ("stem", "past", "backbone", "decoder", "head")


@dataclass(frozen=True, kw_only=True)
class PosttrainConfig:
    """Settings of a run.

    method: lora keeps the base and trains an adapter; head trains the decoder's head alone, also as an adapter; full
    trains all weights, into a policy of its own.

    rank, alpha: of low-rank updates. modules: the parts of the policy that lora changes. past_actions: whether the
    policy is shown its last action, in training and in play. patience: evaluations without a better one after which
    training ends; 0: never. train: batches, rates, and how often to look.
    """

    method: Method = "lora"
    rank: int = 8
    alpha: float = 8.0
    modules: tuple[str, ...] = MODULES
    past_actions: ShownPast = "hidden"
    patience: int = 0
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=300,
            warmup_steps=25,
            evaluate_every=25,
            evaluate_batches=10,
            save_every=100,
            augment=0.25,
            **RECIPES["lora"],
        )
    )

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ConfigError("unknown method", got=self.method, expected=" | ".join(get_args(Method)))
        if self.past_actions not in get_args(ShownPast):
            expected = " | ".join(get_args(ShownPast))
            raise ConfigError("unknown way with past actions", got=self.past_actions, expected=expected)
        for name, least in (("rank", 1), ("patience", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} out of range", got=getattr(self, name), expected=f"at least {least}")
        if not 0 < self.alpha < float("inf"):
            raise ConfigError("alpha out of range", got=self.alpha, expected="above 0")
        if unknown := [name for name in self.modules if name not in GROUPS]:
            raise ConfigError("unknown part of a policy", got=unknown[0], expected=" | ".join(GROUPS))

    @classmethod
    def of(cls, method: Method) -> Self:
        """The settings of `method`."""
        config = cls(method=method)
        return config.replace(train=config.train.replace(**RECIPES[config.method]))

    @property
    def groups(self) -> tuple[str, ...]:
        """What an adapter of this method changes: nothing that is not used."""
        modules = ("head",) if self.method == "head" else self.modules
        return modules if self.past_actions == "seen" else tuple(name for name in modules if name != "past")

    def replace(self, **changes: Any) -> Self:
        """A copy with `changes`, checked anew."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return dataclasses.asdict(self)
