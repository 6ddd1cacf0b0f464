"""Laws of resuming: over blends, worlds, caches, and damage; and of reading from servers that fail."""

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gi_data.blend import Blend
from gi_data.corpus import Corpus
from gi_data.corpus_statistics import statistics
from gi_data.range_cache import RangeCache
from gi_data.reader import Reader, ReaderConfig
from gi_data.storage import Storage, locate
from gi_data.verification import verify
from gi_model.batch import PADDING, Window
from gi_model.errors import ClipError, CorpusError
from tests.data.web import Web, serve

CONFIG = ReaderConfig(height=16, width=48, window_ticks=6, batch_size=4, block_mb=1, cache_mb=2)
NUM_BATCHES = 24


@pytest.fixture(scope="module")
def sources(
    corpus_path: Path, tmp_path_factory: pytest.TempPathFactory, barcodes: Any, make_corpus: Any
) -> tuple[str, ...]:
    """A blend of two corpora; two clips of the first are damaged."""
    recordings = tmp_path_factory.mktemp("race")
    for index in range(2):
        barcodes.record(recordings, f"race-{index}", game="race", first=index)
    other = make_corpus(recordings, tmp_path_factory.mktemp("other"), val_fraction=0.0)
    first = Path(shutil.copytree(corpus_path, tmp_path_factory.mktemp("first") / "corpus"))
    corpus = Corpus(first)
    for clip_id in corpus.select("train")[[0, 4]].tolist():
        row = corpus.row(clip_id)
        with (first / row.shard).open("rb+") as file:
            file.seek(row.video_offset + 600)
            file.write(b"\x00" * 200)
    return f"{first}=3", f"{other}=1"


def read(blend: Blend, num_batches: int, state: dict[str, Any] | None = None, **changes: Any) -> tuple[Any, Any]:
    """Windows of each batch, and the state after them."""
    with Reader(blend, dataclasses.replace(CONFIG, **changes)) as reader:
        if state:
            reader.load_state_dict(state)
        batches = [batch.windows for batch in islice(iter(reader), num_batches)]
        return batches, reader.state_dict()


