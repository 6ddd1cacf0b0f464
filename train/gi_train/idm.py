"""What makes a pretraining run one of an inverse dynamics model (IDM) instead of a policy.

The same class, loss, and loop: it sees the later frames of its window too, and no past action: it shall read what was
done from what came of it, not guess it from habit (Baker et al. 2022, VPT). Its targets for motion are blurred more:
its evidence is a shift in pixels, coarser than a mouse's counts.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from gi_data.blend import Blend
from gi_data.index import IndexRow
from gi_model.config import PolicyConfig
from gi_model.errors import CorpusError
from gi_train.config import TrainConfig

WINDOW_TICKS: Final = 8  # at most, by default: what is done shows within half a second
SMOOTHING_BINS: Final = 3.0
INTENT: Final = "(perturbed)"  # in a demonstrator's name: labels say what it meant, not what it was made to do
SAMPLE: Final = 500  # clips looked at, spread over the corpora


def as_idm(
    policy: PolicyConfig, train: TrainConfig, *, window_ticks: int | None = None
) -> tuple[PolicyConfig, TrainConfig]:
    """The configs of an IDM of the same size; every tick of a window sees all of it."""
    ticks = window_ticks or min(WINDOW_TICKS, train.window_ticks)
    changes = {"window_ticks": ticks, "lookahead_ticks": ticks - 1, "past_actions": "none"}
    return policy.replace(**changes, motion_smoothing_bins=SMOOTHING_BINS), train.replace(window_ticks=ticks)


def intent_share(data: Blend) -> float:
    """Share of sampled training clips whose labels are intents: no model can read those from what happened.

    Raises CorpusError if none of them has a label at all.
    """
    rows = [row for row in _sample(data) if row.split == "train"]
    if not any(row.known_ratio > 0 for row in rows):
        do = "An IDM learns from labels: choose labelled clips (gi subset CORPUS OUT --where 'known_ratio > 0.5')."
        raise CorpusError("no labelled clip to learn from", got=", ".join(data.names), do=do)
    return sum(INTENT in row.demonstrator for row in rows) / len(rows)


def _sample(data: Blend) -> Iterator[IndexRow]:
    ids = np.unique(np.linspace(0, data.num_clips - 1, min(SAMPLE, data.num_clips)).round().astype(int))
    return (data.row(clip_id) for clip_id in ids.tolist())
