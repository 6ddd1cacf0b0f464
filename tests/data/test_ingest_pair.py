"""A video and a text file of inputs: what anyone can write is read; what is broken is named by line."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_data.ingest.convert import IngestConfig
from gi_data.ingest.events import Deflect, Move, Point, Press, Release, Scroll
from gi_data.ingest.ingest import IngestPlan, ingest
from gi_data.ingest.pair import PairImporter
from gi_data.ingest.pair_csv import InputsCsv
from gi_data.inputs_table import Labels
from gi_data.metadata import ClipMetadata
from gi_data.video import read_pictures
from gi_data.video_writer import VideoWriter
from gi_model.errors import ClipError, CorpusError, GiError

EVERYTHING = """\
# game: lessons
# license: CC-BY-4.0

t_s,event,value
0.000,press,KeyW
0.25,move,12,-3.5
0.25,scroll,0,1
0.3, stick, left, -1, 0.5
0.3,stick,right,0,0
0.4,trigger,left,0.5
0.5,trigger,right,1
0.6,cursor,0.5,1
0.7,cursor,,
# a remark
0.8,release,KeyW
0.8,press,KeyOfMyHeart
"""


def write(path: Path, text: str | bytes) -> InputsCsv:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return InputsCsv(path)


def write_video(path: Path, barcodes: Any, *, num_frames: int = 60) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = VideoWriter(path, fps=20.0, height=barcodes.height, width=barcodes.width)
    for number in range(num_frames):
        writer.append(barcodes.frame(number))
    writer.close()


def test_every_event_can_be_written(tmp_path: Path) -> None:
    inputs = write(tmp_path / "a.csv", EVERYTHING)
    assert inputs.header() == {"game": "lessons", "license": "CC-BY-4.0"}
    assert inputs.check() == (800_000_000, {"KeyOfMyHeart": 1})
    ms = 1_000_000
    assert list(inputs.events()) == [
        Press(0, "KeyW"),
        Move(250 * ms, 12, -3.5),
        Scroll(250 * ms, 0, 1),
        Deflect(300 * ms, left_stick=(-1, 0.5)),
        Deflect(300 * ms, right_stick=(0, 0)),
        Deflect(400 * ms, triggers=(0.5, 0)),
        Deflect(500 * ms, triggers=(0.5, 1)),
        Point(600 * ms, (0.5, 1)),
        Point(700 * ms, None),
        Release(800 * ms, "KeyW"),
    ]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("0.5", "1 column"),
        ("0.5,press", "3 for press"),
        ("0.5,press,KeyW,KeyA", "3 for press"),
        ("0.5,move,1", "4 for move"),
        ("nan,press,KeyW", "a number from"),
        ("inf,press,KeyW", "a number from"),
        ("soon,press,KeyW", "soon"),
        ("1e300,press,KeyW", "a number from"),
        ("0.5,move,nan,0", "a number from"),
        ("0.5,move,1e9,0", "a number from"),
        ("0.5,move,,0", "a number from"),
        ("0.5,stick,middle,0,0", "left or right"),
        ("0.5,stick,left,0,1.5", "a number from -1 to 1"),
        ("0.5,trigger,left,-1", "a number from 0 to 1"),
        ("0.5,cursor,2,0", "a number from 0 to 1"),
        ("0.5,cursor,0,", "a number from 0 to 1"),
        ("0.5,jump,KeyW", "one of press, release"),
        ("0.1,press,KeyA", "times that do not fall"),
        ('0.5,press,"KeyW', "columns"),
        ("0.5,press," + "W" * 2000, "a line without end"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str, match: str) -> None:
    inputs = write(tmp_path / "a.csv", f"0.2,press,KeyW\n{line}\n")
    with pytest.raises(ClipError, match=match) as error:
        inputs.check()
    assert "a.csv, line 2" in str(error.value)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\xfe\x00", b"\x00" * 64, b"{}", b'"' * 900])
def test_what_is_no_csv_at_all_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ClipError, match=r"a\.csv"):
        write(tmp_path / "a.csv", content).check()


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="absurd size"):
        write(tmp_path / "a.csv", b"")


@given(
    st.binary(min_size=1, max_size=300)
    | st.text(alphabet='0123456789.,-"\n\rpres mov#:KeyW', min_size=1).map(str.encode)
)
def test_no_bytes_crash_it(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    inputs = write(tmp_path_factory.getbasetemp() / "hostile.csv", content)
    try:
        inputs.header()
        inputs.check()
    except GiError:
        return
    list(inputs.events())


def test_files_written_on_windows_are_read(tmp_path: Path) -> None:
    inputs = write(tmp_path / "a.csv", b"\xef\xbb\xbf" + EVERYTHING.replace("\n", "\r\n").encode())
    assert inputs.header()["game"] == "lessons"
    assert inputs.check()[0] == 800_000_000


def test_both_layouts_are_found_with_ids_of_their_own(tmp_path: Path, barcodes: Any) -> None:
    for name in ("run.mp4", "deep/er/video.mp4", "Süß & co.mkv", "run/video.mp4", "no csv.mp4"):
        write_video(tmp_path / name, barcodes, num_frames=1)
    for name in ("run.inputs.csv", "deep/er/inputs.csv", "Süß & co.inputs.csv", "run/inputs.csv"):
        (tmp_path / name).write_text("0,press,KeyW\n")
    (tmp_path / "run" / "inputs.csv").rename(tmp_path / "run" / "video.inputs.csv")
    ids = {str(found.path.relative_to(tmp_path)): found.recording_id for found in PairImporter().find(tmp_path)}
    assert ids["run.mp4"] == "run"
    assert ids["deep/er/video.mp4"] == "deep_er"
    assert ids["Süß & co.mkv"] == "S_co"
    assert len(set(ids.values())) == len(ids) == 4
    assert PairImporter().find(tmp_path / "run.mp4")[0].recording_id == "run"
    assert PairImporter().find(tmp_path) == PairImporter().find(tmp_path)


def test_a_pair_becomes_a_recording(tmp_path: Path, barcodes: Any) -> None:
    write_video(tmp_path / "src" / "run.mp4", barcodes)
    moves = "\n".join(f"{n / 20:.3f},move,{n % 16},{n // 16}" for n in range(60))
    (tmp_path / "src" / "run.inputs.csv").write_text(f"# game: count\n# consent: mine\n{moves}\n")
    plan = IngestPlan(PairImporter(), tmp_path / "src", tmp_path / "out", IngestConfig(height=32, width=96))
    (one,) = ingest(plan).made
    assert one.ticks == 60
    labels = Labels.from_lines((tmp_path / "out" / "run-0000.inputs.jsonl").read_bytes(), "run")
    shown = [barcodes.number(rgb()) for _, rgb in read_pictures(tmp_path / "out" / "run-0000.mp4")]
    assert shown == [barcodes.number_of(state) for state in labels.inputs] == list(range(60))
    info = ClipMetadata.from_json((tmp_path / "out" / "run-0000.json").read_bytes(), "run").info
    assert (info.game, info.consent, info.license, info.source) == ("count", "mine", "unknown", "pair")


def test_a_video_that_is_none_or_is_cut_off(tmp_path: Path, barcodes: Any) -> None:
    source = tmp_path / "src"
    write_video(source / "whole.mp4", barcodes, num_frames=400)
    content = (source / "whole.mp4").read_bytes()
    (source / "half.mp4").write_bytes(content[: len(content) // 2])
    (source / "none.mp4").write_bytes(b"not a video" * 100)
    (source / "empty.mp4").write_bytes(b"")
    for name in ("whole", "half", "none", "empty"):
        (source / f"{name}.inputs.csv").write_text("0,press,KeyW\n19.9,release,KeyW\n")
    report = ingest(IngestPlan(PairImporter(), source, tmp_path / "out", IngestConfig(height=32, width=96)))
    assert [one.recording_id for one in report.failures] == ["empty", "none"]
    half, whole = report.made
    assert whole.ticks == 400
    assert 150 < half.ticks < 250
    shown = [barcodes.number(rgb()) for _, rgb in read_pictures(tmp_path / "out" / "half-0000.mp4")]
    assert shown[:100] == list(range(100))


def test_a_folder_without_pairs_is_refused(tmp_path: Path, barcodes: Any) -> None:
    write_video(tmp_path / "src" / "alone.mp4", barcodes, num_frames=1)
    with pytest.raises(CorpusError, match="no recordings of format pair"):
        ingest(IngestPlan(PairImporter(), tmp_path / "src", tmp_path / "out"))
