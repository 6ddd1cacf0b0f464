"""A corpus as a LeRobot dataset: laid out as LeRobot's own code reads it, every row with its own picture and label."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gi_data.corpus import Corpus
from gi_data.index import IndexRow, to_table
from gi_data.lerobot_export import Exported, export_lerobot
from gi_data.lerobot_format import SCREEN, action_names, action_vectors
from gi_data.lerobot_stats import aggregate, feature_stats
from gi_data.recording import RecordingWriter
from gi_data.video import read_pictures
from gi_data.views import seen_from, write_view
from gi_model.actions import Bindings, Gamepad, InputState
from gi_model.cli import build_app
from gi_model.errors import ClipError, CorpusError
from gi_model.frames import Frame


@pytest.fixture(scope="module")
def exported(corpus_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    destination = tmp_path_factory.mktemp("lerobot") / "dataset"
    assert export_lerobot(corpus_path, destination) == [Exported(destination, 18, 540, 4)]
    return destination


def stretch(source: Path, destination: Path, first: int, num_ticks: int) -> Path:
    """A view of ticks of every clip that is long enough."""
    catalog = seen_from(destination, source)
    rows = [IndexRow.from_table(row) for row in catalog.table.to_pylist()]
    cut = [
        dataclasses.replace(row, first_tick=first, num_ticks=num_ticks, seconds=num_ticks / row.fps)
        for row in rows
        if row.num_ticks >= first + num_ticks
    ]
    write_view(destination, to_table(cut), [catalog])
    return destination


def episodes(root: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    return rows


def frames_of(root: Path, episode: dict[str, Any], fps: float = 20.0) -> list[Frame]:
    """Pictures from one time stamp to the other, as a reader finds them."""
    place = [episode[f"videos/{SCREEN}/{name}_index"] for name in ("chunk", "file")]
    path = root / "videos" / SCREEN / f"chunk-{place[0]:03d}" / f"file-{place[1]:03d}.mp4"
    start, end = (episode[f"videos/{SCREEN}/{side}_timestamp"] * 1e9 - 0.25e9 / fps for side in ("from", "to"))
    return [rgb() for t_ns, rgb in read_pictures(path) if start < t_ns < end]


def test_files_and_facts_are_those_of_version_3(exported: Path) -> None:
    files = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert files == {
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        f"videos/{SCREEN}/chunk-000/file-000.mp4",
    }
    info = json.loads((exported / "meta/info.json").read_text())
    features = info.pop("features")
    assert info == {
        "codebase_version": "v3.0",
        "robot_type": "game",
        "total_episodes": 18,
        "total_frames": 540,
        "total_tasks": 2,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": 20,
        "splits": {"train": "0:12", "val": "12:18"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    names = ["KeyW", "MouseLeft", "motion.x", "motion.y"]
    assert features["action"] == {"dtype": "float32", "shape": [4], "names": names}
    assert features[SCREEN]["dtype"] == "video"
    assert features[SCREEN]["shape"] == [32, 96, 3]
    columns = pq.read_schema(exported / "data/chunk-000/file-000.parquet").names
    assert sorted(columns) == sorted(features.keys() - {SCREEN})


def test_every_row_has_its_own_picture_and_label(exported: Path, barcodes: Any) -> None:
    rows = pq.read_table(exported / "data/chunk-000/file-000.parquet").to_pylist()
    assert [row["index"] for row in rows] == list(range(540))
    for episode in episodes(exported):
        own = rows[episode["dataset_from_index"] : episode["dataset_to_index"]]
        frames = frames_of(exported, episode)
        assert len(own) == len(frames) == episode["length"]
        for number, (row, frame) in enumerate(zip(own, frames, strict=True)):
            seen = barcodes.number(frame)
            state = barcodes.state(seen)
            assert (row["episode_index"], row["frame_index"]) == (episode["episode_index"], number)
            assert row["timestamp"] == pytest.approx(number / 20)
            assert row["gi.t_ns"] % 50_000_000 == 0
            assert InputState.from_dict(json.loads(row["gi.input"])) == state
            assert row["action"] == [float("KeyW" in state.keys), 0.0, *map(float, state.motion)]
            assert row["gi.known"]


def test_pictures_are_copied(exported: Path, corpus_path: Path, tmp_path: Path) -> None:
    corpus = Corpus(corpus_path)
    rows = {row.key: row for row in map(corpus.row, range(corpus.num_clips))}
    for episode in episodes(exported):
        (tmp_path / "clip.mp4").write_bytes(corpus.read_video(rows[episode["gi/clip_key"]]))
        stored = [rgb() for _, rgb in read_pictures(tmp_path / "clip.mp4")]
        np.testing.assert_array_equal(frames_of(exported, episode), stored)


def test_stretches_are_exported_not_their_clips(corpus_path: Path, tmp_path: Path, barcodes: Any) -> None:
    """Ticks 33 to 38: they begin in the middle of what a keyframe starts."""
    view = stretch(corpus_path, tmp_path / "view", 33, 6)
    export_lerobot(view, tmp_path / "out")
    found = episodes(tmp_path / "out")
    assert len(found) == 12
    for episode in found:
        first = int(episode["gi/recording_id"][-1]) + 40 * episode["gi/part"]
        numbers = [barcodes.number(frame) for frame in frames_of(tmp_path / "out", episode)]
        assert numbers == list(range(first + 33, first + 39))
        assert episode["gi/t0_ns"] == 50_000_000 * (first + 33)


def test_an_episode_keeps_where_it_comes_from(exported: Path, corpus_path: Path) -> None:
    corpus = Corpus(corpus_path)
    rows = {row.key: row for row in map(corpus.row, range(corpus.num_clips))}
    for episode in episodes(exported):
        row = rows[episode["gi/clip_key"]]
        for name in ("game", "license", "consent", "split", "recording_id", "part", "first_tick", "bindings"):
            assert episode[f"gi/{name}"] == getattr(row, name)
        assert episode["tasks"] == [row.game]


def test_tasks_have_an_index_that_pandas_finds(exported: Path) -> None:
    """LeRobot looks tasks up by `tasks.iloc[task_index].name`."""
    table = pq.read_table(exported / "meta/tasks.parquet")
    assert table.to_pylist() == [{"task_index": 0, "task": "arena"}, {"task_index": 1, "task": "maze"}]
    assert json.loads(table.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_statistics_of_the_dataset_are_those_of_its_rows(exported: Path) -> None:
    stats = json.loads((exported / "meta/stats.json").read_text())
    rows = np.array(pq.read_table(exported / "data/chunk-000/file-000.parquet")["action"].to_pylist())
    for name, value in {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}.items():
        np.testing.assert_allclose(stats["action"][name], value, atol=1e-9)
    assert stats["action"]["count"] == [540]
    assert np.shape(stats[SCREEN]["mean"]) == (3, 1, 1)
    assert 0 < np.min(stats[SCREEN]["mean"]) < np.max(stats[SCREEN]["mean"]) + 1e-9 < 1
    assert "gi.input" not in stats


def test_statistics_add_up() -> None:
    values = np.random.default_rng(0).normal(size=(100, 3)) * [1, 10, 0] + 1e3
    parts = [feature_stats(part) for part in np.split(values, [10, 55])]
    whole, expected = aggregate(parts), feature_stats(values)
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(whole[name], expected[name], atol=1e-9)


def test_files_are_closed_at_their_size(corpus_path: Path, tmp_path: Path, barcodes: Any) -> None:
    export_lerobot(corpus_path, tmp_path / "out", data_mb=0.01, video_mb=0.006)
    assert len(list((tmp_path / "out/data/chunk-000").iterdir())) > 2
    assert len(list((tmp_path / "out/videos" / SCREEN / "chunk-000").iterdir())) > 2
    for episode in episodes(tmp_path / "out"):
        first = int(episode["gi/recording_id"][-1]) + 40 * episode["gi/part"]
        numbers = [barcodes.number(frame) for frame in frames_of(tmp_path / "out", episode)]
        assert numbers == list(range(first, first + episode["length"]))
        path = tmp_path / "out" / f"data/chunk-000/file-{episode['data/file_index']:03d}.parquet"
        kept = pq.read_table(path, filters=[("episode_index", "==", episode["episode_index"])])
        assert kept["frame_index"].to_pylist() == list(range(episode["length"]))


def test_several_rates_become_several_datasets(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    for name, fps in (("slow", 10.0), ("fast", 17.5)):
        with RecordingWriter(tmp_path / "recordings", name, barcodes.info(fps=fps)) as writer:
            for number in range(20):
                writer.append(barcodes.frame(number), barcodes.state(number), t_ns=round(number * 1e9 / fps))
    corpus = make_corpus(tmp_path / "recordings", tmp_path / "corpus", val_fraction=0.0)
    found = export_lerobot(corpus, tmp_path / "out")
    assert [one.path.name for one in found] == ["10hz-96x32", "17.5hz-96x32"]
    assert [json.loads((one.path / "meta/info.json").read_text())["fps"] for one in found] == [10, 17.5]
    assert [barcodes.number(f) for f in frames_of(found[1].path, episodes(found[1].path)[0], 17.5)] == list(range(20))


def test_a_vector_of_one_is_a_number(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    with RecordingWriter(tmp_path / "recordings", "r", barcodes.info(bindings=Bindings({"jump": "Space"}))) as writer:
        for number in range(4):
            writer.append(barcodes.frame(number), InputState(frozenset({"Space"} if number % 2 else ())), t_ns=number)
    export_lerobot(make_corpus(tmp_path / "recordings", tmp_path / "corpus"), tmp_path / "out")
    assert pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet")["action"].to_pylist() == [0, 1, 0, 1]


def test_controls_that_nobody_bound_have_an_entry_too(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    with RecordingWriter(tmp_path / "recordings", "r", barcodes.info(), keep_unbound=True) as writer:
        writer.append(barcodes.frame(0), InputState(frozenset({"KeyP"})), t_ns=0)
    (one,) = export_lerobot(make_corpus(tmp_path / "recordings", tmp_path / "corpus"), tmp_path / "out")
    names = json.loads((one.path / "meta/info.json").read_text())["features"]["action"]["names"]
    assert names == ["KeyP", "KeyW", "MouseLeft", "motion.x", "motion.y"]
    assert pq.read_table(one.path / "data/chunk-000/file-000.parquet")["action"].to_pylist() == [[1, 0, 0, 0, 0]]


def test_all_devices_have_entries() -> None:
    bindings = Bindings.from_dict(
        {
            "digital": {"a": "KeyA", "b": "GamepadSouth"},
            "analogue": {
                "steer": {"axis": "left_stick.x", "scale": 1.0},
                "gas": {"axis": "triggers.y", "scale": 1.0},
                "zoom": {"axis": "wheel.y", "scale": 1.0},
            },
            "cursor": True,
        }
    )
    names = action_names([bindings], ["MouseLeft"])
    assert names[:3] == ["KeyA", "MouseLeft", "GamepadSouth"]
    state = InputState(
        keys=frozenset({"KeyA"}),
        wheel=(0, -2),
        cursor=(0.25, 0.5),
        gamepad=Gamepad(frozenset({"GamepadSouth"}), (-0.5, 0.1), triggers=(0.0, 0.75)),
    )
    expected = dict(zip(names, action_vectors([state, InputState()], names).T.tolist(), strict=True))
    assert expected == {
        "KeyA": [1, 0],
        "MouseLeft": [0, 0],
        "GamepadSouth": [1, 0],
        "wheel.y": [-2, 0],
        "left_stick.x": [-0.5, 0],
        "triggers.y": [0.75, 0],
        "cursor.x": [0.25, 0],
        "cursor.y": [0.5, 0],
        "cursor.visible": [1, 0],
    }


# ---------------------------------------------------------------------- the command, and bad input


def test_the_command_says_what_it_wrote(corpus_path: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(build_app(), ["export", "lerobot", str(corpus_path), str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    (facts,) = json.loads(result.stdout)
    assert facts == {"path": str(tmp_path / "out"), "num_episodes": 18, "num_frames": 540, "num_actions": 4}


def test_what_exists_is_not_written_over(corpus_path: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="exists"):
        export_lerobot(corpus_path, tmp_path)
    with pytest.raises(CorpusError, match="no corpus here"):
        export_lerobot(tmp_path, tmp_path / "out")


def test_a_damaged_clip_stops_the_export_and_nothing_stays(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    barcodes.record(tmp_path / "recordings", "r")
    corpus = make_corpus(tmp_path / "recordings", tmp_path / "corpus", shard_mb=1.0)
    shard = next(corpus.glob("*.tar"))
    content = bytearray(shard.read_bytes())
    row = Corpus(corpus).row(1)
    content[row.video_offset + row.video_size // 2] ^= 0xFF
    shard.write_bytes(content)
    with pytest.raises(ClipError, match="is damaged"):
        export_lerobot(corpus, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "recordings"]


def test_a_corpus_without_controls_cannot_be_exported(tmp_path: Path, barcodes: Any, make_corpus: Any) -> None:
    with RecordingWriter(tmp_path / "recordings", "r", barcodes.info(bindings=Bindings())) as writer:
        writer.append(barcodes.frame(0), InputState(), t_ns=0)
    with pytest.raises(CorpusError, match="no game binds a control"):
        export_lerobot(make_corpus(tmp_path / "recordings", tmp_path / "corpus"), tmp_path / "out")
