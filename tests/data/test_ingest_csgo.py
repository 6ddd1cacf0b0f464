"""CS:GO: vector i meets picture i; the data set's bins; HDF5 files that point elsewhere, lie, or are cut."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_data.ingest.csgo import BINDINGS, CsgoImporter
from gi_data.ingest.csgo_actions import BUTTONS, KEYS, LOOKS, SIZE, TURNS, decode, encode, fill_gaps
from gi_data.ingest.source import SourceRecording
from gi_model.actions import InputState
from gi_model.errors import ClipError, CorpusError
from gi_model.frames import Frame, resize
from tests.conftest import BITS, Barcodes
from tests.data.foreign_formats import pack, write_csgo
from tests.data.played import play

NUM_FRAMES = 40


def read(path: Path) -> SourceRecording:
    (found,) = CsgoImporter().find(path)
    return CsgoImporter().read(found)


def state(number: int) -> InputState:
    return InputState(motion=(TURNS[number % len(TURNS)], LOOKS[number // len(TURNS)]))


def number_of(state: InputState) -> int:
    return TURNS.index(state.motion[0]) + len(TURNS) * LOOKS.index(state.motion[1])


@pytest.fixture
def recorded(tmp_path: Path, barcodes: Barcodes) -> Path:
    numbers = range(NUM_FRAMES)
    return write_csgo(tmp_path, map(barcodes.frame, numbers), map(state, numbers))


def test_every_picture_meets_its_own_action(recorded: Path, barcodes: Barcodes) -> None:
    recording = read(recorded)
    assert (recording.game, recording.fps, recording.end_ns) == ("csgo", 16.0, NUM_FRAMES * 62_500_000)
    pairs = [(barcodes.number(resize(f, 50, 7 * BITS)), number_of(tick.state)) for f, tick in play(recording)]
    assert pairs == [(n, n) for n in range(NUM_FRAMES)]
    assert not recording.unknown


def test_pictures_come_out_in_rgb(tmp_path: Path) -> None:
    red: Frame = np.zeros((150, 280, 3), dtype=np.uint8)
    red[..., 0] = 200
    path = write_csgo(tmp_path, [red] * 3, [InputState()] * 3)
    with h5py.File(path) as file:
        assert file["frame_0_x"][0, 0].tolist() == [0, 0, 200], "stored as BGR"
    assert all((frame.rgb() == red).all() for frame in read(path).frames())


@given(
    st.lists(
        st.builds(
            InputState,
            keys=st.frozensets(st.sampled_from(KEYS)),
            buttons=st.frozensets(st.just(BUTTONS[1])),
            motion=st.tuples(st.sampled_from(TURNS), st.sampled_from(LOOKS)),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_decoding_is_the_inverse_of_encoding(states: list[InputState]) -> None:
    vectors = np.stack([encode(state) for state in states])
    assert vectors.shape[1] == SIZE == 51
    assert decode(vectors) == [(state, True) for state in states]


def test_the_layout_is_the_published_one() -> None:
    """Indices read off the authors' config.py."""
    vector = np.zeros((1, 51))
    vector[0, [4, 10, 12, 13 + 22, 36 + 0]] = 1
    ((got, known),) = decode(vector)
    assert known
    assert got == InputState(frozenset({"Space", "KeyR"}), frozenset({"MouseRight"}), (1000, -200))
    assert BINDINGS.amount(got, "turn") == pytest.approx(55.0, abs=0.1)


@given(st.lists(st.booleans(), max_size=30).map(np.array))
def test_gaps_in_fire_are_filled_up_to_two_ticks(down: Any) -> None:
    down = down.astype(bool)
    text = "".join("x" if x else "." for x in fill_gaps(down))
    assert "x.x" not in text
    assert "x..x" not in text
    assert (fill_gaps(down) >= down).all()
    assert (fill_gaps(fill_gaps(down)) == fill_gaps(down)).all()


def test_long_pauses_in_fire_stay() -> None:
    down = np.array([c == "x" for c in "x.x..x...x.."])
    assert "".join("x" if x else "." for x in fill_gaps(down)) == "xxxxxx...x.."


def test_vectors_that_are_no_actions_are_unknown(recorded: Path) -> None:
    def change(file: Any) -> None:
        file["frame_3_y"][0] = np.nan
        file["frame_5_y"][20] = 1  # a second turn
        file["frame_7_y"][...] = 0  # none
        file["frame_9_y"][2] = 0.5

    edit(recorded, change)
    recording = read(recorded)
    assert [n for n, (_, tick) in enumerate(play(recording)) if not tick.known] == [3, 5, 7, 9]
    assert recording.unknown == {"vector that is no action": 4}


