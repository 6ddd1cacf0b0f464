import dataclasses
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gi_data.blend import Blend, parse_source, tempered
from gi_data.corpus import Corpus
from gi_data.reader import Reader, ReaderConfig
from gi_model.batch import PADDING
from gi_model.errors import ConfigError, CorpusError

CONFIG = ReaderConfig(height=16, width=48, window_ticks=6, batch_size=10, block_mb=1, cache_mb=2)


@pytest.fixture(scope="module")
def other_path(tmp_path_factory: pytest.TempPathFactory, barcodes: Any, make_corpus: Any) -> Path:
    """A second corpus: one game of three times the hours, one that the first corpus has, too."""
    directory = tmp_path_factory.mktemp("other-recordings")
    for index in range(3):
        barcodes.record(directory, f"race-{index}", game="race", first=index, num_ticks=120)
    barcodes.record(directory, "maze-7", game="maze", num_ticks=120)
    return Path(make_corpus(directory, tmp_path_factory.mktemp("other"), val_fraction=0.0))


@pytest.fixture
def blend(corpus_path: Path, other_path: Path) -> Blend:
    return Blend([Corpus(corpus_path), Corpus(other_path)])


def shares(blend: Blend, temperature: float) -> dict[tuple[str, str], float]:
    return {(s.corpus, s.game): s.share for s in blend.streams("train", temperature=temperature)}


def test_a_blend_is_its_corpora_one_after_the_other(blend: Blend) -> None:
    first, second = blend.corpora
    assert blend.num_clips == first.num_clips + second.num_clips == len(blend.num_ticks)
    assert blend.games == ("arena", "maze", "race")
    for clip_id in range(blend.num_clips):
        corpus = blend.corpora[blend.corpus_ids[clip_id]]
        row = corpus.row(clip_id - (clip_id >= first.num_clips) * first.num_clips)
        assert blend.games[blend.game_ids[clip_id]] == blend.row(clip_id).game == row.game
        assert blend.num_ticks[clip_id] == row.num_ticks
        assert blend.read_video(blend.row(clip_id)) == corpus.read_video(row)
        assert len(blend.read_labels(blend.row(clip_id))) == len(blend.read_label_columns(blend.row(clip_id)).known)
    assert len(set(blend.recording_ids.tolist())) == 6 + 4
    assert len(blend.select("train")) == len(first.select("train")) + len(second.select("train"))


def test_one_corpus_is_a_blend_of_its_own(corpus_path: Path) -> None:
    assert Blend([Corpus(corpus_path)]).fingerprint == Corpus(corpus_path).fingerprint


def test_temperature_leads_from_hours_to_equal_shares(blend: Blend) -> None:
    first, second = blend.names
    hours = {(s.corpus, s.game): s.hours for s in blend.streams("train", temperature=1)}
    total = sum(hours.values())
    assert shares(blend, 1) == pytest.approx({key: spent / total for key, spent in hours.items()})
    assert set(shares(blend, math.inf).values()) == {0.25}
    between = shares(blend, 2)
    assert 0.5 < between[second, "race"] / (between[second, "race"] + between[second, "maze"]) < 0.75
    assert between[first, "arena"] == pytest.approx(between[first, "maze"])


def test_weights_take_the_place_of_hours(corpus_path: Path, other_path: Path) -> None:
    blend = Blend.open([f"{corpus_path}=1.5", str(other_path)])
    by_corpus: Counter[str] = Counter()
    for (corpus, _), share in shares(blend, 1).items():
        by_corpus[corpus] += share  # type: ignore[assignment]
    assert dict(by_corpus) == pytest.approx({blend.names[0]: 0.6, blend.names[1]: 0.4})


def test_a_reader_keeps_the_shares_in_every_batch_and_counts_them(corpus_path: Path, other_path: Path) -> None:
    blend = Blend.open([f"{corpus_path}=4", f"{other_path}=1"])
    with Reader(blend, CONFIG) as reader:
        assert sorted(stream.share for stream in reader.streams) == [0.1, 0.1, 0.4, 0.4]
        batches = iter(reader)
        for _ in range(20):
            games = Counter(blend.games[game_id] for game_id in next(batches).game_id.tolist())
            assert games == {"arena": 4, "maze": 5, "race": 1}
        read = reader.stats().windows
    assert read[blend.names[0]] == pytest.approx(4 * read[blend.names[1]], abs=4)  # prefetching goes on
    assert read[blend.names[1]] >= 40


def test_another_weight_is_another_order(corpus_path: Path, other_path: Path) -> None:
    with Reader(Blend.open([f"{corpus_path}=4", f"{other_path}=1"]), CONFIG) as reader:
        state = reader.state_dict()
    other = Blend.open([f"{corpus_path}=3", f"{other_path}=1"])
    with Reader(other, CONFIG) as reader, pytest.raises(CorpusError, match="another weights"):
        reader.load_state_dict(state)
    with Reader(Blend([Corpus(corpus_path)]), CONFIG) as reader, pytest.raises(CorpusError, match="another"):
        reader.load_state_dict(state)


def test_a_pass_over_held_out_clips_reads_all_corpora_that_have_some(blend: Blend) -> None:
    with Reader(blend, dataclasses.replace(CONFIG, split="val")) as reader:
        read = [window for batch in reader for window in batch.windows if window != PADDING]
    assert len(set(read)) == reader.num_windows


def test_a_split_that_no_corpus_has_is_an_error(other_path: Path) -> None:
    with pytest.raises(CorpusError, match="no val clips"):
        Blend([Corpus(other_path)]).streams("val", temperature=1)


def test_corpora_of_the_same_name_are_told_apart(corpus_path: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copytree(corpus_path, tmp_path / corpus_path.name))
    assert Blend.open([str(corpus_path), str(twin)]).names == (str(corpus_path), str(twin))


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf"])
def test_weights_that_are_none_are_refused(corpus_path: Path, weight: str) -> None:
    with pytest.raises(ConfigError, match="weight"):
        Blend.open([f"{corpus_path}={weight}"])


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperatures_that_are_none_are_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        tempered([1.0, 2.0], temperature)


def test_a_tiny_temperature_starves_nobody_to_zero() -> None:
    assert min(tempered([1.0, 1e6], 1e-3)) > 0
    assert np.sum(tempered([1.0, 1e6], 1e-3)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/a", ("runs/a", None)),
        ("runs/a=2.5", ("runs/a", 2.5)),
        ("s3://b/run=3/corpus", ("s3://b/run=3/corpus", None)),
        ("s3://b/run=3/corpus=2", ("s3://b/run=3/corpus", 2.0)),
        ("runs/x=y/a", ("runs/x=y/a", None)),
    ],
)
def test_sources_are_read_as_people_mean_them(text: str, expected: tuple[str, float | None]) -> None:
    assert parse_source(text) == expected


def test_a_folder_named_like_a_weight_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run=3").mkdir()
    assert parse_source(f"{tmp_path}/run=3") == (f"{tmp_path}/run=3", None)


def test_a_weight_that_is_no_number_is_an_error() -> None:
    with pytest.raises(ConfigError, match="CORPUS=WEIGHT"):
        parse_source("runs/a=much")
