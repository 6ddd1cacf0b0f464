import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gi_data.catalog import Catalog
from gi_data.corpus import Corpus
from gi_data.corpus_statistics import statistics
from gi_data.index import write_index
from gi_data.planning import plan
from gi_data.reader import Reader, ReaderConfig
from gi_data.shards import ShardConfig, build, reindex
from gi_data.verification import verify
from gi_data.views import merge, subset, together, write_view
from gi_model.errors import CorpusError


@pytest.fixture
def other(tmp_path: Path, barcodes: Any, make_corpus: Any) -> Path:
    """A second corpus; its shards have the same names as those of `corpus_path`."""
    for index in range(3):
        barcodes.record(tmp_path / "other-recordings", f"cave-{index}", game="cave", first=100 * index)
    return Path(make_corpus(tmp_path / "other-recordings", tmp_path / "other"))


def windows(directory: Path, split: str = "train") -> Iterator[tuple[Any, ...]]:
    """All that one epoch gives."""
    corpus = Corpus(directory)
    config = ReaderConfig(
        batch_size=2, window_ticks=8, height=16, width=48, split=split, cache_mb=50, block_mb=10, decode_threads=1
    )
    with Reader(corpus, config) as reader:
        for _, batch in zip(range(reader.num_windows // 2), reader, strict=False):
            yield batch.windows, batch.frames.numpy().tobytes(), batch.actions.numpy().tobytes()


def rows(directory: Path) -> list[dict[str, Any]]:
    """The index with shards by their true place."""
    found = Catalog.open(directory).table.to_pylist()
    return [row | {"shard": str((directory / row["shard"]).resolve())} for row in found]


def test_a_subset_of_everything_reads_like_its_base(corpus_path: Path, tmp_path: Path) -> None:
    subset(corpus_path, tmp_path / "all", where="true")
    assert rows(tmp_path / "all") == rows(corpus_path)
    assert Corpus(tmp_path / "all").fingerprint == Corpus(corpus_path).fingerprint
    assert list(windows(tmp_path / "all")) == list(windows(corpus_path))
    assert statistics(tmp_path / "all") == statistics(corpus_path)
    assert not list((tmp_path / "all").glob("*.tar"))


def test_a_view_of_a_view_is_the_direct_one(corpus_path: Path, tmp_path: Path) -> None:
    subset(corpus_path, tmp_path / "a", where="game = 'maze'")
    subset(tmp_path / "a", tmp_path / "ab", where="num_ticks > 20")
    subset(corpus_path, tmp_path / "direct", where="game = 'maze' and num_ticks > 20")
    assert rows(tmp_path / "ab") == rows(tmp_path / "direct")
    assert {row["game"] for row in rows(tmp_path / "ab")} == {"maze"}
    assert verify(tmp_path / "ab").problems == {}


def test_merged_corpora_hold_all_clips_though_their_shards_share_names(
    corpus_path: Path, other: Path, tmp_path: Path
) -> None:
    report = merge([corpus_path, other], tmp_path / "both")
    assert rows(tmp_path / "both") == rows(corpus_path) + rows(other)
    names = {Path(name).name for name in report.manifest.shards}
    assert len(names) < len(report.manifest.shards)
    assert (report.num_doubled, report.moved) == (0, ())
    assert verify(tmp_path / "both").problems == {}
    assert {name for name, _, _ in windows(tmp_path / "both")}


def test_a_clip_that_two_corpora_hold_is_taken_once(corpus_path: Path, tmp_path: Path) -> None:
    subset(corpus_path, tmp_path / "maze", where="game = 'maze'")
    report = merge([tmp_path / "maze", corpus_path], tmp_path / "both")
    assert report.num_doubled == 9
    key = lambda row: (row["shard"], row["video_offset"])  # noqa: E731
    assert sorted(rows(tmp_path / "both"), key=key) == sorted(rows(corpus_path), key=key)


def test_one_key_for_two_clips_is_refused(corpus_path: Path, tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    barcodes.record(tmp_path / "recordings", "maze-0", game="maze", first=55)
    made = make_corpus(tmp_path / "recordings", tmp_path / "made")
    with pytest.raises(CorpusError, match=r"clip maze-0.*ids of their own"):
        merge([corpus_path, made], tmp_path / "both")


def test_a_recording_on_both_sides_goes_to_train(corpus_path: Path, tmp_path: Path) -> None:
    """Two corpora may have put parts of one recording on different sides."""
    subset(corpus_path, tmp_path / "first", where="recording_id = 'maze-1' and part = 0")
    subset(corpus_path, tmp_path / "rest", where="recording_id = 'maze-1' and part > 0")
    for name, side in (("first", "train"), ("rest", "val")):
        catalog = Catalog.open(tmp_path / name)
        sides = [side] * len(catalog.table)
        table = catalog.table.set_column(catalog.table.schema.get_field_index("split"), "split", [sides])
        Catalog(catalog.manifest, table).write(tmp_path / name)
    report = merge([tmp_path / "first", tmp_path / "rest"], tmp_path / "both")
    assert report.moved == ("maze-1",)
    assert {row["split"] for row in rows(tmp_path / "both")} == {"train"}


def test_groups_pull_recordings_to_one_side(corpus_path: Path) -> None:
    table = Catalog.open(corpus_path).table
    val = sorted({row["recording_id"] for row in table.to_pylist() if row["split"] == "val"})
    train = sorted({row["recording_id"] for row in table.to_pylist() if row["split"] == "train"})
    assert together(table)[1] == ()
    joined, moved = together(table, [[val[0], train[0], "unheard-of"]])
    assert moved == (val[0],)
    sides = {row["recording_id"]: row["split"] for row in joined.to_pylist()}
    assert (sides[val[0]], sides[val[1]]) == ("train", "val")


def test_a_moved_tree_still_reads(corpus_path: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus_path, tmp_path / "tree" / "base")
    subset(tmp_path / "tree" / "base", tmp_path / "tree" / "view", where="split = 'train'")
    before = list(windows(tmp_path / "tree" / "view"))
    (tmp_path / "tree").rename(tmp_path / "elsewhere")
    assert list(windows(tmp_path / "elsewhere" / "view")) == before


def test_stretches_read_the_ticks_they_name(corpus_path: Path, tmp_path: Path, barcodes: Any) -> None:
    """Two stretches of one clip: frames and labels both say which ticks they are."""
    from gi_data.clip_loader import decode_clip
    from gi_data.views import seen_from

    catalog = seen_from(tmp_path / "view", corpus_path)
    clip = catalog.table.to_pylist()[0]
    stretches = [clip | {"first_tick": 3, "num_ticks": 9}, clip | {"first_tick": 15, "num_ticks": 10}]
    table = catalog.table.slice(0, 0).from_pylist(stretches, schema=catalog.table.schema)
    write_view(tmp_path / "view", table, [catalog])
    corpus = Corpus(tmp_path / "view")
    whole = decode_clip(Corpus(corpus_path), 0, height=32, width=96)
    for clip_id, row in enumerate(stretches):
        got = decode_clip(corpus, clip_id, height=32, width=96)
        ticks = slice(row["first_tick"], row["first_tick"] + row["num_ticks"])
        np.testing.assert_array_equal(got.frames, whole.frames[ticks])
        assert [barcodes.number_of(state) for state in got.inputs] == [barcodes.number(frame) for frame in got.frames]
    assert verify(tmp_path / "view").problems == {}
    longer = [stretches[0], stretches[1] | {"num_ticks": 9}]
    write_view(tmp_path / "longer", table.from_pylist(longer, schema=table.schema), [catalog])
    assert Corpus(tmp_path / "longer").fingerprint != corpus.fingerprint


# ---------------------------------------------------------------------- what does not work on views


def test_a_view_is_neither_indexed_nor_appended_to(corpus_path: Path, recordings: Path, tmp_path: Path) -> None:
    subset(corpus_path, tmp_path / "view", where="true")
    with pytest.raises(CorpusError, match="run again the command that made the view"):
        reindex(tmp_path / "view")
    with pytest.raises(CorpusError, match="run again the command that made the view"):
        build(plan([recordings], tmp_path / "view", val_fraction=0.1), ShardConfig())


def test_views_need_a_folder_of_their_own(corpus_path: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot become a view"):
        merge([corpus_path], corpus_path)
    subset(corpus_path, tmp_path / "view", where="true")
    with pytest.raises(CorpusError, match="made of itself"):
        subset(tmp_path / "view", tmp_path / "view", where="true")


def test_an_empty_subset_is_refused(corpus_path: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no clip matches"):
        subset(corpus_path, tmp_path / "view", where="seconds > 1e9")
    assert not (tmp_path / "view").exists()


def test_a_refreshed_view_follows_its_base(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    barcodes.record(tmp_path / "recordings", "early", num_ticks=20)
    make_corpus(tmp_path / "recordings", tmp_path / "base")
    subset(tmp_path / "base", tmp_path / "view", where="true")
    barcodes.record(tmp_path / "recordings", "late", num_ticks=20, first=50)
    make_corpus(tmp_path / "recordings", tmp_path / "base")
    assert Corpus(tmp_path / "view").num_clips == 1
    subset(tmp_path / "base", tmp_path / "view", where="true")
    assert rows(tmp_path / "view") == rows(tmp_path / "base")


# ---------------------------------------------------------------------- damage and malice


def test_damage_in_a_base_is_found_through_the_view(corpus_path: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus_path, tmp_path / "base")
    subset(tmp_path / "base", tmp_path / "view", where="true")
    with (tmp_path / "base" / "train-000000.tar").open("rb+") as file:
        file.seek(2000)
        file.write(b"\x00\xff\x00\xff")
    assert len(verify(tmp_path / "view").problems) == 2
    (tmp_path / "base" / "train-000000.tar").unlink()
    assert "missing" in verify(tmp_path / "view").problems["../base/train-000000.tar"]


@pytest.mark.parametrize(
    "change",
    [
        {"video_offset": -1},
        {"video_size": 2**60},
        {"inputs_offset": 2**62, "inputs_size": 2**62},
        {"first_tick": -5},
        {"num_ticks": 0},
    ],
)
def test_impossible_rows_are_refused(corpus_path: Path, tmp_path: Path, change: dict[str, int]) -> None:
    subset(corpus_path, tmp_path / "view", where="true")
    table = Catalog.open(tmp_path / "view").table
    changed = [table.to_pylist()[0] | change, *table.to_pylist()[1:]]
    write_index(tmp_path / "view", table.from_pylist(changed, schema=table.schema))
    with pytest.raises(CorpusError, match="impossible row"):
        Corpus(tmp_path / "view")


def test_a_row_that_names_a_strange_file_gives_none_of_its_bytes(corpus_path: Path, tmp_path: Path) -> None:
    """A downloaded view may point anywhere; without the hash of what lies there it learns nothing."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"password " * 100_000)
    subset(corpus_path, tmp_path / "view", where="true")
    manifest = json.loads((tmp_path / "view" / "manifest.json").read_text())
    (name, facts) = next(iter(manifest["shards"].items()))
    manifest["shards"][str(secret)] = manifest["shards"].pop(name) | facts
    (tmp_path / "view" / "manifest.json").write_text(json.dumps(manifest))
    table = Catalog.open(corpus_path).table
    changed = [
        row | {"shard": str(secret) if f"/{row['shard']}" in name else row["shard"]} for row in table.to_pylist()
    ]
    write_index(tmp_path / "view", table.from_pylist(changed, schema=table.schema))
    table = None
    manifest["shards"] = {
        Path(key).name if key != str(secret) else key: facts for key, facts in manifest["shards"].items()
    }
    (tmp_path / "view" / "manifest.json").write_text(json.dumps(manifest))
    for path in corpus_path.glob("*.tar"):
        shutil.copy(path, tmp_path / "view")
    corpus = Corpus(tmp_path / "view")
    row = next(row for row in map(corpus.row, range(corpus.num_clips)) if row.shard == str(secret))
    for read in (corpus.read_video, corpus.read_labels):
        with pytest.raises(CorpusError, match="damaged"):
            read(row)
