"""Learning rates as pure functions of the step: a resumed run needs no schedule's state.

`cosine` decays from the first step after the warm-up and must know the run's length. `wsd` (warm-up, stable, decay: Hu
et al. 2024, MiniCPM, section 4) stays at the peak and decays over the last fifth only: a longer run can start from any
step before that, and one run's trunk serves several lengths. It decays by 1 - sqrt, which beat the linear decay in
Hägele et al. 2024, Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations, section 3.
"""

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gi_train.config import TrainConfig

FINAL: Final = 0.01  # of the peak, at the end of either
DECAY: Final = 0.2  # share of a wsd run's steps


def lr_at(config: "TrainConfig", step: int) -> float:
    """Learning rate of optimiser step `step`, from 0: linear warm-up, then `config.schedule`."""
    if step < config.warmup_steps:
        return config.lr_peak * (step + 1) / config.warmup_steps
    share = _wsd(config, step) if config.schedule == "wsd" else _cosine(config, step)
    return config.lr_peak * (FINAL + (1 - FINAL) * share)


def _cosine(config: "TrainConfig", step: int) -> float:
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _wsd(config: "TrainConfig", step: int) -> float:
    num_decay = max(1, min(round(DECAY * config.steps), config.steps - config.warmup_steps))
    progress = (step - (config.steps - num_decay)) / num_decay
    return 1 - math.sqrt(min(1.0, max(0.0, progress)))
