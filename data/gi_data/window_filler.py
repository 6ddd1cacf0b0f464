"""`WindowFiller`: fills batches with the frames of their windows; each frame is copied once, from decoder to batch.

A batch is planned long before its turn: its memory is there, its rows wait for their clips. When a clip is decoded,
each frame goes straight into every row that waits for it, still warm: keeping decoded clips and cutting windows from
them later costs a second way through memory, a tenth of the decode. Only where all clips together fit into
`cache_mb` are they decoded once for ever, and rows copied from them.

A damaged clip is replaced by the next one of the same game and corpus. The replacement depends on the corpus alone, not
on when the damage was met, so a resumed reader gives the same windows.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gi_data.blend import Blend
from gi_data.buffers import BufferPool
from gi_data.clip_loader import ClipLoader, DecodedClip, Target
from gi_data.order import Place
from gi_data.reader_config import ReaderConfig
from gi_model.errors import ClipError, CorpusError


@dataclass(slots=True, eq=False)
class Row:
    """One window of a planned batch: where its frames belong, and the decode that brings them once it was started."""

    place: Place
    frames: NDArray[np.uint8]  # (T, ...)
    clip: Future[DecodedClip] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PlannedBatch:
    """Frames uint8 (B, T, ...) and what belongs into them; None: padding."""

    frames: NDArray[np.uint8]
    rows: tuple[Row | None, ...]


class LoadMeter:
    """Loads clips and counts it. Apart from WindowFiller, which threads at work must not keep alive."""

    def __init__(self, loader: ClipLoader) -> None:
        self.num_frames, self.load_s = 0, 0.0
        self._loader, self._lock = loader, threading.Lock()

    def load(self, clip_id: int, targets: Sequence[Target] | None) -> DecodedClip:
        """`ClipLoader.load_into` targets; None: `ClipLoader.load`."""
        started = time.perf_counter()
        clip = self._loader.load(clip_id) if targets is None else self._loader.load_into(clip_id, targets)
        with self._lock:
            self.num_frames += clip.num_decoded
            self.load_s += time.perf_counter() - started
        return clip


class WindowFiller:
    """Plans, starts, and finishes batches, each in this order; counts damaged clips, up to `config.max_bad_clips`."""

    def __init__(self, loader: ClipLoader, blend: Blend, config: ReaderConfig) -> None:
        self.loader, self._blend, self._config = loader, blend, config
        self.num_windows = np.zeros(len(blend.corpora), dtype=np.int64)  # handed on, of each corpus
        self.num_decodes = 0
        self.meter = LoadMeter(loader)
        self.bad_clips: dict[str, str] = {}
        self._bad_ids: set[int] = set()
        self._threads = ThreadPoolExecutor(config.decode_threads, thread_name_prefix="decode")
        self._buffers = BufferPool(max_free=self.num_ahead * config.world_size // config.batch_size)
        self._waiting: defaultdict[int, list[Row]] = defaultdict(list)  # by clip
        self._decoding: dict[int, Future[DecodedClip]] = {}  # the last decode of each clip
        fits = sum(map(loader.size_of, blend.select(config.split).tolist())) <= config.cache_mb * 10**6
        self._kept: dict[int, Future[DecodedClip]] | None = {} if fits else None

    @property
    def num_ahead(self) -> int:
        """How many windows may be planned at a time within `cache_mb`."""
        num_bytes = self._config.window_ticks * int(np.prod(self.loader.frame_shape))
        return self._config.cache_mb * 10**6 // num_bytes

    # ------------------------------------------------------------------ one batch

    def plan(self, places: Sequence[Place | None]) -> PlannedBatch:
        """Set memory aside for a batch and let its rows wait."""
        frames = self._buffers.take((len(places), self._config.window_ticks, *self.loader.frame_shape))
        rows = tuple(place and Row(place, frames[index]) for index, place in enumerate(places))
        for row in filter(None, rows):
            self._waiting[row.place.clip_id].append(row)
        return PlannedBatch(frames, rows)

    def start(self, batch: PlannedBatch) -> None:
        """Start decoding the clips of a batch, for all rows of all batches that wait for them."""
        for row in filter(None, batch.rows):
            if row.clip is None and row.place.clip_id not in self._bad_ids:
                self._decode(row.place.clip_id, self._waiting.pop(row.place.clip_id))

    def finish(self, batch: PlannedBatch) -> Iterator[tuple[Place, DecodedClip] | None]:
        """Wait for each row: the window that is in it, and its clip; None: padding, zeros.

        Raises CorpusError if too many clips are damaged.
        """
        for index, row in enumerate(batch.rows):
            if row is None:
                batch.frames[index] = 0
                yield None
            else:
                self.num_windows[self._blend.corpus_ids[row.place.clip_id]] += 1
                yield self._fill(row)

    def cancel(self) -> None:
        """Forget what was planned and not finished."""
        self._waiting.clear()
        for clip_id, clip in self._decoding.items():
            if clip.cancel() and self._kept is not None:
                del self._kept[clip_id]
        self._decoding.clear()

    def close(self) -> None:
        """Stop decoding and free the memory."""
        self._threads.shutdown(cancel_futures=True)
        for clips in (self._waiting, self._decoding, self._kept or {}):
            clips.clear()

    # ------------------------------------------------------------------ clips

    def _decode(self, clip_id: int, rows: Sequence[Row]) -> None:
        """Let a clip be decoded into rows, or find it among those that are kept."""
        if self._kept is None:
            clip = self._submit(clip_id, [(row.place.start, row.frames) for row in rows])
        else:
            clip = self._kept[clip_id] = self._kept.get(clip_id) or self._submit(clip_id, None)
        for row in rows:
            row.clip = clip

    def _submit(self, clip_id: int, targets: Sequence[Target] | None) -> Future[DecodedClip]:
        self.num_decodes += 1
        clip = self._decoding[clip_id] = self._threads.submit(self.meter.load, clip_id, targets)
        return clip

    def _fill(self, row: Row) -> tuple[Place, DecodedClip]:
        """Wait for a row, or put another window into it as often as its clip is damaged."""
        first = row.place.clip_id
        while True:
            if row.clip is not None and row.place.clip_id not in self._bad_ids:
                try:
                    return row.place, _wait(row.clip, row)
                except ClipError as error:
                    self._count(row.place.clip_id, error)
            row.place, row.clip = self._next(row.place), None
            if row.place.clip_id == first:
                raise CorpusError("every clip of a game is damaged", got=list(self.bad_clips)[:4], do="Run gi verify.")
            if row.place.clip_id not in self._bad_ids:
                self._decode(row.place.clip_id, [row])

    def _count(self, clip_id: int, error: ClipError) -> None:
        self._bad_ids.add(clip_id)
        self.bad_clips[self._blend.row(clip_id).key] = str(error)
        if len(self._bad_ids) > self._config.max_bad_clips:
            do = "Run gi verify to see them all, and shard the recordings again."
            got, expected = f"{len(self._bad_ids)}; the last: {error}", f"at most {self._config.max_bad_clips}"
            raise CorpusError("too many damaged clips", got=got, expected=expected, do=do) from error

    def _next(self, place: Place) -> Place:
        """A window of the next long enough clip of the same game, corpus, and split, at about the same place."""
        blend, ticks = self._blend, self._config.window_ticks
        candidates = blend.select(self._config.split)
        candidates = candidates[blend.num_ticks[candidates] >= ticks]
        for ids in (blend.game_ids, blend.corpus_ids):
            candidates = candidates[ids[candidates] == ids[place.clip_id]]
        later = candidates[candidates > place.clip_id]
        clip_id = int(later[0] if len(later) else candidates[0])
        return Place(clip_id, place.start % (int(blend.num_ticks[clip_id]) - ticks + 1))


def _wait(clip: Future[DecodedClip], row: Row) -> DecodedClip:
    """Wait until the frames of a row are there; copy them if the clip is one that is kept."""
    decoded = clip.result()
    if decoded.frames is not None:
        start = row.place.start
        row.frames[:] = decoded.frames[start : start + len(row.frames)]
    return decoded
