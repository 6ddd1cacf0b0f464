"""`near_duplicate`: play that is in the corpus more than once: re-encoded, brightened, or cropped a little.

Only the repeated stretch goes, the first copy stays. Clips that share one form a group, and the recordings of a group
must be on one side of the split.
"""

from dataclasses import dataclass

import numpy as np

from gi_data.curation.material import HASH_TICKS, Material, samples_of, seconds_above_zero
from gi_data.curation.near_duplicates import GAP, connected, match
from gi_data.curation.ticks import Ids, Mask, Ticks, fill
from gi_model.errors import ConfigError


@dataclass(frozen=True)
class NearDuplicate:
    """Play that came before, by `matches` pictures that differ in at most `distance` bits of 64.

    remove = false: copies stay, but are marked, and kept on one side of the split.
    """

    distance: int = 8
    matches: int = 10
    remove: bool = True

    def __post_init__(self) -> None:
        seconds_above_zero(self.matches)
        if not 0 <= self.distance <= 16:
            raise ConfigError("distance is out of range", got=self.distance, expected="0 to 16 bits of 64")


def near_duplicate(material: Material, _: Mask, options: NearDuplicate) -> Mask:
    """Ticks of later copies; sets the material's groups."""
    ticks = material.ticks
    samples, place = samples_of(ticks, HASH_TICKS, {})
    found = match(samples, None, max_distance=options.distance, min_matches=options.matches)
    first, copy = _same_files(ticks)
    left = np.concatenate([ticks.clip[place[found.left]], first])
    right = np.concatenate([ticks.clip[place[found.right]], copy])
    material.duplicate_group[:] = connected(len(ticks.clips), left, right)
    material.notes["near_duplicate"] = {"groups": int(material.duplicate_group.max(initial=-1)) + 1}
    if not options.remove:
        return np.zeros(len(ticks), dtype=bool)
    drop = cover(ticks, place[found.right], found.group, HASH_TICKS)
    return drop | fill(len(ticks), ticks.first[copy], ticks.first[copy + 1])


def cover(ticks: Ticks, places: Ids, group: Ids, period: int) -> Mask:
    """Ticks of matching pictures, and of short gaps between those of one group. places: (K,) ticks; group: (K,)."""
    order = np.lexsort([places, group])
    places, group = places[order], group[order]
    chain_end = np.searchsorted(ticks.chain, ticks.chain[places], side="right") if len(places) else places
    ends = np.minimum(places + period, chain_end)
    near = (np.diff(group) == 0) & (np.diff(places) <= GAP * period)
    ends[:-1] = np.where(near, np.maximum(ends[:-1], places[1:]), ends[:-1])
    return fill(len(ticks), places, ends)


def _same_files(ticks: Ticks) -> tuple[Ids, Ids]:
    """Clips whose video is byte for byte that of an earlier one, and the earlier ones: no picture needs to tell."""
    codes = ticks.clips["video_sha256"].combine_chunks().dictionary_encode().indices.to_numpy()
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[inverse] < np.arange(len(codes)))
    return first[inverse][copies], copies
