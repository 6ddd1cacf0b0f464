"""`choose_recordings`: which recordings of a corpus keep their labels when most of it is to be unlabelled video."""

from collections import defaultdict

from gi_data.corpus import Corpus
from gi_data.storage import digest
from gi_model.errors import ConfigError


def choose_recordings(corpus: Corpus, share: float) -> frozenset[str]:
    """Training recordings of about `share` of each game's ticks, at least one of each; the same for the same corpus."""
    if not 0 < share <= 1:
        raise ConfigError("share of labels out of range", got=share, expected="above 0, at most 1")
    ticks: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for clip_id in corpus.select("train").tolist():
        row = corpus.row(clip_id)
        ticks[row.game][row.recording_id] += row.num_ticks
    chosen: set[str] = set()
    for recordings in ticks.values():
        total, taken = sum(recordings.values()), 0
        for name in sorted(recordings, key=lambda name: digest(name.encode())):
            if taken and taken + recordings[name] / 2 > share * total:
                break
            chosen.add(name)
            taken += recordings[name]
    return frozenset(chosen)
