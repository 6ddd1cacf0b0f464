"""The benchmark of the trainer: it measures the real loop, in turns, and leaves it as it was."""

from pathlib import Path

import pytest

import gi_train.pretrain as trainer
from gi_data.blend import Blend
from gi_data.corpus import Corpus
from gi_model.config import preset
from gi_train.bench_train import PARTS, Cost, Overhead, TrainBench, run_bench
from gi_train.config import PRESETS
from gi_train.run_files import RunPaths, read_rows

POLICY = preset("debug").replace(height=32, width=48)
TRAIN = PRESETS["debug"].replace(batch_size=2, window_ticks=5)


@pytest.mark.parametrize("saves", [False, True])
def test_the_real_loop_runs_in_turns_with_a_bare_one(saves: bool, corpus_path: Path, tmp_path: Path) -> None:
    original = trainer.build_reader
    bench = TrainBench(POLICY, TRAIN, pairs=2, stretch=4, saves=saves)
    report = run_bench(Blend([Corpus(corpus_path)]), bench, tmp_path)
    assert trainer.build_reader is original
    assert report.frames_per_s > 0
    assert report.mfu > 0
    assert set(report.seconds) == set(PARTS)
    assert report.seconds["forward"] > 0
    assert (report.saving is not None) == saves
    assert read_rows(RunPaths(tmp_path).metrics)[-1]["kind"] == "val"  # it was a whole run


def test_ratios_are_of_pairs() -> None:
    """One noisy pair moves the median little, and a burst over a whole pair not at all."""
    pairs = [(Cost(1.03, 1.2), Cost(1.0, 1.0))] * 3 + [
        (Cost(10.3, 12.0), Cost(10.0, 10.0)),
        (Cost(9.0, 9.0), Cost(1, 1)),
    ]
    overhead = Overhead.of(pairs)
    assert overhead.cpu == pytest.approx(0.03)
    assert overhead.wall == pytest.approx(0.2)
