"""The law of transcoding: at its own size and rate, every label of a recording comes out as it went in."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gi_data.ingest.convert import IngestConfig
from gi_data.ingest.ingest import IngestPlan, ingest
from gi_data.ingest.recordings import RecordingsImporter
from gi_data.inputs_table import Labels
from gi_data.metadata import ClipMetadata
from gi_data.recording import RecordingWriter
from gi_data.video import read_pictures
from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, AxisBinding, Bindings, InputState
from gi_model.actions.bindings import MOUSE_AXES, PAD_AXES
from tests.model.strategies import commanded, gamepads, keyboards

TICK_NS = 50_000_000
EVERYTHING = Bindings(
    {name: name for name in (*KEYS, *MOUSE_BUTTONS, *GAMEPAD_BUTTONS)},
    {axis: AxisBinding(axis, 1.0) for axis in (*MOUSE_AXES, *PAD_AXES)},
)
OWN_SIZE = IngestConfig(height=32, width=96, clip_ticks=30)


def read(directory: Path, recording_id: str) -> list[tuple[int, InputState, bool]]:
    """Times, labels, and whether they are known, of all clips."""
    rows: list[tuple[int, InputState, bool]] = []
    for path in sorted(directory.glob(f"{recording_id}-*.inputs.jsonl")):
        labels = Labels.from_lines(path.read_bytes(), path.name)
        rows += zip(labels.t_ns.tolist(), labels.inputs, labels.known.tolist(), strict=True)
    return rows


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([keyboards, gamepads, commanded]).flatmap(lambda one: st.lists(one, min_size=20, max_size=45)),
    st.sampled_from([16.0, 17.5, 20.0, 30.0]),
    st.sets(st.integers(0, 44)),
)
def test_at_its_own_size_and_rate_every_label_is_kept(
    tmp_path_factory: pytest.TempPathFactory, barcodes: Any, stream: list[InputState], fps: float, unknown: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("own")
    info = barcodes.info(bindings=EVERYTHING, fps=fps)
    if fps > len(stream):
        stream = stream * 2
    with RecordingWriter(folder / "in", "r", info, clip_ticks=17) as writer:
        for number, state in enumerate(stream):
            t_ns = 7 + round(number * 1e9 / fps) + 1_000_000 * (number % 5)  # a real clock wobbles
            writer.append(barcodes.frame(number), state, t_ns=t_ns, known=number not in unknown)
    (one,) = ingest(IngestPlan(RecordingsImporter(), folder / "in", folder / "out", OWN_SIZE)).made
    assert one.fps == fps
    assert [row[1:] for row in read(folder / "out", "r")] == [row[1:] for row in read(folder / "in", "r")]
    shown = [
        barcodes.number(rgb()) for path in sorted((folder / "out").glob("*.mp4")) for _, rgb in read_pictures(path)
    ]
    assert shown == list(range(len(stream)))


def test_a_gap_stays_a_gap(tmp_path: Path, barcodes: Any) -> None:
    with RecordingWriter(tmp_path / "in", "r", barcodes.info()) as writer:
        for number in [*range(30), *range(50, 90)]:
            writer.append(barcodes.frame(number), barcodes.state(number), t_ns=number * TICK_NS)
            if number == 29:
                writer.cut()
    (one,) = ingest(IngestPlan(RecordingsImporter(), tmp_path / "in", tmp_path / "out", OWN_SIZE)).made
    assert (one.ticks, one.cut_s, one.lost_s) == (70, 1.0, 0.0)
    assert read(tmp_path / "out", "r") == read(tmp_path / "in", "r")
    shown = [
        barcodes.number(rgb()) for path in sorted((tmp_path / "out").glob("*.mp4")) for _, rgb in read_pictures(path)
    ]
    assert shown == [*range(30), *range(50, 90)]


def test_another_size_and_rate(recordings: Path, tmp_path: Path, barcodes: Any) -> None:
    report = ingest(IngestPlan(RecordingsImporter(), recordings, tmp_path, IngestConfig(height=16, width=48, fps=10.0)))
    assert len(report.made) == 6
    rows = read(tmp_path, "maze-1")
    before = read(recordings, "maze-1")
    assert [t_ns for t_ns, _, _ in rows] == [t_ns for t_ns, _, _ in before[::2]]
    total = sum(barcodes.number_of(state) for _, state, _ in rows)
    assert total == sum(barcodes.number_of(state) for _, state, _ in before)


def test_where_it_came_from_stays_known(recordings: Path, tmp_path: Path) -> None:
    ingest(IngestPlan(RecordingsImporter(), recordings, tmp_path, OWN_SIZE, limit=1))
    info = ClipMetadata.from_json((tmp_path / "arena-0-0000.json").read_bytes(), "arena-0").info
    assert (info.game, info.license, info.source) == ("arena", "CC0-1.0", "recording")
    assert info.extra["recorded_by"] == "test"
    assert not list(tmp_path.glob("maze*"))


@pytest.mark.parametrize("damage", ["labels", "missing", "metadata", "unfinished"])
def test_a_damaged_recording_is_reported(tmp_path: Path, barcodes: Any, damage: str) -> None:
    barcodes.record(tmp_path / "in", "good")
    barcodes.record(tmp_path / "in", "bad")
    labels, part = tmp_path / "in" / "bad-0001.inputs.jsonl", tmp_path / "in" / "bad-0001.json"
    if damage == "labels":
        labels.write_bytes(labels.read_bytes().replace(b'"KeyW"', b'"KeyS"', 1))
    elif damage == "missing":
        (tmp_path / "in" / "bad-0001.mp4").unlink()
    elif damage == "metadata":
        part.write_bytes(b"{}")
    else:
        first = tmp_path / "in" / "bad-0000.json"
        first.write_bytes(first.read_bytes().replace(b'"num_parts": 3', b'"num_parts": null'))
    report = ingest(IngestPlan(RecordingsImporter(), tmp_path / "in", tmp_path / "out", OWN_SIZE))
    assert [one.recording_id for one in report.made] == ["good"]
    assert len(report.failures) == (0 if damage == "unfinished" else 1)
    assert not list((tmp_path / "out").glob("bad*"))


def test_a_clip_with_fewer_pictures_than_labels_is_kept_as_far_as_it_goes(tmp_path: Path, barcodes: Any) -> None:
    barcodes.record(tmp_path / "in", "r")
    barcodes.record(tmp_path / "other", "r", num_ticks=10)
    (tmp_path / "in" / "r-0001.mp4").write_bytes((tmp_path / "other" / "r-0000.mp4").read_bytes())
    (one,) = ingest(IngestPlan(RecordingsImporter(), tmp_path / "in", tmp_path / "out", OWN_SIZE)).made
    assert one.ticks == 50
    assert "ends early" in one.note
