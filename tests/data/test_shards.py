import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import webdataset

from gi_data.corpus import Corpus
from gi_data.index import read_shard_indexes
from gi_data.inputs_table import Labels
from gi_data.planning import plan
from gi_data.recording import RecordingWriter
from gi_data.shards import BuildReport, ShardConfig, build
from gi_model.errors import ClipError, ConfigError, CorpusError

SMALL = ShardConfig(shard_mb=0.03)


def shard(recordings: Path, corpus: Path, config: ShardConfig = SMALL, *, val_fraction: float = 0.34) -> BuildReport:
    return build(plan([recordings], corpus, val_fraction=val_fraction), config)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def sides(corpus: Path) -> dict[str, set[str]]:
    """Splits of each recording's clips."""
    found: dict[str, set[str]] = {}
    for index in read_shard_indexes(corpus):
        for row in index.rows:
            found.setdefault(row.recording_id, set()).add(row.split)
    return found


def samples(corpus: Path) -> Iterator[dict[str, Any]]:
    urls = [str(path) for path in sorted(corpus.glob("*.tar"))]
    yield from webdataset.WebDataset(urls, shardshuffle=False)


@pytest.fixture
def copy(recordings: Path, tmp_path: Path) -> Path:
    """Recordings that a test may damage."""
    return Path(shutil.copytree(recordings, tmp_path / "recordings"))


# ---------------------------------------------------------------------- what is in the shards


def test_plain_webdataset_reads_every_clip(recordings: Path, corpus_path: Path) -> None:
    found = {sample["__key__"]: sample for sample in samples(corpus_path)}
    assert sorted(found) == sorted(path.stem for path in recordings.glob("*.mp4"))
    for key, sample in found.items():
        assert sample["mp4"] == (recordings / f"{key}.mp4").read_bytes()
        labels = Labels.from_lines((recordings / f"{key}.inputs.jsonl").read_bytes(), key)
        assert Labels.from_parquet(sample["inputs.parquet"], key).inputs == labels.inputs
        assert json.loads(sample["json"])["num_ticks"] == len(labels)


def test_videos_in_shards_play_anywhere(corpus_path: Path) -> None:
    with av.open(io.BytesIO(next(samples(corpus_path))["mp4"]), "r") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 20


def test_shards_are_closed_at_their_size(corpus_path: Path) -> None:
    sizes = [path.stat().st_size for path in corpus_path.glob("train-*.tar")]
    assert len(sizes) > 1
    assert max(sizes) < 2 * SMALL.shard_mb * 1e6


# ---------------------------------------------------------------------- the split


def test_the_split_is_by_recording_and_reaches_every_game(corpus_path: Path) -> None:
    found = sides(corpus_path)
    assert len(found) == 6
    assert all(len(splits) == 1 for splits in found.values())
    for game in ("maze", "arena"):
        val = [name for name, splits in found.items() if name.startswith(game) and splits == {"val"}]
        assert len(val) == 1


def test_recordings_keep_their_side_when_more_come(tmp_path: Path, barcodes: Any) -> None:
    recordings, corpus = tmp_path / "recordings", tmp_path / "corpus"
    for batch in range(3):
        before = sides(corpus) if batch else {}
        for index in range(4):
            barcodes.record(recordings, f"r{batch}-{index}", num_ticks=5)
        shard(recordings, corpus, val_fraction=0.25)
        after = sides(corpus)
        assert before.items() <= after.items()
        assert sum(splits == {"val"} for splits in after.values()) == batch + 1


def test_recordings_that_are_in_shards_count_towards_the_split(tmp_path: Path, barcodes: Any) -> None:
    """Folders may be sharded one after the other, and deleted in between."""
    for folder in range(4):
        barcodes.record(tmp_path / str(folder), f"r{folder}-a", num_ticks=5)
        barcodes.record(tmp_path / str(folder), f"r{folder}-b", num_ticks=5)
        shard(tmp_path / str(folder), tmp_path / "corpus", val_fraction=0.25)
    assert sum(splits == {"val"} for splits in sides(tmp_path / "corpus").values()) == 2


def test_no_validation_when_none_is_wanted(recordings: Path, tmp_path: Path) -> None:
    shard(recordings, tmp_path / "corpus", val_fraction=0.0)
    assert set.union(*sides(tmp_path / "corpus").values()) == {"train"}


# ---------------------------------------------------------------------- resuming and appending


