"""Statistics of features in the form of LeRobot's `stats.json`: for a dataset, and for each of its episodes.

min, max, mean, std, count, and five quantiles, along the first axis. A dataset's quantiles are means of its episodes',
weighted by length, as LeRobot has them; all else is exact. Pictures count as numbers in [0, 1], a channel each.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gi_model.frames import Frame

Stats: TypeAlias = dict[str, NDArray[Any]]
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def feature_stats(values: NDArray[Any]) -> Stats:
    """Statistics of values (T,) or (T, N): arrays (1,) or (N,)."""
    table = values.reshape(len(values), -1).astype(np.float64)
    stats = {"min": table.min(axis=0), "max": table.max(axis=0), "mean": table.mean(axis=0), "std": table.std(axis=0)}
    quantiles = np.quantile(table, list(QUANTILES.values()), axis=0)
    return stats | dict(zip(QUANTILES, quantiles, strict=True)) | {"count": np.array([len(table)])}


def picture_stats(frames: Sequence[Frame]) -> Stats:
    """Statistics of frames (H, W, 3): arrays (3, 1, 1)."""
    stats = feature_stats(np.stack(frames).reshape(-1, 3) / 255)
    shaped = {name: value.reshape(3, 1, 1) for name, value in stats.items() if name != "count"}
    return shaped | {"count": np.array([len(frames)])}


def aggregate(parts: Sequence[Stats]) -> Stats:
    """The statistics of several stretches together."""
    counts = np.array([part["count"][0] for part in parts], dtype=np.float64)
    weights = counts / counts.sum()

    def mean(name: str) -> NDArray[np.float64]:
        return np.tensordot(weights, np.stack([part[name] for part in parts]), axes=1).astype(np.float64)

    spread = np.stack([part["std"] ** 2 + (part["mean"] - mean("mean")) ** 2 for part in parts])
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean("mean"),
        "std": np.sqrt(np.tensordot(weights, spread, axes=1)),
        **{name: mean(name) for name in QUANTILES},
        "count": np.array([int(counts.sum())]),
    }
