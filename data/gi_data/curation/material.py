"""`Material`: what filters work on, and what they find out beside the ticks to leave out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from gi_data.curation.near_duplicates import Samples
from gi_data.curation.ticks import Ids, Ticks, hash_samples
from gi_model.errors import ConfigError

HASH_TICKS = 10  # one picture in so many is hashed
DENSE = 1  # of what must not leak into training, every picture: no shift of time hides a copy


@dataclass(eq=False)
class Material:
    """A corpus under curation. load: the signals of another corpus, all its pictures hashed."""

    ticks: Ticks
    load: Callable[[str], Ticks]
    duplicate_group: Ids = field(init=False)  # (M,) set by `near_duplicate`
    notes: dict[str, Any] = field(default_factory=dict)  # for the report, by filter

    def __post_init__(self) -> None:
        self.duplicate_group = np.full(len(self.clips), -1, dtype=np.int64)

    @property
    def clips(self) -> pa.Table:
        """Index rows of the stored clips."""
        return self.ticks.clips

    @property
    def games(self) -> Ids:
        """(M,) number of each clip's game."""
        return np.unique(self.clips["game"].to_pylist(), return_inverse=True)[1]


def samples_of(ticks: Ticks, hash_ticks: int, recordings: dict[str, int]) -> tuple[Samples, Ids]:
    """Hashed pictures of a corpus, and the tick of each. recordings: numbers the ids, and learns new ones."""
    hashes, place = hash_samples(ticks, hash_ticks)
    clip = ticks.clip[place]
    chain = ticks.chain_of[clip]
    numbers = [recordings.setdefault(name, len(recordings)) for name in ticks.clips["recording_id"].to_pylist()]
    starts = np.full(int(ticks.chain_of.max(initial=-1)) + 1, len(ticks), dtype=np.int64)
    np.minimum.at(starts, ticks.chain_of, ticks.first[:-1])
    time_s = (place - starts[chain]) / ticks.fps[clip]
    return Samples(hashes, chain, np.array(numbers, dtype=np.int64)[clip], time_s), place


def seconds_above_zero(value: float) -> None:
    """Raise ConfigError unless `value` is above 0."""
    if not value > 0:
        raise ConfigError("a filter's limit is out of range", got=value, expected="above 0")


def share(name: str, value: float) -> None:
    """Raise ConfigError unless `value` is in [0, 1]."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} is out of range", got=value, expected="0 to 1")
