from pathlib import Path

import numpy as np
import pytest

from gi_data.corpus import Corpus
from gi_data.reader import Reader, ReaderConfig
from gi_data.shuffle_quality import measure, shuffle_quality

SHARES = np.array([0.5, 0.3, 0.2])


def test_a_random_draw_measures_like_one() -> None:
    labels = np.random.default_rng(1).choice(3, size=(2000, 20), p=SHARES)
    assert shuffle_quality(labels, SHARES).ratio == pytest.approx(1, abs=0.06)


def test_one_sided_batches_and_perfect_ones_are_told_apart() -> None:
    one_sided = np.repeat(np.random.default_rng(1).choice(3, size=(2000, 1), p=SHARES), 20, axis=1)
    assert shuffle_quality(one_sided, SHARES).distance == pytest.approx(1 - (SHARES**2).sum(), abs=0.03)
    perfect = np.tile(np.repeat([0, 1, 2], [10, 6, 4]), (5, 1))
    assert shuffle_quality(perfect, SHARES).distance == 0


def test_a_reader_mixes_at_least_as_well_as_chance(corpus_path: Path) -> None:
    config = ReaderConfig(height=16, width=48, window_ticks=6, batch_size=8)
    with Reader(Corpus(corpus_path), config) as reader:
        quality = measure(reader, num_batches=200)
        assert reader.stats().num_decodes == 0
    assert quality["games"].distance == 0  # dealt out exactly
    assert quality["recordings"].ratio < 1.1
