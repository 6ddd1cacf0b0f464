"""`WindowSource`: the clip of a window from the cache; where it is damaged, the next clip of the same game and corpus.

The replacement depends on the corpus alone, not on when the damage was met, so a resumed reader gives the same windows.
"""

import threading
import time
from collections import Counter

import numpy as np

from gi_data.blend import Blend
from gi_data.clip_cache import ClipCache
from gi_data.clip_loader import ClipLoader, DecodedClip
from gi_data.order import Place
from gi_data.reader_config import ReaderConfig
from gi_model.errors import ClipError, CorpusError

_AHEAD = 0.75  # share of the cache for clips that windows wait for; the rest is for those just read


class LoadMeter:
    """Loads clips and counts it. Apart from WindowSource, which threads at work must not keep alive."""

    def __init__(self, loader: ClipLoader) -> None:
        self.num_frames, self.load_s = 0, 0.0
        self._loader, self._lock = loader, threading.Lock()

    def load(self, clip_id: int) -> DecodedClip:
        """`ClipLoader.load`."""
        started = time.perf_counter()
        clip = self._loader.load(clip_id)
        with self._lock:
            self.num_frames += len(clip.known)
            self.load_s += time.perf_counter() - started
        return clip


class WindowSource:
    """Finds clips for windows; counts those that are damaged, up to `config.max_bad_clips`."""

    def __init__(self, loader: ClipLoader, blend: Blend, config: ReaderConfig) -> None:
        self.loader, self._blend, self._config = loader, blend, config
        self.num_windows = np.zeros(len(self._blend.corpora), dtype=np.int64)  # handed on, of each corpus
        self.meter = LoadMeter(loader)
        self._wanted: Counter[int] = Counter()
        self._wanted_bytes = 0
        self.bad_clips: dict[str, str] = {}
        self._bad_ids: set[int] = set()
        self._max_bytes = config.cache_mb * 10**6
        size_of, num_threads = loader.size_of, config.decode_threads
        self._cache = ClipCache(self.meter.load, size_of, max_bytes=self._max_bytes, num_threads=num_threads)

    @property
    def num_decodes(self) -> int:
        """Clips whose decoding was started."""
        return self._cache.num_loads

    @property
    def has_room(self) -> bool:
        """Whether more windows can be requested without driving out clips that others are waiting for."""
        return self._wanted_bytes <= _AHEAD * self._max_bytes

    def request(self, place: Place) -> None:
        """Start decoding the clip of a window that will be wanted."""
        if not self._wanted[place.clip_id]:
            self._wanted_bytes += self.loader.size_of(place.clip_id)
        self._wanted[place.clip_id] += 1
        if place.clip_id not in self._bad_ids:
            self._cache.request(place.clip_id)

    def get(self, place: Place) -> tuple[Place, DecodedClip]:
        """Wait for the clip of a requested window, or its replacement. Raises CorpusError if too many are damaged."""
        self._forget(place.clip_id)
        self.num_windows[self._blend.corpus_ids[place.clip_id]] += 1
        first = place.clip_id
        while True:
            if place.clip_id not in self._bad_ids:
                try:
                    return place, self._cache.get(place.clip_id)
                except ClipError as error:
                    self._count(place.clip_id, error)
            place = self._next(place)
            if place.clip_id == first:
                raise CorpusError("every clip of a game is damaged", got=list(self.bad_clips)[:4], do="Run gi verify.")

    def cancel(self) -> None:
        """Forget what is requested but not decoded."""
        self._wanted.clear()
        self._wanted_bytes = 0
        self._cache.cancel()

    def close(self) -> None:
        """Stop decoding and free the memory."""
        self._cache.close()

    def _forget(self, clip_id: int) -> None:
        """One window less is waiting for this clip."""
        self._wanted[clip_id] -= 1
        if self._wanted[clip_id] <= 0:
            self._wanted_bytes -= self.loader.size_of(clip_id)
            del self._wanted[clip_id]

    def _count(self, clip_id: int, error: ClipError) -> None:
        self._bad_ids.add(clip_id)
        self.bad_clips[self._blend.row(clip_id).key] = str(error)
        if len(self._bad_ids) > self._config.max_bad_clips:
            do = "Run gi verify to see them all, and shard the recordings again."
            got, expected = f"{len(self._bad_ids)}; the last: {error}", f"at most {self._config.max_bad_clips}"
            raise CorpusError("too many damaged clips", got=got, expected=expected, do=do) from error

    def _next(self, place: Place) -> Place:
        """A window of the next long enough clip of the same game, corpus, and split, at about the same place."""
        corpus, ticks = self._blend, self._config.window_ticks
        candidates = corpus.select(self._config.split)
        candidates = candidates[corpus.num_ticks[candidates] >= ticks]
        for ids in (corpus.game_ids, corpus.corpus_ids):
            candidates = candidates[ids[candidates] == ids[place.clip_id]]
        later = candidates[candidates > place.clip_id]
        clip_id = int(later[0] if len(later) else candidates[0])
        return Place(clip_id, place.start % (int(corpus.num_ticks[clip_id]) - ticks + 1))
