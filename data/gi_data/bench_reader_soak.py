"""Memory over many windows, and whether batches are a fair mixture: what a short run cannot show.

The corpus does not fit into the cache here, so clips come and go all the while, as they do in a run of weeks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from gi_data.bench_reader_meter import resident_mb
from gi_data.corpus import Corpus
from gi_data.reader import Reader, ReaderConfig

NUM_SAMPLES = 20


@dataclass(frozen=True)
class Soak:
    """resident_mb: memory after each twentieth of the windows, the first of them after warm-up."""

    windows: int
    resident_mb: tuple[float, ...]

    @property
    def growth_mb(self) -> float:
        """Median of the last quarter over that of the second one: the first still fills the caches."""
        quarter = max(1, len(self.resident_mb) // 4)
        early = self.resident_mb[quarter : 2 * quarter] or self.resident_mb[:1]
        return float(np.median(self.resident_mb[-quarter:]) - np.median(early))


def soak(corpus: Corpus, config: ReaderConfig, num_windows: int, advance: Callable[[], object] = lambda: None) -> Soak:
    """Read `num_windows` windows for training with a cache of a third of the corpus; `advance` is called 20 times."""
    num_bytes = int(corpus.num_ticks.sum()) * config.height * config.width * 3 // 2
    cache_mb = max(2, num_bytes // 3 // 10**6)
    config = replace(config, cache_mb=cache_mb, block_mb=cache_mb // 2)
    num_batches = max(NUM_SAMPLES, num_windows // config.batch_size)
    seen = []
    with Reader(corpus, config) as reader:
        batches = iter(reader)
        for step in range(NUM_SAMPLES):
            share = num_batches * (step + 1) // NUM_SAMPLES - num_batches * step // NUM_SAMPLES
            for _ in islice(batches, share):
                pass
            seen.append(resident_mb())
            advance()
    return Soak(num_batches * config.batch_size, tuple(seen))
