import io
from pathlib import Path

import pytest
from rich.console import Console

from gi_data.corpus import Corpus
from gi_data.reader import Reader, ReaderConfig
from gi_data.reader_stats import ReaderStats
from gi_data.storage import Traffic
from gi_train.data_watch import DataWatch, print_shares, share_facts

CONFIG = ReaderConfig(height=16, width=48, window_ticks=6, batch_size=4)


@pytest.mark.parametrize(
    ("stats", "advice"),
    [
        (ReaderStats(load_s=10, traffic=Traffic(read_s=9, range_misses=5)), "--cache-dir"),
        (ReaderStats(load_s=10, traffic=Traffic(read_s=9)), "faster disk"),
        (ReaderStats(load_s=10, num_frames=5000, windows={"a": 100}), "cache_mb"),
        (ReaderStats(load_s=10, num_frames=700, windows={"a": 60, "b": 40}), "decode_threads"),
    ],
)
def test_advice_names_what_the_time_was_spent_on(stats: ReaderStats, advice: str) -> None:
    assert advice in stats.advice(6)


def test_intervals_are_differences() -> None:
    before = ReaderStats(wait_s=1, num_frames=10, traffic=Traffic(retries=1), windows={"a": 4})
    after = ReaderStats(wait_s=3, num_frames=15, traffic=Traffic(retries=4), windows={"a": 9})
    assert after.since(before) == ReaderStats(wait_s=2, num_frames=5, traffic=Traffic(retries=3), windows={"a": 5})


def test_starvation_is_said_once_and_not_while_memory_fills(corpus_path: Path) -> None:
    said: list[str] = []
    with Reader(Corpus(corpus_path), CONFIG) as reader:
        watch, batches = DataWatch(reader, said.append), iter(reader)
        for waited, expected in ((9.0, 0), (8.0, 0), (0.1, 0), (3.0, 1), (9.0, 1)):
            if waited == 8.0:
                for _ in range(reader.num_ahead // CONFIG.batch_size + 1):
                    next(batches)
            reader.wait_s = watch._before.wait_s + waited
            assert watch.waited(10.0) == pytest.approx(waited / 10)
            assert len(said) == expected
    assert "waits for data 30% of the time" in said[0]


def test_shares_are_shown_and_logged(corpus_path: Path) -> None:
    shown = io.StringIO()
    with Reader(Corpus(corpus_path), CONFIG) as reader:
        print_shares(reader.streams, Console(file=shown, width=200))
        assert share_facts(reader.streams) == {f"share/{corpus_path.name}/{game}": 0.5 for game in ("arena", "maze")}
    assert shown.getvalue().count("50.0%") == 2
