"""Laws of labelling: deterministic, resumable to the same bytes, frames untouched, true labels kept."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from gi_data.catalog import Catalog
from gi_data.confidence_table import read_confidence
from gi_data.corpus import Corpus
from gi_data.relabel import ShardPlan, plan_shards, strip_labels, write_shard
from gi_data.shards import refresh
from gi_data.verification import verify
from gi_data.views import seen_from, subset, write_view
from gi_model.actions import NEUTRAL
from gi_model.checkpoint import read_fingerprint, save_policy
from gi_model.config import preset
from gi_model.errors import CheckpointError, ConfigError, CorpusError
from gi_model.policy import Policy
from gi_train.label import LabelPlan, LabelReport, label
from gi_train.labelled_part import choose_recordings

IDM = preset("debug").replace(height=32, width=48, window_ticks=6, lookahead_ticks=5, past_actions="none")
SHARD_MB = 0.02


@pytest.fixture(scope="module")
def idm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with an opinion."""
    torch.manual_seed(0)
    policy = Policy(IDM)
    with torch.no_grad():
        policy.decoder.head.weight.mul_(20)
    folder = tmp_path_factory.mktemp("idm") / "checkpoint"
    save_policy(policy, folder)
    return folder


@pytest.fixture(scope="module")
def video(corpus_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus with the labels of one training recording a game."""
    out, corpus = tmp_path_factory.mktemp("video"), Corpus(corpus_path)
    kept = choose_recordings(corpus, 0.3)
    assert len(kept) == 2
    strip_labels(corpus, out, lambda row: row.recording_id in kept)
    refresh(out)
    return out


def run(video: Path, idm: Path, out: Path, **changes: object) -> LabelReport:
    return label(LabelPlan(str(video), idm, out, shard_mb=SHARD_MB, **changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def labelled(video: Path, idm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("labelled")
    run(video, idm, out)
    return out


def shards_of(video: Path) -> list[str]:
    return [shard.name for shard in plan_shards(Corpus(video), shard_mb=SHARD_MB)]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_stripping_takes_the_labels_out_of_the_bytes_of_training_clips_only(video: Path, corpus_path: Path) -> None:
    corpus, before = Corpus(video), Corpus(corpus_path)
    kept = choose_recordings(before, 0.3)
    originals = {before.row(i).key: before.row(i) for i in range(before.num_clips)}
    for clip_id in range(corpus.num_clips):
        row = corpus.row(clip_id)
        labels, true = corpus.read_labels(row), before.read_labels(originals[row.key])
        if row.split == "val" or row.recording_id in kept:
            assert labels.inputs == true.inputs
            assert labels.known.all()
        else:
            assert set(labels.inputs) == {NEUTRAL}
            assert not labels.known.any()
            assert row.demonstrator == "unknown"
        assert (labels.t_ns == true.t_ns).all()


def test_videos_are_copied_byte_for_byte_and_every_hash_holds(labelled: Path, video: Path) -> None:
    new, old = Corpus(labelled), Corpus(video)
    videos = [{c.row(i).key: c.read_video(c.row(i)) for i in range(c.num_clips)} for c in (new, old)]
    assert videos[0] == videos[1]
    assert len(new.manifest.shards) > len(old.manifest.shards)
    assert not verify(labelled).problems


def test_unlabelled_ticks_get_labels_but_for_the_last_of_a_clip(labelled: Path, video: Path) -> None:
    corpus, before = Corpus(labelled), Corpus(video)
    old = {before.row(i).key: before.read_labels(before.row(i)) for i in range(before.num_clips)}
    num_new = 0
    for clip_id in range(corpus.num_clips):
        row = corpus.row(clip_id)
        labels, was = corpus.read_labels(row), old[row.key]
        assert (labels.known[was.known]).all()
        if was.known.any():
            assert labels.inputs == was.inputs  # true labels are kept
            continue
        num_new += 1
        assert labels.known[:-1].all()
        assert not labels.known[-1]
        assert labels.inputs[-1] == NEUTRAL
        assert len(set(labels.inputs)) > 1
    assert num_new


def test_provenance_names_the_model(labelled: Path, idm: Path) -> None:
    corpus, fingerprint = Corpus(labelled), read_fingerprint(idm)
    by_model = [row for row in map(corpus.row, range(corpus.num_clips)) if row.demonstrator.startswith("idm:")]
    assert by_model
    for row in by_model:
        extra = corpus.read_metadata(row).info.extra
        assert row.demonstrator == f"idm:{fingerprint[:12]}"
        assert extra["labels_by"] == f"idm:{fingerprint}"
        assert extra["labels_by_idm"] == row.num_ticks - 1


def test_confidence_is_kept_for_every_tick(labelled: Path, video: Path) -> None:
    table = read_confidence(labelled, shards_of(video))
    assert len(table) == Catalog.open(labelled).manifest.num_ticks
    answered = np.array([author == "idm" for author in table["author"].to_pylist()])
    unseen = np.array([author == "unseen" for author in table["author"].to_pylist()])
    confidence = table["confidence"].to_numpy(zero_copy_only=False)
    assert ((confidence[answered] > 0) & (confidence[answered] <= 1)).all()
    assert np.isnan(confidence[~answered & ~unseen]).all()
    corpus = Corpus(video)
    assert unseen.sum() == sum(corpus.row(i).known_ratio == 0 for i in range(corpus.num_clips))


def test_labelling_twice_gives_the_same_bytes_however_many_processes(
    labelled: Path, video: Path, idm: Path, tmp_path: Path
) -> None:
    run(video, idm, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(labelled)


@pytest.mark.slow  # two processes import torch
def test_processes_write_what_one_process_writes(labelled: Path, video: Path, idm: Path, tmp_path: Path) -> None:
    run(video, idm, tmp_path / "parallel", workers=2)
    assert contents(tmp_path / "parallel") == contents(labelled)


def test_a_killed_labelling_goes_on_to_the_same_bytes_and_keeps_what_was_finished(
    labelled: Path, video: Path, idm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gi_train.label as module

    out, written = tmp_path / "killed", list[str]()

    def die(corpus: Corpus, plan: ShardPlan, *rest: object, **more: object) -> None:
        if len(written) == 1:
            (out / (plan.name + ".unfinished")).write_bytes(b"half a shard")
            raise KeyboardInterrupt
        written.append(plan.name)
        write_shard(corpus, plan, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_shard", die)
    with pytest.raises(KeyboardInterrupt):
        run(video, idm, out)
    assert not (out / "manifest.json").exists()
    made = (out / written[0]).stat().st_mtime_ns
    monkeypatch.setattr(module, "write_shard", write_shard)
    run(video, idm, out)
    assert (out / written[0]).stat().st_mtime_ns == made
    assert contents(out) == contents(labelled)


def test_only_sure_answers_become_labels(video: Path, idm: Path, tmp_path: Path) -> None:
    everything = run(video, idm, tmp_path / "all").ticks
    table = read_confidence(tmp_path / "all", shards_of(video))
    sure = np.nanmedian(table["confidence"].to_numpy(zero_copy_only=False))
    report = run(video, idm, tmp_path / "sure", min_confidence=float(sure))
    assert report.ticks["idm"] + report.ticks["unsure"] == everything["idm"]
    assert 0 < report.ticks["unsure"] < everything["idm"]
    assert report.confidence > sure
    corpus = Corpus(tmp_path / "sure")
    for clip_id in range(corpus.num_clips):
        labels = corpus.read_labels(corpus.row(clip_id))
        assert all(state == NEUTRAL for state, known in zip(labels.inputs, labels.known, strict=True) if not known)


def test_true_labels_are_replaced_only_when_asked(video: Path, idm: Path, tmp_path: Path) -> None:
    report = run(video, idm, tmp_path / "replaced", replace_known=True)
    assert report.ticks["player"] == 0
    assert report.ticks["unseen"] == Corpus(video).num_clips


def test_what_a_view_leaves_out_stays_unknown(video: Path, idm: Path, tmp_path: Path) -> None:
    """A stretch of a clip is labelled; its other ticks, which curation refused, are not, whatever was known of them."""
    view = tmp_path / "view"
    subset(video, view, where="known_ratio = 0")
    catalog = seen_from(tmp_path / "cut", view)
    write_view(tmp_path / "cut", cut(catalog.table.slice(0, 1), first=5, num_ticks=20), [catalog])
    run(tmp_path / "cut", idm, tmp_path / "out")
    corpus = Corpus(tmp_path / "out")
    labels = corpus.read_labels(corpus.row(0))
    assert labels.known.nonzero()[0].tolist() == list(range(5, 24))  # of 5 ... 24, the last shows in no frame of it


def cut(table: pa.Table, *, first: int, num_ticks: int) -> pa.Table:
    for name, value in (("first_tick", first), ("num_ticks", num_ticks)):
        table = table.set_column(table.schema.get_field_index(name), name, pa.array([value] * len(table), pa.int64()))
    return table


def test_a_policy_cannot_label(video: Path, tmp_path: Path) -> None:
    save_policy(Policy(preset("debug")), tmp_path / "policy")
    with pytest.raises(ConfigError, match="a policy cannot label"):
        run(video, tmp_path / "policy", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_another_size_sees_resized_frames(video: Path, tmp_path: Path) -> None:
    save_policy(Policy(IDM.replace(height=36, width=64)), tmp_path / "idm")
    assert run(video, tmp_path / "idm", tmp_path / "out").ticks["idm"] > 0


def test_a_model_of_another_action_space_is_refused(video: Path, idm: Path, tmp_path: Path) -> None:
    shutil.copytree(idm, tmp_path / "idm")
    path = tmp_path / "idm" / "action_space.json"
    path.write_text(path.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(CheckpointError, match="another action space"):
        run(video, tmp_path / "idm", tmp_path / "out")


def test_labels_made_another_way_are_not_mixed(labelled: Path, video: Path, idm: Path, tmp_path: Path) -> None:
    shutil.copytree(labelled, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"made another way.*min_confidence"):
        run(video, idm, tmp_path / "out", min_confidence=0.5)


def test_a_corpus_of_another_kind_is_not_overwritten(video: Path, idm: Path, tmp_path: Path) -> None:
    shutil.copytree(video, tmp_path / "foreign")
    (tmp_path / "foreign" / "relabelling.json").unlink()
    with pytest.raises(CorpusError, match="corpus of another kind"):
        run(video, idm, tmp_path / "foreign")


def test_a_damaged_clip_is_named_and_other_shards_are_kept(video: Path, idm: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(video, broken)
    corpus = Corpus(broken)
    row = next(row for row in map(corpus.row, range(corpus.num_clips)) if row.known_ratio == 0)
    with (broken / row.shard).open("r+b") as file:
        file.seek(row.video_offset + 40)
        file.write(b"damaged")
    with pytest.raises(CorpusError, match=f"(?s)shards could not be labelled.*{row.key}"):
        run(broken, idm, tmp_path / "out")
    assert list((tmp_path / "out").glob("*.tar"))


@pytest.mark.parametrize("confidence", [-0.1, 1.5])
def test_a_confidence_is_a_probability(confidence: float) -> None:
    with pytest.raises(ConfigError, match="0 to 1"):
        LabelPlan("corpus", Path("idm"), Path("out"), min_confidence=confidence)


@pytest.mark.parametrize("share", [0.0, 1.2])
def test_a_share_of_labels_is_a_share(corpus_path: Path, share: float) -> None:
    with pytest.raises(ConfigError, match="share of labels"):
        choose_recordings(Corpus(corpus_path), share)
