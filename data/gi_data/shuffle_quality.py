"""How well batches are mixed: games and recordings inside a batch against the whole that the batch stands for.

A batch drawn at random is not a perfect miniature either, so the measure stands beside that of batches drawn
independently: equal figures mean that nothing is gained by shuffling more. Only the order is read, no clip is decoded.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gi_data.deal import Ids
from gi_data.reader import Reader

_NUM_RANDOM = 512  # batches drawn independently, for comparison


@dataclass(frozen=True, slots=True)
class ShuffleQuality:
    """Mean total-variation distance (0: a perfect miniature, 1: nothing in common) of a batch from the whole."""

    distance: float
    distance_at_random: float

    @property
    def ratio(self) -> float:
        """1: as good as drawing at random; below: better; far above: batches are one-sided."""
        return self.distance / self.distance_at_random if self.distance_at_random else 1.0


def shuffle_quality(labels: Ids, shares: NDArray[np.float64], *, seed: int = 0) -> ShuffleQuality:
    """Compare batches with a whole. labels int64 (N, B), each below L; shares float64 (L,), summing to 1."""
    num_batches, size = labels.shape
    counts = np.zeros((num_batches, len(shares)), dtype=np.int64)
    np.add.at(counts, (np.arange(num_batches)[:, None], labels), 1)
    at_random = np.random.default_rng(seed).multinomial(size, shares, size=_NUM_RANDOM)
    return ShuffleQuality(_distance(counts / size, shares), _distance(at_random / size, shares))


def measure(reader: Reader, *, num_batches: int) -> dict[str, ShuffleQuality]:
    """Mixing of "games" and "recordings" in the next global batches of `reader`."""
    size = reader.config.batch_size
    clips = np.array([place.clip_id for place in reader.places(num_batches * size)]).reshape(num_batches, size)
    wanted = _clip_shares(reader)
    kinds = {"games": reader.corpus.game_ids, "recordings": reader.corpus.recording_ids}
    return {kind: shuffle_quality(ids[clips], _sum_by(ids, wanted)) for kind, ids in kinds.items()}


def _clip_shares(reader: Reader) -> NDArray[np.float64]:
    """float64 (num_clips,): share of the ticks of all windows that each clip is meant to have."""
    ticks = np.where(reader.corpus.num_ticks >= reader.config.window_ticks, reader.corpus.num_ticks, 0)
    shares = np.zeros(reader.corpus.num_clips)
    for stream in reader.streams:
        shares[stream.clip_ids] = stream.share * ticks[stream.clip_ids] / ticks[stream.clip_ids].sum()
    return shares


def _sum_by(ids: Ids, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(ids, weights=values).astype(np.float64)


def _distance(counts: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    return float(np.abs(counts - shares).sum(axis=1).mean() / 2)
