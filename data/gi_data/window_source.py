"""`WindowSource`: the clip of a window from the cache; where it is damaged, the next clip of the same game.

The replacement depends on the corpus alone, not on when the damage was met, so a resumed reader gives the same windows.
"""

from gi_data.clip_cache import ClipCache
from gi_data.clip_loader import ClipLoader, DecodedClip
from gi_data.order import Place
from gi_data.reader_config import ReaderConfig
from gi_model.errors import ClipError, CorpusError


class WindowSource:
    """Finds clips for windows; counts those that are damaged, up to `config.max_bad_clips`."""

    def __init__(self, loader: ClipLoader, config: ReaderConfig) -> None:
        self.loader, self._config = loader, config
        self.bad_clips: dict[str, str] = {}
        self._bad_ids: set[int] = set()
        max_bytes = config.cache_mb * 10**6
        self._cache = ClipCache(loader.load, loader.size_of, max_bytes=max_bytes, num_threads=config.decode_threads)

    def request(self, place: Place) -> None:
        """Start decoding the clip of a window that will be wanted."""
        if place.clip_id not in self._bad_ids:
            self._cache.request(place.clip_id)

    def get(self, place: Place) -> tuple[Place, DecodedClip]:
        """Wait for the clip of a window, or of its replacement. Raises CorpusError when too many are damaged."""
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
        self._cache.cancel()

    def close(self) -> None:
        """Stop decoding and free the memory."""
        self._cache.close()

    def _count(self, clip_id: int, error: ClipError) -> None:
        self._bad_ids.add(clip_id)
        self.bad_clips[self.loader.corpus.row(clip_id).key] = str(error)
        if len(self._bad_ids) > self._config.max_bad_clips:
            do = "Run gi verify to see them all, and shard the recordings again."
            got, expected = f"{len(self._bad_ids)}; the last: {error}", f"at most {self._config.max_bad_clips}"
            raise CorpusError("too many damaged clips", got=got, expected=expected, do=do) from error

    def _next(self, place: Place) -> Place:
        """A window of the next clip of the same game and split that is long enough, at about the same place."""
        corpus, ticks = self.loader.corpus, self._config.window_ticks
        game_id = corpus.game_ids[place.clip_id]
        candidates = corpus.select(self._config.split)
        candidates = candidates[(corpus.game_ids[candidates] == game_id) & (corpus.num_ticks[candidates] >= ticks)]
        later = candidates[candidates > place.clip_id]
        clip_id = int(later[0] if len(later) else candidates[0])
        return Place(clip_id, place.start % (int(corpus.num_ticks[clip_id]) - ticks + 1))