def edit(path: Path, change: Callable[[Any], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def replace(file: Any, name: str, **how: Any) -> None:
    del file[name]
    file.create_dataset(name, **how)


def to_soft_link(file: Any) -> None:
    del file["frame_4_x"]
    file["frame_4_x"] = h5py.SoftLink("/frame_3_x")


def to_external_link(file: Any) -> None:
    del file["frame_4_y"]
    file["frame_4_y"] = h5py.ExternalLink("/etc/hostname", "/frame_4_y")


def to_external_storage(file: Any) -> None:
    size = 150 * 280 * 3
    replace(file, "frame_4_x", shape=(150, 280, 3), dtype="u1", external=[("/etc/passwd", 0, size)])


def to_virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((150, 280, 3), "u1")
    layout[...] = h5py.VirtualSource("/etc/hostname", "frame", (150, 280, 3))
    del file["frame_4_x"]
    file.create_virtual_dataset("frame_4_x", layout)


def to_absurd_chunks(file: Any) -> None:
    how = {"chunks": (2**12, 2**12, 64), "maxshape": (None, None, None), "compression": "gzip"}
    replace(file, "frame_4_x", shape=(150, 280, 3), dtype="u1", **how)


def to_group(file: Any) -> None:
    del file["frame_4_x"]
    file.create_group("frame_4_x")


HOSTILE: dict[str, tuple[Callable[[Any], None], str]] = {
    "soft link": (to_soft_link, "points elsewhere"),
    "link to another file": (to_external_link, "points elsewhere"),
    "bytes of another file": (to_external_storage, "points elsewhere"),
    "virtual": (to_virtual, "points elsewhere"),
    "absurd chunks": (to_absurd_chunks, "absurd chunks"),
    "group": (to_group, "wrong shape"),
    "absurd size": (lambda f: replace(f, "frame_4_x", shape=(2**20, 2**20, 3), dtype="u1", chunks=True), "wrong shape"),
    "other picture": (lambda f: replace(f, "frame_4_x", shape=(280, 150, 3), dtype="u1"), "wrong shape"),
    "floats": (lambda f: replace(f, "frame_4_x", shape=(150, 280, 3), dtype="f4"), "wrong type"),
    "objects": (lambda f: replace(f, "frame_4_y", shape=(51,), dtype=h5py.string_dtype()), "wrong type"),
    "lists": (lambda f: replace(f, "frame_4_y", shape=(51,), dtype=h5py.vlen_dtype("f8")), "wrong type"),
    "references": (lambda f: replace(f, "frame_4_y", shape=(51,), dtype=h5py.ref_dtype), "wrong type"),
    "short vector": (lambda f: replace(f, "frame_4_y", shape=(50,), dtype="f8"), "wrong shape"),
    "no vector": (lambda f: f.__delitem__("frame_4_y"), "no frame_4_y"),
    "no picture": (lambda f: f.__delitem__("frame_4_x"), "lacks a picture"),
    "no first picture": (lambda f: f.__delitem__("frame_0_x"), "lacks a picture"),
    "nothing": (lambda f: f.clear(), "holds no frames"),
}


@pytest.mark.parametrize(("change", "words"), HOSTILE.values(), ids=HOSTILE.keys())
def test_files_that_lie_are_refused(recorded: Path, change: Callable[[Any], None], words: str) -> None:
    edit(recorded, change)
    with pytest.raises(ClipError, match=words):
        read(recorded)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_files_that_are_cut_are_refused(recorded: Path, share: float) -> None:
    """Two of the published files are."""
    recorded.write_bytes(recorded.read_bytes()[: int(recorded.stat().st_size * share)])
    with pytest.raises(ClipError, match="cannot be read"):
        read(recorded)


def test_a_picture_that_cannot_be_unpacked_ends_the_pictures(recorded: Path) -> None:
    def change(file: Any) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (150, 280, 3), dtype=np.uint8)
        replace(file, "frame_4_x", data=noise, compression="gzip", fletcher32=True)

    edit(recorded, change)
    with h5py.File(recorded) as file:
        place = file["frame_4_x"].id.get_chunk_info(0).byte_offset
    content = bytearray(recorded.read_bytes())
    content[place + 100 : place + 200] = bytes(100)
    recorded.write_bytes(content)
    frames = iter(read(recorded).frames())
    assert len([next(frames) for _ in range(4)]) == 4
    with pytest.raises(ClipError, match="cannot be read"):
        next(frames)


def test_files_in_a_tar_are_the_same(recorded: Path, tmp_path: Path) -> None:
    """They are published 200 to a .tar."""
    (tmp_path / "packed").mkdir()
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"hdf5_dm_{number}.hdf5").write_bytes(recorded.read_bytes())
    path = pack(tmp_path / "packed" / "1_to_2.tar", folder)
    found = CsgoImporter().find(tmp_path / "packed")
    assert [one.recording_id for one in found] == ["hdf5_dm_1", "hdf5_dm_2"]
    recording = CsgoImporter().read(found[1])
    assert [number_of(tick.state) for _, tick in play(recording)] == list(range(NUM_FRAMES))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    whole, cut, archive = CsgoImporter().find(path)
    for damaged in (cut, archive):
        with pytest.raises(ClipError, match=r"1_to_2\.tar is damaged"):
            CsgoImporter().read(damaged)
    assert len(list(play(CsgoImporter().read(whole)))) == NUM_FRAMES


def test_files_are_found_below_a_folder(recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("x")
    assert [(found.recording_id, found.path) for found in CsgoImporter().find(tmp_path)] == [("hdf5_dm_1", recorded)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="no CS:GO files"):
        CsgoImporter().find(tmp_path / "empty")
