import threading
from collections import Counter

import numpy as np
import pytest

from gi_data.clip_cache import ClipCache
from gi_data.clip_loader import DecodedClip
from gi_model.errors import ClipError

SIZE = 1000


class Loader:
    """Counts loads; clip 13 is damaged."""

    def __init__(self) -> None:
        self.loads: Counter[int] = Counter()

    def load(self, clip_id: int) -> DecodedClip:
        self.loads[clip_id] += 1
        if clip_id == 13:
            raise ClipError("clip 13 is damaged")
        empty = np.zeros((0, 0))
        return DecodedClip(str(clip_id), 0, empty.astype(np.uint8), empty.astype(np.int16), empty.astype(bool))

    def cache(self, num_clips: int) -> ClipCache:
        return ClipCache(self.load, lambda _: SIZE, max_bytes=num_clips * SIZE, num_threads=2)


def test_a_clip_is_loaded_once_while_there_is_room() -> None:
    loader = Loader()
    cache = loader.cache(5)
    for _ in range(10):
        for clip_id in range(5):
            assert cache.get(clip_id).key == str(clip_id)
    assert loader.loads == dict.fromkeys(range(5), 1)


def test_memory_stays_within_the_bound() -> None:
    cache = Loader().cache(4)
    rng = np.random.default_rng(0)
    for clip_id in rng.integers(20, 60, size=500).tolist():
        cache.request(clip_id)
        assert cache.num_bytes <= 4 * SIZE
    cache.close()
    assert cache.num_bytes == 0


def test_the_least_recently_wanted_goes_first() -> None:
    loader = Loader()
    cache = loader.cache(3)
    for clip_id in (0, 1, 2, 0, 3):  # 1 has been wanted least recently when 3 needs room
        cache.get(clip_id)
    for clip_id in (0, 2, 3):
        cache.get(clip_id)
    assert loader.loads == {0: 1, 1: 1, 2: 1, 3: 1}


def test_a_clip_larger_than_the_bound_is_still_served() -> None:
    assert Loader().cache(0).get(1).key == "1"


def test_errors_come_through_every_time() -> None:
    cache = Loader().cache(3)
    for _ in range(2):
        with pytest.raises(ClipError, match="clip 13"):
            cache.get(13)


def test_closing_stops_the_threads() -> None:
    before = threading.active_count()
    cache = Loader().cache(3)
    cache.get(1)
    assert threading.active_count() > before
    cache.close()
    assert threading.active_count() == before
