"""Play that pages send: every frame keeps its label, what is not bound never gets in, what is lost leaves a gap."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gi_data.ingest.page import PageImporter, Upload, chunk_path, make_recording
from gi_data.ingest.page_chunk import MAX_CHUNK_BYTES, PageChunk
from gi_data.inputs_table import Labels
from gi_data.metadata import ClipMetadata
from gi_data.video import decode
from gi_model.actions import AxisBinding, Bindings
from gi_model.errors import ClipError
from tests.conftest import HEIGHT, WIDTH, Barcodes
from tests.data.page_chunks import TICK_US, chunks_of, jpeg_of, pack, spool, upload_of

FRAME = jpeg_of(Barcodes().frame(5))


def play_of(out: Path, barcodes: Barcodes) -> tuple[list[int], list[int], list[int]]:
    """Of all clips: the numbers in the pictures, those of the labels, and the ticks."""
    seen, said, ticks = [], [], []
    for path in sorted(out.glob("page-1-*.json")):
        labels = Labels.from_lines(path.with_name(f"{path.stem}.inputs.jsonl").read_bytes(), path.stem)
        video = path.with_suffix(".mp4").read_bytes()
        frames = decode(video, path.stem, frames=range(len(labels)), height=HEIGHT, width=WIDTH)
        seen += [barcodes.number(frame) for frame in frames]
        said += [barcodes.number_of(state) for state in labels.inputs]
        ticks += [int(t_ns) // (TICK_US * 1000) for t_ns in labels.t_ns]
        assert all(state == barcodes.state(barcodes.number_of(state)) for state in labels.inputs)
    return seen, said, ticks


def test_every_frame_meets_its_own_label(tmp_path: Path, barcodes: Barcodes) -> None:
    upload = upload_of(barcodes, end_us=90 * TICK_US)
    made = make_recording(spool(tmp_path / "spool", upload, chunks_of(barcodes, range(90))), tmp_path, clip_ticks=40)
    assert (made.failure, made.ticks, made.lost_s) == ("", 90, 0.0)
    seen, said, ticks = play_of(tmp_path, barcodes)
    assert seen == said == ticks == list(range(90))


def test_without_its_end_a_recording_lacks_the_last_tick_only(tmp_path: Path, barcodes: Barcodes) -> None:
    folder = spool(tmp_path / "spool", upload_of(barcodes), chunks_of(barcodes, range(40)))
    assert make_recording(folder, tmp_path).ticks == 39


@pytest.mark.parametrize("lost", [[0], [3], [2, 3, 5], [8]])
def test_a_lost_chunk_is_a_gap_and_spoils_nothing_around_it(
    tmp_path: Path, barcodes: Barcodes, lost: list[int]
) -> None:
    upload = upload_of(barcodes, end_us=90 * TICK_US)
    folder = spool(tmp_path / "spool", upload, chunks_of(barcodes, range(90)), without=lost)
    make_recording(folder, tmp_path)
    seen, said, ticks = play_of(tmp_path, barcodes)
    assert seen == said == ticks
    missing = {tick for chunk in lost for tick in range(10 * chunk, 10 * chunk + 10)}
    borders = {10 * chunk - 1 for chunk in lost}  # its frame is there, but not all that was done in it
    assert set(range(90)) - missing - borders <= set(ticks)
    assert not missing & set(ticks)


def test_it_can_be_made_again_after_a_crash(tmp_path: Path, barcodes: Barcodes) -> None:
    folder = spool(tmp_path / "spool", upload_of(barcodes), chunks_of(barcodes, range(60)))
    make_recording(folder, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.glob("page-1-*.jsonl")}
    (tmp_path / "page-1-0001.draft.json").write_text("{}")
    make_recording(folder, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("page-1-*.jsonl")} == first
    assert not list(tmp_path.glob("*.draft.json"))


def test_a_clip_says_who_agreed_to_what(tmp_path: Path, barcodes: Barcodes) -> None:
    upload = upload_of(barcodes, consent="given by kim", license="CC-BY-4.0", extra={"player": "kim", "score": 7.0})
    make_recording(spool(tmp_path / "spool", upload, chunks_of(barcodes, range(40))), tmp_path)
    info = ClipMetadata.from_json((tmp_path / "page-1-0000.json").read_bytes(), "page-1-0000").info
    assert (info.game, info.source, info.demonstrator) == ("web/barcode", "page", "human")
    assert (info.consent, info.license) == ("given by kim", "CC-BY-4.0")
    assert info.extra["player"] == "kim"
    assert info.extra["score"] == 7.0


def test_the_wheel_turns_where_it_is_bound(tmp_path: Path, barcodes: Barcodes) -> None:
    zoom = Bindings({"forward": "KeyW"}, {"zoom": AxisBinding("wheel.y", 1.0, "notch")})
    frames = [(tick * TICK_US, FRAME) for tick in range(30)]
    chunk = pack([[4 * TICK_US, "wheel", 3, -2], [5 * TICK_US, "move", 9, 9]], frames)
    make_recording(spool(tmp_path / "spool", upload_of(barcodes, bindings=zoom), [chunk]), tmp_path)
    labels = Labels.from_lines((tmp_path / "page-1-0000.inputs.jsonl").read_bytes(), "page-1-0000")
    assert [state.to_dict() for state in labels.inputs[3:6]] == [{}, {"wheel": [0, -2]}, {}]


def test_an_upload_is_read_as_written(tmp_path: Path, barcodes: Barcodes) -> None:
    upload = upload_of(barcodes, end_us=3)
    upload.write(tmp_path)
    assert Upload.read(tmp_path) == upload
    (found,) = PageImporter().find(spool(tmp_path / "all" / "one", upload, []).parent)
    assert found.recording_id == "page-1"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"recording_id": "../up"}'])
def test_a_broken_upload_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "upload.json").write_bytes(content)
    with pytest.raises(ClipError, match=tmp_path.name):
        Upload.read(tmp_path)


def test_an_upload_without_a_picture_makes_nothing(tmp_path: Path, barcodes: Barcodes) -> None:
    folder = spool(tmp_path / "spool", upload_of(barcodes), [pack([[0, "down", "KeyW"]], [])])
    assert "no picture" in make_recording(folder, tmp_path).failure
    assert not list(tmp_path.glob("page-1-*"))


# ---- chunks of strangers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunk", "why"),
    [
        (b"", "0 bytes"),
        (b"\xff\xff\xff\xff{}", "JSON|Expecting|extra|Unterminated|decode|has"),
        (b"\x02\x00\x00\x00[]", "a head has"),
        (bytes(MAX_CHUNK_BYTES + 1), "bytes"),
        (pack([[5, "down", "KeyQQ"]], []), "unknown control"),
        (pack([[5, "hold", "KeyW"]], []), "unknown event"),
        (pack([[5, "move", 1.5, 0]], []), "unknown event"),
        (pack([[5, "move", 40000, 0]], []), "unknown event"),
        (pack([[5, "down", "KeyW"], [4, "up", "KeyW"]], []), "time 4"),
        (pack([[-1, "down", "KeyW"]], []), "time -1"),
        (pack([[True, "down", "KeyW"]], []), "time True"),
        (pack([7], []), "chunk"),
        (pack([], [(9, FRAME), (9, FRAME)]), "time 9"),
        (pack([], [(9, FRAME)])[:-1], "cut off"),
        (pack([], [(9, FRAME)]) + b"x", "too many"),
        (pack([[5, "down", "KeyW"]] * 2001, []), "at most 2000"),
        (pack([], [], held=["KeyW", "nope"]), "unknown control"),
    ],
)
def test_what_is_no_chunk_is_refused_in_words(chunk: bytes, why: str) -> None:
    with pytest.raises(ClipError, match=why):
        PageChunk.parse(chunk)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 60), st.integers(0, 40))
def test_no_bytes_do_anything_but_be_read_or_refused(noise: bytes, at: int, cut: int) -> None:
    good = pack([[5, "down", "KeyW"], [9, "move", 3, 4]], [(0, FRAME)], held=["MouseLeft"])
    for data in (noise, good[:at] + noise + good[at + cut :]):
        try:
            PageChunk.parse(data)
        except ClipError as error:
            assert "chunk" in str(error)  # noqa: PT017 (either outcome is right)


@pytest.mark.parametrize(
    ("chunk", "why"),
    [
        (pack([[5, "down", "KeyP"]], []), "KeyP"),
        (pack([[5, "up", "KeyP"]], []), "KeyP"),
        (pack([], [], held=["Enter"]), "Enter"),
        (pack([], [(0, FRAME[: len(FRAME) // 3])]), "picture|JPEG"),
        (pack([], [(0, b"GIF89a")]), "picture"),
        (pack([], [(0, jpeg_of(Barcodes().frame(1)[:16]))]), "picture"),
    ],
)
def test_unbound_keys_and_wrong_pictures_are_refused(barcodes: Barcodes, chunk: bytes, why: str) -> None:
    with pytest.raises(ClipError, match=why):
        PageChunk.parse(chunk).check(barcodes.bindings, height=HEIGHT, width=WIDTH)


@pytest.mark.parametrize("number", [-1, 100_000])
def test_chunks_have_numbers_in_bounds(tmp_path: Path, number: int) -> None:
    with pytest.raises(ClipError, match="no such chunk"):
        chunk_path(tmp_path, number)


def test_hostile_order_never_ends_in_a_recording_of_wrong_labels(tmp_path: Path, barcodes: Barcodes) -> None:
    chunks = chunks_of(barcodes, range(40))
    later: Any = [chunks[1], chunks[0], *chunks[2:]]
    made = make_recording(spool(tmp_path / "spool", upload_of(barcodes), later), tmp_path)
    assert made.failure
    assert not list(tmp_path.glob("page-1-*"))