@pytest.mark.parametrize("stop_after", [1, 4, 9, 17])
def test_an_interrupted_build_continues_to_the_same_bytes(
    recordings: Path, corpus_path: Path, tmp_path: Path, stop_after: int
) -> None:
    corpus = tmp_path / "corpus"
    left = iter(range(stop_after))

    def advance() -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(plan([recordings], corpus, val_fraction=0.34), SMALL, advance)
    with pytest.raises(CorpusError, match="no corpus"):
        Corpus(corpus)
    num_kept = sum(len(index.rows) for index in read_shard_indexes(corpus))
    assert shard(recordings, corpus).num_new == 18 - num_kept
    assert contents(corpus) == contents(corpus_path)


def test_building_again_changes_nothing(recordings: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shard(recordings, corpus)
    before = contents(corpus)
    assert shard(recordings, corpus).num_new == 0
    assert contents(corpus) == before


def test_more_recordings_are_appended_without_touching_finished_shards(
    copy: Path, tmp_path: Path, barcodes: Any
) -> None:
    corpus = tmp_path / "corpus"
    shard(copy, corpus)
    before = contents(corpus)
    barcodes.record(copy, "later", num_ticks=45)
    assert shard(copy, corpus).num_new == 2
    after = contents(corpus)
    assert all(after[name] == content for name, content in before.items() if name.endswith(".tar"))
    assert Corpus(corpus).num_clips == 20


def test_a_recording_that_is_not_ended_waits(tmp_path: Path, barcodes: Any) -> None:
    barcodes.record(tmp_path / "recordings", "done", num_ticks=5)
    writer = RecordingWriter(tmp_path / "recordings", "running", barcodes.info(), clip_ticks=4)
    for number in range(6):
        writer.append(barcodes.frame(number), barcodes.state(number), t_ns=number)
    work = plan([tmp_path / "recordings"], tmp_path / "corpus", val_fraction=0.0)
    writer.abandon()
    assert sorted(work.unfinished) == ["running-0000", "running-0001"]
    assert [part.paths.key for part in work.new["train"]] == ["done-0000"]


# ---------------------------------------------------------------------- damage


def truncate_video(directory: Path) -> None:
    path = directory / "maze-1-0000.mp4"
    path.write_bytes(path.read_bytes()[:-2000])


def drop_a_label(directory: Path) -> None:
    path = directory / "maze-1-0000.inputs.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def forge_a_label(directory: Path) -> None:
    path = directory / "maze-1-0000.inputs.jsonl"
    path.write_bytes(path.read_bytes().replace(b"KeyW", b"KeyS", 1))


def lose_the_video(directory: Path) -> None:
    (directory / "maze-1-0000.mp4").unlink()


def garble_the_metadata(directory: Path) -> None:
    (directory / "maze-1-0000.json").write_bytes(b"{")


DAMAGES = [truncate_video, drop_a_label, forge_a_label, lose_the_video, garble_the_metadata]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_recording_is_named(copy: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(copy)
    with pytest.raises(ClipError, match="maze-1-0000"):
        shard(copy, tmp_path / "corpus")
    assert not (tmp_path / "corpus" / "manifest.json").exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_recording_can_be_left_out(copy: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(copy)
    report = shard(copy, tmp_path / "corpus", ShardConfig(skip_damaged=1))
    assert report.num_new == 17
    assert len(report.damaged) == 1
    assert "maze-1-0000" in report.damaged[0]


def test_too_many_damaged_recordings_stop_the_build(copy: Path, tmp_path: Path) -> None:
    truncate_video(copy)
    (copy / "maze-2-0001.mp4").write_bytes(b"")
    with pytest.raises(CorpusError, match="too many damaged"):
        shard(copy, tmp_path / "corpus", ShardConfig(skip_damaged=1))


def test_labels_shorter_than_frames_say_both_counts(copy: Path, tmp_path: Path) -> None:
    drop_a_label(copy)
    with pytest.raises(ClipError, match=r"'frames': 40, 'labels': 39"):
        shard(copy, tmp_path / "corpus")


def test_one_key_from_two_places_is_refused(recordings: Path, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="comes twice"):
        plan([recordings, copy], tmp_path / "corpus", val_fraction=0.0)


def test_another_recording_under_the_same_id_is_refused(tmp_path: Path, barcodes: Any) -> None:
    barcodes.record(tmp_path / "a", "same", num_ticks=5)
    barcodes.record(tmp_path / "b", "same", num_ticks=5, first=7)
    shard(tmp_path / "a", tmp_path / "corpus")
    with pytest.raises(CorpusError, match="not the one already in shard"):
        shard(tmp_path / "b", tmp_path / "corpus")


def test_nothing_to_shard_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no recordings here"):
        shard(tmp_path / "nowhere", tmp_path / "corpus")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="at least one clip"):
        shard(tmp_path / "empty", tmp_path / "corpus")


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="size"):
        ShardConfig(shard_mb=0)
    with pytest.raises(ConfigError, match="skip-damaged"):
        ShardConfig(skip_damaged=-1)
