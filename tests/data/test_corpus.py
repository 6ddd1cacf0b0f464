import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_data.corpus import Corpus
from gi_data.corpus_statistics import statistics
from gi_data.index import read_shard_indexes
from gi_data.shards import reindex
from gi_data.verification import verify
from gi_model.errors import ClipError, CorpusError


@pytest.fixture
def copy(corpus_path: Path, tmp_path: Path) -> Path:
    """A corpus that a test may damage."""
    return Path(shutil.copytree(corpus_path, tmp_path / "corpus"))


def test_byte_offsets_lead_to_the_members(corpus_path: Path, recordings: Path) -> None:
    corpus = Corpus(corpus_path)
    for clip_id in range(corpus.num_clips):
        row = corpus.row(clip_id)
        assert corpus.read_video(row) == (recordings / f"{row.key}.mp4").read_bytes()
        assert len(corpus.read_labels(row)) == row.num_ticks == corpus.num_ticks[clip_id]
        assert corpus.games[corpus.game_ids[clip_id]] == row.game == row.key.split("-")[0]


def test_splits_cover_the_corpus_once(corpus_path: Path) -> None:
    corpus = Corpus(corpus_path)
    both = np.concatenate([corpus.select("train"), corpus.select("val")])
    np.testing.assert_array_equal(np.sort(both), np.arange(corpus.num_clips))


