"""`TrainConfig`: one pretraining run. Presets pair a policy size with the settings it was tuned with."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, get_args

from gi_model.errors import ConfigError
from gi_train.schedule import lr_at

Strategy = Literal["auto", "ddp", "fsdp2", "zero1", "zero2", "zero3"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a run; batch_size counts windows over all processes, window_ticks the ticks of one."""

    steps: int = 2200
    batch_size: int = 20
    window_ticks: int = 8
    lr_peak: float = 1e-3
    warmup_steps: int = 50
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    seed: int = 0
    encoder_weights: str = ""  # safetensors file of a timm encoder to start from, on this machine; "": at random
    threads: int = 1  # torch's, on a CPU: two on contended cores are slower than one
    precision: Literal["no", "bf16"] = "no"
    strategy: Strategy = "auto"  # how processes share a model; auto: what accelerate was launched with, else ddp
    offload: bool = False  # optimiser state (and, fully sharded, weights) in host memory
    accumulation: int = 1  # parts of a batch that are computed one after another, to fit into memory
    activation_checkpointing: bool = False  # compute activations again in the backward pass instead of keeping them
    compile: bool = False
    optimizer: Literal["adamw", "muon"] = "adamw"
    schedule: Literal["cosine", "wsd"] = "cosine"
    augment: float = 0.0  # strength of colour, noise, and shift, 0 to 1
    temperature: float = math.inf  # games and corpora share windows by hours^(1 / temperature); inf: alike
    block_mb: int = 384  # decoded clips that are shuffled together, over all processes
    cache_mb: int = 2048  # decoded clips kept by the reader of each process
    decode_threads: int = 2
    log_every: int = 20
    evaluate_every: int = 500
    evaluate_batches: int = 20
    save_every: int = 500
    keep: int = 2  # newest step checkpoints
    log_windows: bool = False  # write down which windows each rank consumed in which step

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "window_ticks",
            "threads",
            "accumulation",
            "log_every",
            "evaluate_every",
            "save_every",
            "keep",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"training: {name} out of range", got=getattr(self, name), expected="at least 1")
        choices = {"precision": ("no", "bf16"), "strategy": get_args(Strategy), "optimizer": ("adamw", "muon")}
        for name, allowed in (choices | {"schedule": ("cosine", "wsd")}).items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"training: unknown {name}", got=getattr(self, name), expected=" | ".join(allowed))
        if self.batch_size % self.accumulation:
            expected, do = f"a multiple of {self.accumulation}", "Change --batch-size or accumulation."
            raise ConfigError(
                "training: batch_size cannot be accumulated", got=self.batch_size, expected=expected, do=do
            )
        if not 0 <= self.augment <= 1:
            raise ConfigError("training: augment out of range", got=self.augment, expected="0 to 1")
        if not 0 < self.lr_peak < 1:
            raise ConfigError("training: lr_peak out of range", got=self.lr_peak, expected="between 0 and 1")

    def replace(self, **changes: Any) -> Self:
        """A copy with `changes`, checked anew."""
        return dataclasses.replace(self, **changes)

    def lr_at(self, step: int) -> float:
        """Learning rate of optimiser step `step` (from 0)."""
        return lr_at(self, step)


_LONG: Final[dict[str, Any]] = {"window_ticks": 200, "precision": "bf16", "compile": True, "save_every": 1000}

PRESETS: Final[Mapping[str, TrainConfig]] = {
    # gi pretrain --preset debug: seconds on a CPU; learns nothing, exercises everything.
    "debug": TrainConfig(
        steps=40, batch_size=4, window_ticks=6, log_every=5, evaluate_every=20, evaluate_batches=2, save_every=20
    ),
    # gi pretrain --preset tiny, on the corpus of `make demo`: 1,700 steps on one of two Xeon cores, the other playing
    # baselines; figures in LOG.md. Muon needs .41 of AdamW's CPU time to one held-out loss (`gi bench optimizer`).
    "tiny": TrainConfig(steps=1700, lr_peak=4e-3, optimizer="muon"),
    # Windows as long as the model's own: a distance between ticks that was never trained must not come up in play. No
    # size from here on was trained yet; rates are those usual at these widths, batches thousands of frames.
    # gi pretrain --preset small: one GPU; 16 windows of ten seconds, 3,200 frames a step.
    "small": TrainConfig(steps=20_000, batch_size=16, lr_peak=6e-4, warmup_steps=500, optimizer="muon", **_LONG),
    # gi pretrain --preset base: one H100 or a few.
    "base": TrainConfig(steps=100_000, batch_size=64, lr_peak=3e-4, warmup_steps=1000, optimizer="muon", **_LONG),
    # torchrun ... gi pretrain --preset large: eight H100. AdamW: Muon gathers every matrix that FSDP2 has cut.
    "large": TrainConfig(
        steps=200_000,
        batch_size=256,
        lr_peak=2e-4,
        warmup_steps=2000,
        strategy="fsdp2",
        activation_checkpointing=True,
        **_LONG,
    ),
    # The same over several nodes.
    "xl": TrainConfig(
        steps=300_000,
        batch_size=512,
        lr_peak=1.5e-4,
        warmup_steps=3000,
        strategy="fsdp2",
        activation_checkpointing=True,
        **_LONG,
    ),
}
