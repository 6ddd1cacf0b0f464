"""`Reader`: batches of windows from a corpus: shuffled, balanced over games, resumable to the window.

    order (pure function of seed and position) -> planned batches (prefetch thread) <- decoded clips (decode threads)

Its state is one number: how many windows all ranks together have consumed; prefetched ones do not count. Rank r of w
takes every w-th window of each global batch, so the windows to come do not depend on the number of ranks. No worker
processes: they lose a third to a half of their work to copying batches, and PyAV lets go of the GIL.
"""

import itertools
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch

from gi_data.blend import Blend, Stream
from gi_data.clip_loader import ClipLoader, decode_clip
from gi_data.corpus import Corpus
from gi_data.order import OrderConfig, Place, WindowOrder
from gi_data.prefetch import Prefetch
from gi_data.reader_config import TRAIN, ReaderConfig
from gi_data.reader_stats import ReaderStats
from gi_data.window_filler import PlannedBatch, WindowFiller
from gi_model.actions import NEUTRAL, ActionSpace
from gi_model.batch import PADDING, Batch, Window
from gi_model.errors import CorpusError

__all__ = ["Reader", "ReaderConfig", "decode_clip"]


class Reader:
    """Iterates over this rank's batches. Raises CorpusError where the corpus has no window to read.

    Frames are planes (`gi_model.planes`) where every clip is stored at the model's size, else RGB.

    `wait_s`: seconds that iteration has waited for data.
    """

    def __init__(
        self, corpus: Corpus | Blend, config: ReaderConfig, *, action_space: ActionSpace | None = None
    ) -> None:
        self.corpus = corpus if isinstance(corpus, Blend) else Blend([corpus])
        self.config = config
        self.action_space = action_space or ActionSpace()
        self.wait_s = 0.0
        self._is_endless = config.split == TRAIN
        streams = _streams(self.corpus, config)
        self._order = _make_order(self.corpus, config, streams)
        self.streams = [
            replace(streams[stream_id], share=share)
            for stream_id, share in zip(self._order.stream_ids, self._order.shares, strict=True)
        ]
        size = {"height": config.height, "width": config.width}
        is_planes, num_commands = self.corpus.is_stored_at(**size), config.num_commands
        loader = ClipLoader(self.corpus, self.action_space, **size, is_planes=is_planes, num_commands=num_commands)
        self._windows = WindowFiller(loader, self.corpus, config)
        self._neutral = self.action_space.encode(NEUTRAL)
        self._position = 0
        self._prefetch: Prefetch[Batch] | None = None

    @property
    def num_windows(self) -> int:
        """Windows of one epoch, over all ranks."""
        return self._order.num_windows

    @property
    def num_ahead(self) -> int:
        """Windows of this rank that are on their way at a time: before as many were read, memory still fills."""
        return self._batches_ahead * self.config.batch_size // self.config.world_size

    @property
    def lost(self) -> Counter[str]:
        """What the action space could not express in the clips decoded so far, by name."""
        return self._windows.loader.lost

    @property
    def bad_clips(self) -> Mapping[str, str]:
        """Why clips were replaced, by key."""
        return self._windows.bad_clips

    def places(self, num_windows: int) -> list[Place]:
        """The next windows of all ranks, in order; none is read."""
        end = self._position + num_windows if self._is_endless else min(self._position + num_windows, self.num_windows)
        return [self._order.place(position) for position in range(self._position, end)]

    def stats(self) -> ReaderStats:
        """What was done so far; cheap, from any thread."""
        source, num_windows = self._windows, self._windows.num_windows.tolist()
        return ReaderStats(
            wait_s=self.wait_s,
            num_decodes=source.num_decodes,
            num_frames=source.meter.num_frames,
            load_s=source.meter.load_s,
            bad_clips=len(source.bad_clips),
            traffic=self.corpus.traffic,
            windows=dict(zip(self.corpus.names, num_windows, strict=True)),
        )

    # ------------------------------------------------------------------ iteration

    def __iter__(self) -> Iterator[Batch]:
        """Batches from where the last iteration stopped; another split starts over. Ends an earlier iteration."""
        self._stop()
        if not self._is_endless:
            self._position = 0
        self._prefetch = Prefetch(self._batches(self._position), self.config.prefetch_batches)
        return self._consume(self._prefetch)

    def _consume(self, prefetch: Prefetch[Batch]) -> Iterator[Batch]:
        try:
            while True:
                started = time.perf_counter()
                batch = next(prefetch, None)
                self.wait_s += time.perf_counter() - started
                if batch is None:
                    return
                self._position += self.config.batch_size
                yield batch
        finally:
            prefetch.close()

    def _batches(self, position: int) -> Iterator[Batch]:
        """This rank's batches from `position`; runs in the prefetch thread.

        Planned batches wait twice: in the first half of the way others join them that need the same clips, in the
        second their clips are decoded.
        """
        joining: deque[PlannedBatch] = deque()
        decoding: deque[PlannedBatch] = deque()
        half = self._batches_ahead // 2
        try:
            for places in self._plan(position):
                joining.append(self._windows.plan(places))
                if len(joining) > half:
                    decoding.append(self._start(joining.popleft()))
                if len(decoding) > half:
                    yield self._assemble(decoding.popleft())
            while joining or decoding:
                decoding.extend(map(self._start, joining))
                joining.clear()
                yield self._assemble(decoding.popleft())
        finally:
            self._windows.cancel()

    @property
    def _batches_ahead(self) -> int:
        """Batches planned at a time: two blocks, or two epochs of a small corpus, within the memory allowed."""
        size = self.config.batch_size // self.config.world_size
        wanted = 2 * (min(self._order.span, self.num_windows) // self.config.world_size + size)
        return max(2, min(wanted, self._windows.num_ahead) // size)

    def _start(self, batch: PlannedBatch) -> PlannedBatch:
        self._windows.start(batch)
        return batch

    def _plan(self, position: int) -> Iterator[list[Place | None]]:
        """This rank's windows, batch by batch; None fills up the last batch of a pass."""
        size, stride, end = self.config.batch_size, self.config.world_size, self._order.num_windows
        for first in itertools.count(position, size):
            if not self._is_endless and first >= end:
                return
            indices = range(first + self.config.rank, first + size, stride)
            yield [self._order.place(index) if self._is_endless or index < end else None for index in indices]

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """The position, counted in consumed windows of all ranks, and what fixes the order."""
        return {"position": self._position, "order": self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set where the next `iter` starts. Raises CorpusError if `state` belongs to another order of windows."""
        for name, value in self._identity().items():
            if (saved := state["order"].get(name)) != value:
                do = f"Resume with the same {name}, or start a new run."
                raise CorpusError(f"reader was saved with another {name}", got=value, expected=saved, do=do)
        self._position = int(state["position"])

    def _identity(self) -> dict[str, Any]:
        names = ("height", "width", "window_ticks", "split", "seed", "block_mb")
        fixed: dict[str, Any] = {name: getattr(self.config, name) for name in names}
        blend = {"temperature": str(float(self.config.temperature)), "weights": list(self.corpus.weights)}
        return fixed | blend | {"corpus": self.corpus.fingerprint}

    # ------------------------------------------------------------------ batches

    def _assemble(self, planned: PlannedBatch) -> Batch:
        b, t = planned.frames.shape[:2]
        k = self.action_space.num_tokens
        actions = np.broadcast_to(self._neutral, (b, t, k)).copy()
        known = np.zeros((b, t), dtype=bool)
        previous = np.broadcast_to(self._neutral, (b, k)).copy()
        previous_known = np.zeros(b, dtype=bool)
        game_id = np.zeros(b, dtype=np.int64)
        num_commands = self.config.num_commands
        commands = np.full((b, t, num_commands), np.nan, np.float32) if num_commands else None
        windows = [PADDING] * b
        for row, filled in enumerate(self._windows.finish(planned)):
            if filled is None:
                continue
            (clip_id, start), clip = filled
            actions[row] = clip.actions[start : start + t]
            known[row] = clip.known[start : start + t]
            if commands is not None and clip.commands is not None:
                commands[row] = clip.commands[start : start + t]
            if start:
                previous[row], previous_known[row] = clip.actions[start - 1], clip.known[start - 1]
            game_id[row] = self.corpus.game_ids[clip_id]
            windows[row] = Window(clip.key, clip.first_tick + start)
        return Batch(
            frames=torch.from_numpy(planned.frames),
            actions=torch.from_numpy(actions),
            known=torch.from_numpy(known),
            previous=torch.from_numpy(previous),
            previous_known=torch.from_numpy(previous_known),
            game_id=torch.from_numpy(game_id),
            windows=tuple(windows),
            commands=None if commands is None else torch.from_numpy(commands),
        )

    # ------------------------------------------------------------------ lifetime

    def close(self) -> None:
        """Stop all threads and free the cache. Idempotent."""
        self._stop()
        self._windows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _stop(self) -> None:
        if self._prefetch is not None:
            self._prefetch.close()


def _streams(blend: Blend, config: ReaderConfig) -> list[Stream]:
    """The games to share out; for one pass, all clips as one."""
    if config.split == TRAIN:
        return blend.streams(config.split, temperature=config.temperature)
    clips = blend.select(config.split)
    return [Stream("all", "all", clips, float(blend.seconds[clips].sum() / 3600), 1.0)]


def _make_order(blend: Blend, config: ReaderConfig, streams: list[Stream]) -> WindowOrder:
    is_train = config.split == TRAIN
    block_ticks = config.block_mb * 10**6 // (3 * config.height * config.width)
    seed = config.seed if is_train else 0  # every run is evaluated on the same windows
    settings = OrderConfig(seed, config.window_ticks, block_ticks, shift=is_train)
    shares = [stream.share for stream in streams]
    return WindowOrder([stream.clip_ids for stream in streams], blend.num_ticks, settings, shares=shares)
