"""NitroGen's labels and somebody's video: every label at its frame, gaps left out, the drawn controller hidden."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gi_data.ingest.nitrogen import NitrogenImporter
from gi_data.ingest.nitrogen_chunks import PAD_BUTTONS, PUSHES
from gi_data.ingest.timeline import Tick, frames_at, tick_edges, ticks
from gi_data.video_writer import VideoWriter
from gi_model.actions import GAMEPAD_BUTTONS, Gamepad, InputState
from gi_model.errors import ClipError, CorpusError
from gi_model.frames import Frame

FPS, HEIGHT, WIDTH = 20, 32, 96
IMPORTER = NitrogenImporter()


def columns(num_rows: int, first: int = 0) -> dict[str, Any]:
    """Row r says first + r: in the left stick, and by the buttons that are held."""
    numbers = range(first, first + num_rows)
    names = sorted(PAD_BUTTONS)
    held: dict[str, Any] = {
        name: pa.array([int(n % len(names) == i) for n in numbers], pa.int32()) for i, name in enumerate(names)
    }
    return held | {"j_left": [[n / 1000, -n / 1000] for n in numbers], "j_right": [[0, 0]] * num_rows}


def write_chunk(source: Path, number: int, table: dict[str, Any], **changes: Any) -> Path:
    """A chunk of two seconds that begins at 2 * number seconds."""
    folder = source / "actions" / "SHARD_0000" / "v-1" / f"v-1_chunk_{number:04d}"
    folder.mkdir(parents=True)
    kind = changes.pop("kind", "raw")
    pq.write_table(pa.table(table), folder / f"actions_{kind}.parquet")
    video = {
        "start_time": 2.0 * number,
        "end_time": 2.0 * number + 2,
        "resolution": [HEIGHT, WIDTH],
        "url": "https://v",
    }
    facts = {"original_video": video, "game": "arena", "chunk_size": len(table["j_left"])} | changes
    (folder / "metadata.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def source(tmp_path: Path, barcodes: Any) -> Path:
    """Nine seconds of video at 20 fps."""
    (tmp_path / "videos").mkdir()
    writer = VideoWriter(tmp_path / "videos" / "v-1.mp4", fps=FPS, height=HEIGHT, width=WIDTH)
    for number in range(9 * FPS):
        writer.append(barcodes.frame(number))
    writer.close()
    return tmp_path


def play(source: Path) -> tuple[list[Frame], list[Tick], Any]:
    """Frames, ticks, and the recording."""
    (found,) = IMPORTER.find(source)
    recording = IMPORTER.read(found)
    edges = tick_edges(recording.start_ns, recording.end_ns, FPS)
    frames = frames_at(recording.frames(), edges[:-1].tolist())
    return list(frames), list(ticks(recording.events(), edges)), recording


def expected(number: int) -> InputState:
    name = sorted(PAD_BUTTONS)[number % len(PAD_BUTTONS)]
    triggers = (float(name == "left_trigger"), float(name == "right_trigger"))
    stick = (number / 1000, -number / 1000)
    return InputState(gamepad=Gamepad(frozenset({PAD_BUTTONS[name]}), stick, triggers=triggers))


def test_every_label_meets_its_frame(source: Path, barcodes: Any) -> None:
    """Two chunks that touch, the first one at two seconds: tick t is frame 40 + t is row t."""
    write_chunk(source, 1, columns(2 * FPS, 40))
    write_chunk(source, 2, columns(2 * FPS, 80))
    frames, states, recording = play(source)
    assert [barcodes.number(frame) for frame in frames] == list(range(40, 120))
    assert [tick.state for tick in states] == [expected(number) for number in range(40, 120)]
    assert all(tick.known for tick in states)
    assert (recording.game, recording.fps, recording.cuts) == ("arena", FPS, [])
    assert recording.extra == {"url": "https://v", "table": "raw"}
    assert recording.unknown == {}


def test_all_controls_of_a_pad_have_a_name() -> None:
    assert sorted(PAD_BUTTONS.values()) == sorted(GAMEPAD_BUTTONS)
    assert len(PAD_BUTTONS) + len(PUSHES) == 21


@pytest.mark.parametrize(("name", "push"), PUSHES.items())
def test_the_models_own_buttons_push_the_right_stick(source: Path, name: str, push: tuple[float, float]) -> None:
    write_chunk(source, 0, {"j_left": [[0, 0]] * 40, "j_right": [[0, 0]] * 40, name: [1] * 40})
    _, states, _ = play(source)
    assert {tick.state.gamepad.right_stick for tick in states if tick.state.gamepad} == {push}


def test_what_lies_between_chunks_is_cut_and_not_known(source: Path) -> None:
    write_chunk(source, 0, columns(40))
    write_chunk(source, 2, columns(40, 80))
    _, states, recording = play(source)
    assert recording.cuts == [(2_000_000_000, 4_000_000_000)]
    assert [tick.known for tick in states] == [True] * 40 + [False] * 40 + [True] * 40


def test_rounding_between_chunks_is_no_gap(source: Path) -> None:
    write_chunk(source, 0, columns(40))
    video = {"start_time": 2.001, "end_time": 4.001}
    write_chunk(source, 1, columns(40, 40), original_video=video)
    _, states, recording = play(source)
    assert recording.cuts == []
    assert all(tick.known for tick in states)


def test_processed_labels_win_and_chunks_that_failed_their_filter_are_left_out(source: Path) -> None:
    folder = write_chunk(source, 0, columns(40), kind="processed")
    pq.write_table(pa.table(columns(40, 7)), folder / "actions_raw.parquet")
    write_chunk(source, 1, columns(40, 40), kind="raw")
    write_chunk(source, 2, columns(40, 80), kind="processed")
    _, states, recording = play(source)
    assert states[0].state == expected(0)
    assert recording.extra["table"] == "processed"
    assert recording.cuts == [(2_000_000_000, 4_000_000_000)]
    assert recording.unknown["chunk without actions_processed.parquet"] == 1


def test_overlapping_chunks_give_each_frame_one_label(source: Path) -> None:
    write_chunk(source, 0, columns(40))
    write_chunk(source, 9, columns(40, 20), original_video={"start_time": 1.0, "end_time": 3.0})
    write_chunk(source, 8, columns(10, 5), original_video={"start_time": 0.25, "end_time": 0.75})
    _, states, recording = play(source)
    assert [tick.state for tick in states] == [expected(number) for number in range(60)]
    assert recording.unknown["row that overlaps the chunk before"] == 30


def test_rows_without_sound_numbers_are_not_known(source: Path) -> None:
    table = columns(40) | {"south": [0.0] * 39 + [float("nan")]}
    table["j_right"] = [None, [0.0, float("inf")], [0.5], *[[0.0, 5.0]] * 37]
    write_chunk(source, 0, table)
    _, states, recording = play(source)
    assert [tick.known for tick in states] == [False] * 3 + [True] * 36 + [False]
    assert states[5].state.gamepad is not None
    assert states[5].state.gamepad.right_stick == (0.0, 1.0)
    assert recording.unknown["row with a value that is no number"] == 4


def test_unknown_columns_are_counted(source: Path) -> None:
    write_chunk(source, 0, columns(40) | {"paddle": [1] * 40, "SOUTH": [0] * 40})
    assert play(source)[2].unknown["column paddle"] == 40


def test_the_drawn_controller_is_painted_over(source: Path) -> None:
    """Box and margin; the rest stays as it was, to the pixel."""
    write_chunk(source, 0, columns(40))
    plain, *_ = play(source)
    (source / "actions" / "SHARD_0000" / "v-1" / "v-1_chunk_0000" / "metadata.json").unlink()
    (source / "actions").rename(source / "old")
    write_chunk(source, 0, columns(40), bbox_controller_overlay=[20, 24, 30, 20])  # beyond the lower edge
    hidden, *_ = play(source)
    black = np.zeros((HEIGHT, WIDTH), dtype=bool)
    black[22:, 17:53] = True
    for before, after in zip(plain, hidden, strict=True):
        assert not after[black].any()
        np.testing.assert_array_equal(after[~black], before[~black])


# ---------------------------------------------------------------------- bad input


def test_labels_without_videos_are_no_recordings(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no labels"):
        IMPORTER.find(tmp_path)
    write_chunk(tmp_path, 0, columns(40))
    with pytest.raises(CorpusError, match="labels of 1 videos, none of them with its video"):
        IMPORTER.find(tmp_path)


def test_a_video_that_vanished_is_named(source: Path) -> None:
    write_chunk(source, 0, columns(40))
    (found,) = IMPORTER.find(source)
    (source / "videos" / "v-1.mp4").unlink()
    with pytest.raises(ClipError, match="video of v-1 is missing"):
        IMPORTER.read(found)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"original_video": None}, "does not say where it lies"),
        ({"original_video": {"start_time": "0", "end_time": 2.0}}, "does not say where it lies"),
        ({"original_video": {"start_time": True, "end_time": 2.0}}, "does not say where it lies"),
        ({"original_video": {"start_time": float("nan"), "end_time": 2.0}}, "does not say where it lies"),
        ({"original_video": {"start_time": 0, "end_time": 1e300}}, "does not say where it lies"),
        ({"original_video": {"start_time": 2.0, "end_time": 2.0}}, "absurd length"),
        ({"original_video": {"start_time": 0.0, "end_time": 80000}}, "absurd length"),
        ({"chunk_size": 1200}, "lost rows"),
        ({"bbox_controller_overlay": [0, 0, 5]}, "no sound box"),
        ({"bbox_controller_overlay": "all"}, "no sound box"),
        ({"bbox_controller_overlay": [0, 0, float("nan"), 5]}, "no sound box"),
        ({"bbox_controller_overlay": [0, 0, 5, 5], "original_video": {"start_time": 0, "end_time": 2}}, "no sound box"),
    ],
)
def test_bad_metadata_is_refused(source: Path, changes: dict[str, Any], complaint: str) -> None:
    write_chunk(source, 0, columns(40), **changes)
    with pytest.raises(ClipError, match=complaint):
        play(source)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_metadata_that_is_no_object_is_refused(source: Path, content: bytes) -> None:
    (write_chunk(source, 0, columns(40)) / "metadata.json").write_bytes(content)
    with pytest.raises(ClipError, match="metadata"):
        play(source)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"paddle": [1], "j_left": ["up"]}, "no pair of numbers"),
        ({"south": ["yes"], "j_left": [[0, 0]]}, "no number"),
        ({"paddle": [1]}, "no column has a name"),
    ],
)
def test_tables_of_other_types_are_refused(source: Path, table: dict[str, Any], complaint: str) -> None:
    folder = write_chunk(source, 0, columns(40))
    (folder / "metadata.json").write_text(json.dumps({"original_video": {"start_time": 0, "end_time": 2}}))
    pq.write_table(pa.table(table), folder / "actions_raw.parquet")
    with pytest.raises(ClipError, match=complaint):
        play(source)


def test_a_cut_table_is_refused(source: Path) -> None:
    path = write_chunk(source, 0, columns(40)) / "actions_raw.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ClipError, match="cannot be read"):
        play(source)


@pytest.mark.parametrize("num_rows", [0, 100_001])
def test_absurdly_long_tables_are_refused(source: Path, num_rows: int) -> None:
    path = write_chunk(source, 0, columns(40)) / "actions_raw.parquet"
    pq.write_table(pa.table({"south": np.zeros(num_rows, dtype=np.int32)}), path)
    with pytest.raises(ClipError, match="absurd length"):
        play(source)


def test_a_video_without_labels_is_refused(source: Path) -> None:
    (write_chunk(source, 0, columns(40)) / "actions_raw.parquet").unlink()
    with pytest.raises(ClipError, match="no labels of v-1"):
        play(source)
