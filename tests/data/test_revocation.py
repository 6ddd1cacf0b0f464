import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gi_data import compaction
from gi_data.catalog import Catalog
from gi_data.compaction import compact, revoke
from gi_data.corpus import Corpus
from gi_data.corpus_statistics import statistics
from gi_data.index import next_edition, read_shard_indexes, replaced_by
from gi_data.planning import plan
from gi_data.query import query
from gi_data.shards import ShardConfig, build, reindex
from gi_data.verification import verify
from gi_data.views import subset
from gi_model.errors import CorpusError

GONE = "maze-1"


@pytest.fixture
def base(corpus_path: Path, tmp_path: Path) -> Path:
    """A corpus that a test may change."""
    return Path(shutil.copytree(corpus_path, tmp_path / "base"))


def held(directory: Path) -> set[str]:
    """Recordings that a corpus shows, the same by every way of looking."""
    table = Catalog.open(directory).table
    found = set(table["recording_id"].to_pylist())
    corpus = Corpus(directory)
    assert {corpus.row(clip_id).recording_id for clip_id in range(corpus.num_clips)} == found
    assert corpus.manifest.num_clips == corpus.num_clips == len(table)
    assert corpus.manifest.num_recordings == len(found)
    assert {row[0] for row in query("select distinct recording_id from clips", [directory]).rows} == found
    assert statistics(directory)[-1].num_recordings == len(found)
    return found


def test_a_revoked_recording_vanishes_everywhere_at_once(base: Path, tmp_path: Path) -> None:
    subset(base, tmp_path / "view", where="true")
    subset(tmp_path / "view", tmp_path / "second", where="true")
    before = held(base)
    assert before == held(tmp_path / "view")
    result = revoke(base, [GONE], reason="the player asked")
    assert (result.revoked, result.num_clips) == ((GONE,), 3)
    assert result.hours == pytest.approx(90 / 20 / 3600)
    for directory in (base, tmp_path / "view", tmp_path / "second"):
        assert held(directory) == before - {GONE}
        assert verify(directory).problems == {}
    tombstone = json.loads((base / "revoked.jsonl").read_text())
    assert (tombstone["recording_id"], tombstone["reason"]) == (GONE, "the player asked")


def test_revoking_in_a_view_leaves_its_base_alone_and_lasts(base: Path, tmp_path: Path) -> None:
    subset(base, tmp_path / "view", where="true")
    subset(tmp_path / "view", tmp_path / "second", where="true")
    revoke(tmp_path / "view", [GONE])
    assert GONE in held(base)
    subset(base, tmp_path / "view", where="true")
    assert GONE not in held(tmp_path / "view")
    assert GONE not in held(tmp_path / "second")


def test_the_tombstone_alone_is_enough(base: Path) -> None:
    """Killed between the tombstone and the index."""
    (base / "revoked.jsonl").write_text(json.dumps({"recording_id": GONE}) + "\n")
    assert GONE not in held(base)


def test_nothing_brings_it_back(base: Path, recordings: Path) -> None:
    revoke(base, [GONE])
    reindex(base)
    assert GONE not in held(base)
    work = plan([recordings], base, val_fraction=0.34)
    build(work, ShardConfig())
    assert len(work.revoked) == 3
    assert GONE not in held(base)
    compact(base)
    work = plan([recordings], base, val_fraction=0.34)
    assert build(work, ShardConfig()).num_new == 0
    assert GONE not in held(base)