@given(
    cuts=st.lists(st.integers(0, NUM_BATCHES // 2), min_size=1, max_size=3),
    worlds=st.lists(st.sampled_from([1, 2, 4]), min_size=4, max_size=4),
    threads=st.integers(1, 3),
    prefetch=st.integers(1, 4),
    cache_mb=st.integers(2, 8),
    seed=st.integers(0, 3),
)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_was_changed_between_stops_the_windows_are_those_of_an_uninterrupted_run(
    sources: tuple[str, ...], cuts: list[int], worlds: list[int], threads: int, prefetch: int, cache_mb: int, seed: int
) -> None:
    blend = Blend.open(sources)
    uninterrupted, _ = read(blend, NUM_BATCHES, seed=seed)
    state, done = None, 0
    free = {"decode_threads": threads, "prefetch_batches": prefetch, "cache_mb": cache_mb, "seed": seed}
    for asked, world in zip([*cuts, NUM_BATCHES], worlds, strict=False):
        cut = min(asked, NUM_BATCHES - done)
        ranks = [read(blend, cut, state, rank=rank, world_size=world, **free) for rank in range(world)]
        for batch in range(cut):
            whole: list[Window] = [PADDING] * CONFIG.batch_size
            for rank, (batches, _) in enumerate(ranks):
                whole[rank::world] = batches[batch]
            assert tuple(whole) == uninterrupted[done + batch]
        state, done = ranks[0][1], done + cut
        assert all(after == state for _, after in ranks)


def test_a_batch_size_may_change_between_stops(sources: tuple[str, ...]) -> None:
    blend = Blend.open(sources)
    uninterrupted, _ = read(blend, 12)
    first, state = read(blend, 4)
    second, _ = read(blend, 4, state, batch_size=8)
    assert [w for b in first + second for w in b] == [w for b in uninterrupted for w in b]


def test_damage_is_met_by_clips_of_the_same_corpus_and_game(sources: tuple[str, ...]) -> None:
    blend = Blend.open(sources)
    with Reader(blend, CONFIG) as reader:
        games = [game for batch in islice(iter(reader), 40) for game in batch.game_id.tolist()]
        assert len(reader.bad_clips) == 2 == reader.stats().bad_clips
    assert Counter(games) == {0: 60, 1: 60, 2: 40}


# ---------------------------------------------------------------------- over the network


@pytest.fixture
def web(corpus_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr("gi_data.urls.PAUSES_S", (0.01, 0.02, 0.03))
    shutil.copytree(corpus_path, tmp_path / "served" / "corpus")
    with serve(tmp_path / "served") as web:
        yield web


def windows(source: str, storage: Storage | None = None, num_batches: int = 30) -> tuple[list[Any], Reader]:
    with Reader(Blend.open([source], storage=storage), CONFIG) as reader:
        return [batch.windows for batch in islice(iter(reader), num_batches)], reader


def test_a_corpus_behind_a_url_is_read_as_from_disk(web: Web, corpus_path: Path) -> None:
    expected, _ = windows(str(corpus_path))
    got, reader = windows(f"{web.url}/corpus")
    assert got == expected
    assert reader.stats().traffic.range_misses > 0
    assert Corpus(f"{web.url}/corpus").fingerprint == Corpus(corpus_path).fingerprint
    assert [s.hours for s in statistics(locate(f"{web.url}/corpus"))] == [s.hours for s in statistics(corpus_path)]
    assert verify(locate(f"{web.url}/corpus")).problems == {}


def test_a_corpus_in_memory_is_read_as_from_disk(corpus_path: Path) -> None:
    system = fsspec.filesystem("memory")
    for path in corpus_path.iterdir():
        system.pipe(f"/bucket/corpus/{path.name}", path.read_bytes())
    expected, _ = windows(str(corpus_path), num_batches=5)
    assert windows("memory://bucket/corpus", num_batches=5)[0] == expected
    system.rm("/bucket", recursive=True)


def test_a_flaky_server_changes_nothing_but_the_count_of_retries(web: Web, corpus_path: Path) -> None:
    expected, _ = windows(str(corpus_path))
    web.drop_every = 3
    got, reader = windows(f"{web.url}/corpus")
    assert got == expected
    assert reader.stats().traffic.retries > 0
    assert reader.bad_clips == {}


def test_a_second_reader_finds_everything_in_the_cache(web: Web, tmp_path: Path) -> None:
    cache = RangeCache(tmp_path / "cache", 10**8)
    first, _ = windows(f"{web.url}/corpus", Storage(cache))
    web.num_bytes = 0
    again, reader = windows(f"{web.url}/corpus", Storage(RangeCache(tmp_path / "cache", 10**8)))
    assert again == first
    traffic = reader.stats().traffic
    assert (traffic.range_misses, traffic.num_bytes) == (0, 0)
    assert traffic.range_hits > 0


def test_damage_in_the_cache_is_fetched_again(web: Web, tmp_path: Path) -> None:
    first, _ = windows(f"{web.url}/corpus", Storage(RangeCache(tmp_path / "cache", 10**8)))
    kept = list((tmp_path / "cache").glob("??/*"))
    for path in kept[::2]:
        path.write_bytes(path.read_bytes()[:-1])
    again, reader = windows(f"{web.url}/corpus", Storage(RangeCache(tmp_path / "cache", 10**8)))
    assert again == first
    assert reader.stats().traffic.range_misses >= len(kept[::2])
    assert reader.bad_clips == {}


def test_a_server_that_dies_stops_the_reader_and_blames_no_clip(web: Web) -> None:
    config = dataclasses.replace(CONFIG, height=32, width=96, cache_mb=2)
    with Reader(Blend.open([f"{web.url}/corpus"]), config) as reader:
        batches = iter(reader)
        next(batches)
        web.status = 503
        with pytest.raises(CorpusError, match=r"cannot be read.*tries: 4") as caught:
            list(islice(batches, 200))
        assert not isinstance(caught.value, ClipError)
        assert reader.bad_clips == {}


def test_a_shard_cut_on_the_server_is_noticed_when_the_corpus_is_opened(web: Web) -> None:
    path = web.root / "corpus" / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(ClipError, match=r"train-000000.tar is cut"):
        Corpus(f"{web.url}/corpus")
    path.unlink()
    with pytest.raises(CorpusError, match=r"train-000000.tar is missing"):
        Corpus(f"{web.url}/corpus")


def test_no_corpus_behind_a_url_is_a_clear_error(web: Web) -> None:
    with pytest.raises(CorpusError, match="no corpus here"):
        Corpus(f"{web.url}/nothing")
