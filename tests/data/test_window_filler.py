"""Whether clips are kept or scattered into batches, the same frames arrive; each clip is decoded once a block."""

import dataclasses
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gi_data.blend import Blend
from gi_data.clip_loader import ClipLoader
from gi_data.corpus import Corpus
from gi_data.order import Place
from gi_data.reader import Reader, ReaderConfig
from gi_data.window_filler import WindowFiller
from gi_model.actions import ActionSpace

CONFIG = ReaderConfig(height=32, width=96, window_ticks=5, batch_size=4, block_mb=1, cache_mb=64, decode_threads=2)


def make_filler(corpus_path: Path, *, kept: bool, is_planes: bool = True, **changes: Any) -> WindowFiller:
    blend, config = Blend([Corpus(corpus_path)]), dataclasses.replace(CONFIG, **changes)
    loader = ClipLoader(blend, ActionSpace(), height=config.height, width=config.width, is_planes=is_planes)
    filler = WindowFiller(loader, blend, config)
    assert filler._kept is not None
    if not kept:
        filler._kept = None
    return filler


@pytest.mark.parametrize("size", [(32, 96), (16, 48), (15, 40)])
@pytest.mark.parametrize("kept", [True, False])
def test_rows_hold_the_frames_of_their_windows(corpus_path: Path, kept: bool, size: tuple[int, int]) -> None:
    filler = make_filler(corpus_path, kept=kept, is_planes=size == (32, 96), height=size[0], width=size[1])
    long = np.flatnonzero(filler._blend.num_ticks >= 40)[:3].tolist()
    places = [Place(clip_id, start) for clip_id in long for start in (0, 7, 9, 30, 35)]
    batches = [filler.plan([*places[index::4], None]) for index in range(4)]
    for batch in batches:
        filler.start(batch)
    for batch in batches:
        *filled, padding = filler.finish(batch)
        assert padding is None
        assert not batch.frames[-1].any()
        for row, found in enumerate(filled):
            assert found is not None
            place, _ = found
            whole = filler.loader.load(place.clip_id).frames
            assert whole is not None
            np.testing.assert_array_equal(batch.frames[row], whole[place.start : place.start + 5])
    assert filler.num_decodes == 3
    filler.close()


def test_a_clip_is_decoded_once_for_all_batches_that_wait(corpus_path: Path) -> None:
    filler = make_filler(corpus_path, kept=False)
    clip_id = int(np.argmax(filler._blend.num_ticks))
    first, second = filler.plan([Place(clip_id, 0)]), filler.plan([Place(clip_id, 20)])
    filler.start(first)
    late = filler.plan([Place(clip_id, 3)])
    for batch in (second, late):
        filler.start(batch)
    for batch in (first, second, late):
        list(filler.finish(batch))
    assert filler.num_decodes == 2  # once for the first two, once more for the one that came late
    assert filler.meter.num_frames == 25 + 5  # and no frame further than needed
    filler.close()


def test_an_epoch_decodes_every_clip_once(corpus_path: Path) -> None:
    with Reader(Corpus(corpus_path), CONFIG) as reader:
        reader._windows._kept = None
        num_clips = len(reader.corpus.select("train"))
        for _ in islice(reader, 10 * reader.num_windows // CONFIG.batch_size):
            pass
        assert reader.stats().num_decodes <= (10 + 3) * num_clips  # three epochs are on their way


@pytest.mark.parametrize("threads", [1, 3])
def test_kept_or_not_a_reader_gives_the_same_batches(corpus_path: Path, threads: int) -> None:
    batches = []
    for kept in (True, False):
        with Reader(Corpus(corpus_path), dataclasses.replace(CONFIG, decode_threads=threads)) as reader:
            if not kept:
                reader._windows._kept = None
            batches.append(list(islice(reader, 40)))
    for one, other in zip(*batches, strict=True):
        assert one.windows == other.windows
        for name in ("frames", "actions", "known", "previous", "previous_known", "game_id"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_planned_batches_stay_within_the_memory_allowed(corpus_path: Path) -> None:
    with Reader(Corpus(corpus_path), dataclasses.replace(CONFIG, cache_mb=2)) as reader:
        window = 5 * 48 * 96
        assert reader.num_ahead * window <= 2 * 10**6


def test_what_is_cancelled_can_be_planned_again(corpus_path: Path) -> None:
    for kept in (True, False):
        filler = make_filler(corpus_path, kept=kept, decode_threads=1)
        places = [Place(clip_id, 0) for clip_id in range(len(filler._blend.num_ticks))]
        filler.start(filler.plan(places))
        filler.cancel()
        batch = filler.plan(places)
        filler.start(batch)
        assert all(
            found is not None and found[0] == place for found, place in zip(filler.finish(batch), places, strict=True)
        )
        filler.close()