def test_revoked_ahead_it_never_comes_in(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    barcodes.record(tmp_path / "recordings", "one", num_ticks=20)
    base = make_corpus(tmp_path / "recordings", tmp_path / "base")
    revoke(base, ["two"], ahead=True)
    barcodes.record(tmp_path / "recordings", "two", num_ticks=20)
    make_corpus(tmp_path / "recordings", tmp_path / "base")
    assert held(base) == {"one"}


def test_revoking_twice_is_revoking_once(base: Path) -> None:
    revoke(base, [GONE])
    before = (base / "revoked.jsonl").read_bytes()
    assert revoke(base, [GONE]).revoked == ()
    assert (base / "revoked.jsonl").read_bytes() == before


def test_a_misspelt_id_revokes_nothing(base: Path) -> None:
    with pytest.raises(CorpusError, match=r"no recording mase-1.*Did you mean maze-1.*Nothing was revoked"):
        revoke(base, ["maze-2", "mase-1"])
    assert not (base / "revoked.jsonl").exists()


def test_damaged_tombstones_stop_everything(base: Path) -> None:
    """Else what was withdrawn would come back."""
    (base / "revoked.jsonl").write_text('{"recording_id": "maze-1"}\n{"record')
    for look in (Corpus, Catalog.open, reindex):
        with pytest.raises(CorpusError, match=r"revoked.jsonl cannot be read"):
            look(base)


# ---------------------------------------------------------------------- compaction


def contains(directory: Path, content: bytes) -> bool:
    return any(content in path.read_bytes() for path in directory.iterdir() if path.is_file())


def test_compaction_removes_the_bytes_and_nothing_else(base: Path, recordings: Path) -> None:
    video = (recordings / f"{GONE}-0000.mp4").read_bytes()
    kept = (recordings / "arena-2-0000.mp4").read_bytes()
    before = {row.key: row.video_sha256 for shard in read_shard_indexes(base) for row in shard.rows}
    size = sum(path.stat().st_size for path in base.glob("*.tar"))
    revoke(base, [GONE])
    assert contains(base, video)
    result = compact(base)
    # arena-1 shows the same pictures, so its file is the same: its key tells them apart
    assert not contains(base, f"{GONE}-0000.mp4".encode())
    assert contains(base, kept)
    assert result.shards
    assert result.num_bytes == size - sum(path.stat().st_size for path in base.glob("*.tar")) > 0
    after = {row.key: row.video_sha256 for shard in read_shard_indexes(base) for row in shard.rows}
    assert after == {key: sha256 for key, sha256 in before.items() if not key.startswith(GONE)}
    assert verify(base).problems == {}
    assert GONE not in held(base)
    assert compact(base).shards == ()


def test_compaction_keeps_the_split_and_may_happen_again(base: Path) -> None:
    sides = {row["recording_id"]: row["split"] for row in Catalog.open(base).table.to_pylist()}
    for name in (GONE, "arena-0", "maze-0"):
        revoke(base, [name])
        compact(base)
        left = {row["recording_id"]: row["split"] for row in Catalog.open(base).table.to_pylist()}
        assert left.items() <= sides.items()
        assert verify(base).problems == {}
    reindex(base)
    assert held(base) == sides.keys() - {GONE, "arena-0", "maze-0"}


@pytest.mark.parametrize("stop_at", ["_rewrite", "refresh", "_remove"])
@pytest.mark.parametrize("calls", [0, 1])
def test_killed_anywhere_it_goes_on(base: Path, tmp_path: Path, monkeypatch: Any, stop_at: str, calls: int) -> None:
    revoke(base, [GONE])
    whole = Path(shutil.copytree(base, tmp_path / "whole"))
    compact(whole)
    original, left = getattr(compaction, stop_at), iter(range(calls))

    def killed(*arguments: Any, **options: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        result = original(*arguments, **options)
        if stop_at != "_rewrite":
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(compaction, stop_at, killed)
    with pytest.raises(KeyboardInterrupt):
        compact(base)
    monkeypatch.undo()
    assert GONE not in held(base)
    assert verify(base).problems == {}
    compact(base)
    files = {path.name: path.read_bytes() for path in base.iterdir() if path.suffix in (".tar", ".parquet", ".json")}
    assert files == {
        path.name: path.read_bytes() for path in whole.iterdir() if path.suffix in (".tar", ".parquet", ".json")
    }


def test_views_over_a_compacted_base_say_so(base: Path, tmp_path: Path) -> None:
    subset(base, tmp_path / "view", where="true")
    revoke(base, [GONE])
    compact(base)
    with pytest.raises(CorpusError, match=r"is missing.*view"):
        Corpus(tmp_path / "view")
    subset(base, tmp_path / "view", where="true")
    assert held(tmp_path / "view") == held(base)


def test_a_view_cannot_be_compacted(base: Path, tmp_path: Path) -> None:
    subset(base, tmp_path / "view", where="true")
    revoke(tmp_path / "view", [GONE])
    with pytest.raises(CorpusError, match="a view has none"):
        compact(tmp_path / "view")


def test_everything_may_be_revoked(base: Path) -> None:
    revoke(base, sorted(held(base)))
    assert compact(base).num_bytes > 0
    assert not list(base.glob("*.tar"))
    assert Corpus(base).num_clips == 0
    assert statistics(base)[-1].hours == 0
    assert verify(base).problems == {}


@pytest.mark.parametrize("name", ["train-000003.tar", "val-000012-r1.tar", "train-000003-r9.tar", "my-recordings.tar"])
def test_editions_follow_each_other(name: str) -> None:
    assert replaced_by(next_edition(name)) == name
    assert next_edition(name) != name