def test_rebuilding_the_index_from_tars_gives_the_same_bytes(copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    for path in copy.iterdir():
        if path.suffix != ".tar":
            path.unlink()
    reindex(copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_statistics_are_those_of_what_was_played(corpus_path: Path, barcodes: Any) -> None:
    by_game = {stats.game: stats for stats in statistics(corpus_path)}
    assert list(by_game) == ["arena", "maze", "all"]
    played = [barcodes.state(first + tick) for first in range(3) for tick in range(90)]
    for game in ("arena", "maze"):
        stats = by_game[game]
        assert (stats.num_clips, stats.num_recordings) == (9, 3)
        assert stats.hours == pytest.approx(270 / 20 / 3600)
        assert stats.null_ratio == pytest.approx(sum(state.is_null for state in played) / 270)
        assert stats.held_ratio == pytest.approx({"KeyW": sum(bool(state.keys) for state in played) / 270})
        assert stats.licenses == pytest.approx({"CC0-1.0": 270 / 20 / 3600})
        exact = np.percentile([sum(map(abs, state.motion)) for state in played], [50, 90, 99], method="inverted_cdf")
        for got, expected in zip(stats.motion_percentiles.values(), exact, strict=True):
            assert expected <= got <= 1.5 * expected + 1
    assert by_game["all"].num_clips == 18


def test_the_manifest_sums_up_the_corpus(corpus_path: Path, barcodes: Any) -> None:
    manifest = Corpus(corpus_path).manifest
    rows = [row for shard in read_shard_indexes(corpus_path) for row in shard.rows]
    assert (manifest.num_clips, manifest.num_recordings, manifest.num_ticks) == (18, 6, 540)
    assert manifest.hours_by_game == pytest.approx({"arena": 270 / 72000, "maze": 270 / 72000})
    assert manifest.key_ticks == sum((Counter(row.held) for row in rows), Counter[str]())
    assert manifest.bindings == {game: [barcodes.bindings.to_dict()] for game in ("arena", "maze")}


# ---------------------------------------------------------------------- damage


def test_a_sound_corpus_verifies(corpus_path: Path) -> None:
    result = verify(corpus_path)
    assert (result.num_clips, result.problems) == (18, {})


@given(st.floats(0, 0.999), st.integers(1, 255))
@settings(max_examples=30, deadline=None)
def test_no_changed_byte_escapes_verification(
    corpus_path: Path, tmp_path_factory: pytest.TempPathFactory, place: float, change: int
) -> None:
    copy = Path(shutil.copytree(corpus_path, tmp_path_factory.mktemp("flipped") / "corpus"))
    path = copy / "train-000000.tar"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= change
    path.write_bytes(content)
    problems = verify(copy).problems
    assert "train-000000.tar" in problems
    offset = int(place * len(content))
    for row in next(index for index in read_shard_indexes(copy) if index.shard == path.name).rows:
        if row.video_offset <= offset < row.video_offset + row.video_size:
            assert row.key in problems


@pytest.mark.parametrize("share", [0.05, 0.3, 0.62, 0.75])
def test_a_cut_tar_is_reported_by_clip(copy: Path, share: float) -> None:
    path = copy / "train-000000.tar"
    rows = next(index for index in read_shard_indexes(copy) if index.shard == path.name).rows
    size = int(share * path.stat().st_size)
    with path.open("rb+") as file:
        file.truncate(size)
    lost = [row.key for row in rows if row.metadata_offset + row.metadata_size > size]
    with pytest.raises(ClipError, match=f"{len(lost)} clips are lost, the first is {lost[0]}"):
        Corpus(copy)
    with pytest.raises(ClipError, match="cut or damaged at clip"):
        reindex(copy)
    assert set(lost) <= verify(copy).problems.keys()


def test_a_tar_that_lost_only_its_end_mark_is_refused(copy: Path) -> None:
    path = copy / "train-000000.tar"
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size - 512)
    with pytest.raises(ClipError, match="cut after its last clip"):
        Corpus(copy)


def test_a_tar_cut_between_two_clips_is_noticed(copy: Path) -> None:
    """Such a tar is complete for every reader of plain tars: only its end mark is missing."""
    path = copy / "train-000000.tar"
    rows = next(index for index in read_shard_indexes(copy) if index.shard == path.name).rows
    with path.open("rb+") as file:
        file.truncate(rows[1].video_offset - 512)
    with pytest.raises(ClipError, match=rows[0].key):
        reindex(copy)
    with pytest.raises(ClipError, match=rows[1].key):
        Corpus(copy)


def test_a_missing_member_is_noticed(copy: Path) -> None:
    path = copy / "train-000000.tar"
    rows = next(index for index in read_shard_indexes(copy) if index.shard == path.name).rows
    content = path.read_bytes()
    without = content[: rows[1].inputs_offset - 512] + content[rows[1].metadata_offset - 512 :]
    path.write_bytes(without)
    with pytest.raises(ClipError, match=f"{rows[1].key}.*no inputs.parquet"):
        reindex(copy)


def test_a_wrong_hash_is_noticed_when_the_clip_is_read(copy: Path) -> None:
    row = Corpus(copy).row(0)
    with (copy / row.shard).open("rb+") as file:
        file.seek(row.video_offset + row.video_size // 2)
        file.write(b"\x00\xff\x00\xff")
    with pytest.raises(ClipError, match=row.key):
        Corpus(copy).read_video(row)
    assert Corpus(copy).read_labels(row)


def test_a_file_that_changes_under_a_reader_is_checked_again(copy: Path) -> None:
    corpus = Corpus(copy)
    row = corpus.row(0)
    sound = corpus.read_video(row)
    assert corpus.read_video(row) == sound  # checked once
    with (copy / row.shard).open("r+b") as tar:
        tar.seek(row.video_offset + row.video_size // 2)
        changed = bytes([tar.read(1)[0] ^ 1])
        tar.seek(-1, 1)
        tar.write(changed)
    with pytest.raises(ClipError, match="video of clip"):
        corpus.read_video(row)


def test_a_damaged_tar_header_is_found_though_it_is_in_no_clip(copy: Path) -> None:
    """Readers of plain tars stop at such a header and drop the rest without a word."""
    row = next(index for index in read_shard_indexes(copy) if index.shard == "train-000000.tar").rows[1]
    with (copy / row.shard).open("rb+") as file:
        file.seek(row.inputs_offset - 300)
        file.write(b"\xff" * 8)
    problems = verify(copy).problems
    assert list(problems) == [row.shard]
    assert f"damaged at clip {row.key}" in problems[row.shard]


def test_a_missing_shard_is_named(copy: Path) -> None:
    (copy / "train-000001.tar").unlink()
    with pytest.raises(CorpusError, match=r"train-000001.tar is missing"):
        Corpus(copy)
    assert "train-000001.tar" in verify(copy).problems


def test_an_index_and_a_manifest_that_disagree_are_refused(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"num_clips": 17}))
    with pytest.raises(CorpusError, match=r"disagree.*gi index"):
        Corpus(copy)


@pytest.mark.parametrize(
    ("name", "content"), [("manifest.json", b"{"), ("manifest.json", b"[]"), ("index.parquet", b"PAR1")]
)
def test_descriptions_that_cannot_be_read_say_how_to_rebuild_them(copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    with pytest.raises(CorpusError, match="gi index"):
        Corpus(copy)
    reindex(copy)
    assert Corpus(copy).num_clips == 18


def test_another_schema_version_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"schema": 99}))
    with pytest.raises(CorpusError, match="schema version 99"):
        Corpus(copy)


def test_no_corpus_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="gi shard"):
        Corpus(tmp_path)
