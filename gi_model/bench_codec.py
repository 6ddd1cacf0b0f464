"""How much mouse motion survives its tokens: ours beside the quantisers that others use, on heavy-tailed motion.

Relative L1 = sum |decoded - true| / sum |true|: what share of all hand movement a codec loses. Ratio = decoded over
true path length. Motion is drawn like play: many single counts, a few flicks of hundreds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gi_model.actions.motion import MAX_COUNTS, MOTION

Motion = NDArray[np.float64]
Quantiser = Callable[[Motion], Motion]

NUM_DRAWS: Final = 400_000
VPT_LIMIT_COUNTS: Final = 10 * 2400 / 360  # VPT clips at 10 degrees, 2400 counts a turn
VPT_MU: Final = 10.0


@dataclass(frozen=True)
class CodecScore:
    """One quantiser on one distribution; numbers without unit."""

    motion: str
    codec: str
    relative_l1: float
    ratio: float
    r2: float


def run(seed: int = 0) -> list[CodecScore]:
    """Score every quantiser on every distribution."""
    rng = np.random.default_rng(seed)
    scores = []
    for motion_name, draws in _distributions(rng).items():
        for codec_name, quantise in _quantisers().items():
            scores.append(_score(motion_name, codec_name, draws, quantise(draws)))
    return scores


def _distributions(rng: np.random.Generator) -> Mapping[str, Motion]:
    raw = {
        "student t(2) x 8": rng.standard_t(2.0, NUM_DRAWS) * 8,
        "laplace 30": rng.laplace(0.0, 30.0, NUM_DRAWS),
        "student t(1.5) x 30, flicks": rng.standard_t(1.5, NUM_DRAWS) * 30,
    }
    return {name: np.rint(draws).clip(-MAX_COUNTS, MAX_COUNTS) for name, draws in raw.items()}


def _quantisers() -> Mapping[str, Quantiser]:
    log_values = np.geomspace(1.0, 1000.0, 11)
    return {
        "gi-model": lambda motion: MOTION.decode(MOTION.encode(motion.astype(np.int64))).astype(np.float64),
        "uniform, 23 bins": lambda motion: _nearest(motion, np.linspace(-MAX_COUNTS, MAX_COUNTS, 23)),
        "mu-law, 11 bins (VPT)": _mu_law,
        "log, 23 bins": lambda motion: _nearest(motion, np.concatenate([-log_values[::-1], [0.0], log_values])),
    }


def _mu_law(motion: Motion) -> Motion:
    """Companding of Baker et al., Video PreTraining, appendix A.4: mu = 10, 11 bins over +-10 degrees."""
    share = motion.clip(-VPT_LIMIT_COUNTS, VPT_LIMIT_COUNTS) / VPT_LIMIT_COUNTS
    pressed = np.sign(share) * np.log1p(VPT_MU * np.abs(share)) / np.log1p(VPT_MU)
    pressed = np.rint(pressed * 5) / 5
    expanded: Motion = np.sign(pressed) * np.expm1(np.abs(pressed) * np.log1p(VPT_MU)) / VPT_MU * VPT_LIMIT_COUNTS
    return expanded


def _nearest(motion: Motion, values: Motion) -> Motion:
    middles = (values[1:] + values[:-1]) / 2
    found: Motion = values[np.searchsorted(middles, motion)]
    return found


def _score(motion_name: str, codec_name: str, true: Motion, decoded: Motion) -> CodecScore:
    error = np.abs(decoded - true)
    return CodecScore(
        motion=motion_name,
        codec=codec_name,
        relative_l1=float(error.sum() / np.abs(true).sum()),
        ratio=float(np.abs(decoded).sum() / np.abs(true).sum()),
        r2=float(1 - (error**2).sum() / ((true - true.mean()) ** 2).sum()),
    )
