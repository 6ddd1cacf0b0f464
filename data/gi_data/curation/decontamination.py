"""`decontaminate`: play that is also in what models are judged by, on whatever shift of time, leaves the corpus."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gi_data.curation.duplicates import cover
from gi_data.curation.material import DENSE, HASH_TICKS, Material, samples_of, seconds_above_zero
from gi_data.curation.near_duplicates import match
from gi_data.curation.ticks import Mask, Ticks, fill
from gi_model.errors import ConfigError


@dataclass(frozen=True)
class Decontaminate:
    """Play that is in one of the corpora `against`, by `matches` pictures that differ in at most `distance` bits.

    margin_s: what goes around a copy, too.
    """

    against: tuple[str, ...] = ()
    distance: int = 8
    matches: int = 8
    margin_s: float = 1.0

    def __post_init__(self) -> None:
        seconds_above_zero(self.matches)
        if not 0 <= self.distance <= 16:
            raise ConfigError("distance is out of range", got=self.distance, expected="0 to 16 bits of 64")
        if not self.against:
            do = "Name corpora: against = ['eval']; or leave the filter out."
            raise ConfigError("decontaminate needs something to compare with", do=do)


def decontaminate(material: Material, keep: Mask, options: Decontaminate) -> Mask:
    """Ticks that are in a corpus of `against`."""
    ticks = material.ticks
    drop = np.zeros(len(ticks), dtype=bool)
    for name in options.against:
        copied = _copied(ticks, material.load(name), options)
        material.notes.setdefault("decontaminate", {})[name] = {"hours": ticks.hours(copied & keep)}
        drop |= copied
    return drop


def _copied(ticks: Ticks, other: Ticks, options: Decontaminate) -> Mask:
    samples, place = samples_of(ticks, HASH_TICKS, {})
    others, _ = samples_of(other, DENSE, {})
    others.recording[:] = -1  # a recording of the same name is no exception here
    found = match(samples, others, max_distance=options.distance, min_matches=options.matches)
    margin = ticks.at_least(options.margin_s)
    copied = cover(ticks, place[found.left], found.group, HASH_TICKS)
    same = pc.is_in(ticks.clips["video_sha256"], other.clips["video_sha256"].combine_chunks())
    copied |= np.asarray(pa.chunked_array(same).to_numpy(), dtype=bool)[ticks.clip]
    around = np.flatnonzero(copied)
    bounds = (
        np.searchsorted(ticks.chain, ticks.chain[around], side="left"),
        np.searchsorted(ticks.chain, ticks.chain[around], side="right"),
    )
    return fill(
        len(ticks), np.maximum(bounds[0], around - margin[around]), np.minimum(bounds[1], around + 1 + margin[around])
    )
