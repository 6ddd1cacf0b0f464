"""open-p2p: annotation t + 1 meets frame t; whose action it was; taps between frames; archives; hostile messages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_data.ingest.open_p2p import OpenP2pImporter
from gi_data.ingest.open_p2p_labels import AnnotationReader, label_events
from gi_data.ingest.open_p2p_messages import MESSAGES, read_frames, read_metadata
from gi_data.ingest.open_p2p_names import control
from gi_data.ingest.paired_video import tick_times
from gi_data.ingest.source import SourceRecording
from gi_data.ingest.timeline import Tick, tick_edges, ticks
from gi_model.actions import KEYS, MOUSE_BUTTONS, Gamepad, InputState
from gi_model.errors import ClipError, CorpusError
from tests.conftest import Barcodes
from tests.data.foreign_formats import p2p_action, p2p_annotation, p2p_key, pack, write_open_p2p, write_video
from tests.data.played import play

MS = 1_000_000
NUM_FRAMES = 50


def read(path: Path) -> SourceRecording:
    (found,) = OpenP2pImporter().find(path)
    return OpenP2pImporter().read(found)


def ticks_of(annotation: Any, fps: float = 20.0) -> list[Tick]:
    reader = AnnotationReader()
    annotations = [reader.read(frame) for frame in annotation.frame_annotations]
    times = tick_times(len(annotations) - 1, fps)
    return list(ticks(label_events(annotations, times), tick_edges(0, times[-1], fps)))


def record(folder: Path, barcodes: Barcodes, fps: float = 20.0) -> Path:
    numbers = range(NUM_FRAMES)
    return write_open_p2p(folder, [barcodes.frame(n) for n in numbers], [barcodes.state(n) for n in numbers], fps)


@pytest.mark.parametrize("fps", [16.0, 20.0, 23.976, 30.0, 60.0])
def test_every_frame_meets_what_was_done_after_it(tmp_path: Path, barcodes: Barcodes, fps: float) -> None:
    recording = read(record(tmp_path / "some-uuid", barcodes, fps))
    assert recording.fps == pytest.approx(fps, abs=1e-3)
    played = list(play(recording))
    assert [(barcodes.number(frame), barcodes.number_of(tick.state)) for frame, tick in played] == [
        (n, n) for n in range(NUM_FRAMES - 1)
    ]
    assert [tick.state for _, tick in played] == [barcodes.state(n) for n in range(NUM_FRAMES - 1)]
    assert all(tick.known for _, tick in played)
    assert recording.game == "doom"
    assert not recording.unknown


plain_keys = st.frozensets(st.sampled_from(["KeyW", "Digit3", "Space", "ShiftLeft", "ArrowUp", "Tab", "F5"]))
keyboards = st.builds(
    InputState,
    keys=plain_keys,
    buttons=st.frozensets(st.sampled_from(MOUSE_BUTTONS)),
    motion=st.tuples(st.integers(-300, 300), st.integers(-300, 300)),
    wheel=st.tuples(st.integers(-2, 2), st.integers(-2, 2)),
)
sticks = st.tuples(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), st.sampled_from([-1.0, 0.0, 0.5]))
pads = st.builds(
    InputState,
    gamepad=st.builds(
        Gamepad,
        st.frozensets(st.sampled_from(["GamepadSouth", "GamepadUp", "GamepadLeftBumper", "GamepadRightStick"])),
        sticks,
        sticks,
        st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 1.0])),
    ),
)


@given(st.lists(keyboards, min_size=1, max_size=10) | st.lists(pads, min_size=1, max_size=10))
def test_reading_is_the_inverse_of_writing(states: list[InputState]) -> None:
    assert [tick.state for tick in ticks_of(p2p_annotation(states))] == states


def test_a_stick_pushed_forward_points_up() -> None:
    annotation = p2p_annotation([InputState(gamepad=Gamepad())])
    annotation.frame_annotations[1].user_action.game_pad.left_stick.y = 1.0  # the recorder's library counts y up
    ((_, state, _),) = ticks_of(annotation)
    assert state.gamepad is not None
    assert state.gamepad.left_stick == (0.0, -1.0)


def test_a_programs_actions_are_kept_as_not_the_players() -> None:
    walk, shoot = InputState(keys=frozenset({"KeyW"})), InputState(buttons=frozenset({"MouseLeft"}))
    annotation = p2p_annotation([walk] * 4)
    frames = annotation.frame_annotations
    frames[2].user_action.is_known = False
    frames[2].system_action.CopyFrom(p2p_action(shoot))
    frames[3].user_action.is_known = False
    frames[4].system_action.CopyFrom(p2p_action(shoot))
    got = ticks_of(annotation)
    assert [tick.known for tick in got] == [True, False, False, False]
    assert [tick.state for tick in got] == [walk, shoot, InputState(), shoot]
    reader = AnnotationReader()
    assert [reader.read(frame).known for frame in frames] == [True, True, False, False, False]
    assert reader.unknown == {"tick claimed by player and program": 1}


def add_event(frame: Any, time_ms: float, *, simulated: bool = False) -> Any:
    return frame.input_events.add(time=round(time_ms * MS), simulated=simulated)


def key_event(frame: Any, time_ms: float, key: str, *, pressed: bool, simulated: bool = False) -> None:
    add_event(frame, time_ms, simulated=simulated).keyboard_event.MergeFrom(
        MESSAGES["KeyboardEvent"](key=key, pressed=pressed)
    )


def test_a_tap_between_two_frames_stays() -> None:
    """No state shows it: the published loader misses it."""
    annotation = p2p_annotation([InputState()] * 3)
    key_event(annotation.frame_annotations[2], 60, "Space", pressed=True)
    key_event(annotation.frame_annotations[2], 80, "Space", pressed=False)
    assert [sorted(tick.state.keys) for tick in ticks_of(annotation)] == [[], ["Space"], []]


def test_a_release_within_a_tick_ends_with_it() -> None:
    walk = InputState(keys=frozenset({"KeyW"}))
    annotation = p2p_annotation([walk, InputState(), InputState()])
    assert [sorted(tick.state.keys) for tick in ticks_of(annotation)] == [["KeyW"], [], []]
    key_event(annotation.frame_annotations[1], 20, "w", pressed=True)
    key_event(annotation.frame_annotations[2], 75, "w", pressed=False)
    assert [sorted(tick.state.keys) for tick in ticks_of(annotation)] == [["KeyW"], ["KeyW"], []]


def test_mouse_and_pad_buttons_tapped_between_frames_stay() -> None:
    annotation = p2p_annotation([InputState(gamepad=Gamepad())] * 2)
    for pressed, time_ms in ((True, 60), (False, 70)):
        mouse = MESSAGES["MouseButtonEvent"](button="1", pressed=pressed)
        add_event(annotation.frame_annotations[2], time_ms).mouse_event.MergeFrom(mouse)
        pad = MESSAGES["GamePadButtonEvent"](button="left_trigger", pressed=pressed)
        add_event(annotation.frame_annotations[2], time_ms).game_pad_button_event.MergeFrom(pad)
    assert [sorted(tick.state.held) for tick in ticks_of(annotation)] == [[], ["GamepadLeftBumper", "MouseRight"]]


def test_events_lie_in_the_tick_of_their_frames_whatever_the_recorders_clock_did() -> None:
    annotation = p2p_annotation([InputState()] * 4)
    for number, time_ms in enumerate((400, 450, 530, 540, 590)):
        annotation.frame_annotations[number].frame_time = time_ms * MS
    for pressed, time_ms in ((True, 532), (False, 535)):
        key_event(annotation.frame_annotations[3], time_ms, "f", pressed=pressed)
    assert [sorted(tick.state.keys) for tick in ticks_of(annotation)] == [[], [], ["KeyF"], []]


def test_simulated_events_and_the_recorders_own_keys_are_left_out() -> None:
    annotation = p2p_annotation([InputState()] * 2)
    key_event(annotation.frame_annotations[1], 10, "Space", pressed=True, simulated=True)
    key_event(annotation.frame_annotations[1], 10, "LeftBracket", pressed=True)
    assert [sorted(tick.state.keys) for tick in ticks_of(annotation)] == [[], []]


def test_shift_which_the_recorder_hides_from_its_states_is_held_as_its_events_say() -> None:
    annotation = p2p_annotation([InputState()] * 5)
    key_event(annotation.frame_annotations[2], 60, "LeftShift", pressed=True)
    key_event(annotation.frame_annotations[4], 160, "LeftShift", pressed=False)
    assert [sorted(tick.state.keys) for tick in ticks_of(annotation)] == [[], *[["ShiftLeft"]] * 3, []]


def test_shift_let_go_while_a_program_plays_is_not_stuck() -> None:
    annotation = p2p_annotation([InputState()] * 3)
    key_event(annotation.frame_annotations[1], 10, "LeftShift", pressed=True)
    annotation.frame_annotations[2].user_action.is_known = False
    annotation.frame_annotations[2].system_action.CopyFrom(p2p_action(InputState()))
    key_event(annotation.frame_annotations[2], 60, "LeftShift", pressed=False)
    assert [sorted(tick.state.keys) for tick in ticks_of(annotation)] == [["ShiftLeft"], [], []]


@pytest.mark.parametrize(("total", "halves"), [((10, 4), [(10, 4), (0, 0)]), ((12, 4), [(6, 2), (6, 2)])])
def test_motion_keeps_its_times_if_its_events_add_up(total: tuple[int, int], halves: list[tuple[int, int]]) -> None:
    annotation = p2p_annotation([InputState(motion=total)])
    for x, y in ((3, 1), (7, 3)):
        add_event(annotation.frame_annotations[1], 10).mouse_delta_event.MergeFrom(MESSAGES["Vec2Int"](x=x, y=y))
    reader = AnnotationReader()
    annotations = [reader.read(frame) for frame in annotation.frame_annotations]
    got = ticks(label_events(annotations, tick_times(1, 20.0)), tick_edges(0, 50 * MS, 40.0))
    assert [tick.state.motion for tick in got] == halves


@pytest.mark.parametrize(
    ("spelled", "code"),
    [
        *(("w", "KeyW"), ("W", "KeyW"), ("KeyW", "KeyW"), ("1", "Digit1"), ("Num1", "Digit1"), ("Kp1", "Numpad1")),
        *(("LeftShift", "ShiftLeft"), ("shift_left", "ShiftLeft"), ("lshift", "ShiftLeft"), ("rctrl", "ControlRight")),
        *(("DownArrow", "ArrowDown"), ("Down", "ArrowDown"), ("BackQuote", "Backquote"), ("LeftWin", "MetaLeft")),
        *(("LeftBracket", "BracketLeft"), ("Period", "Period"), ("space", "Space"), ("Menu", "ContextMenu")),
        *(("VolumeUp", None), ("", None), ("F20", None)),
    ],
)
def test_keys_are_known_by_many_spellings(spelled: str, code: str | None) -> None:
    assert control("key", spelled) == code


def test_every_key_is_known_by_its_own_name_and_the_recorders() -> None:
    assert {code: control("key", code) for code in KEYS} == {code: code for code in KEYS}
    letters = [code for code in KEYS if len(p2p_key(code)) == 1]
    assert len(letters) == 36
    assert all(control("key", p2p_key(code)) == code for code in letters)


def test_what_has_no_name_is_counted() -> None:
    annotation = p2p_annotation([InputState()])
    annotation.frame_annotations[1].user_action.keyboard.keys.extend(["VolumeUp", "w"])
    annotation.frame_annotations[1].user_action.mouse.buttons_down.extend(["7"])
    reader = AnnotationReader()
    assert reader.read(annotation.frame_annotations[1]).held == {"KeyW"}
    assert reader.unknown == {"key VolumeUp": 1, "mouse button 7": 1}


def test_numbers_that_cannot_be_are_counted() -> None:
    annotation = p2p_annotation([InputState(motion=(2**31 - 1, 0), gamepad=Gamepad())])
    annotation.frame_annotations[1].user_action.game_pad.left_stick.x = float("nan")
    annotation.frame_annotations[1].user_action.game_pad.right_stick.x = 7.0
    reader = AnnotationReader()
    read = [reader.read(frame) for frame in annotation.frame_annotations][1]
    assert read.pad == Gamepad(right_stick=(1.0, 0.0))
    assert read.motion == (0, 0)
    assert reader.unknown == {"absurd motion": 1, "stick that is no number": 1}


def test_the_table_of_messages_is_the_published_one() -> None:
    """Bytes written by hand from the published field numbers."""
    content = bytes.fromhex(
        "1217"  # metadata
        "0a0261622d0000a041"  # id "ab", 20 frames a second
        "320c0a06726f626c6f781202787a"  # env roblox, subtype xz
        "1a16"  # a frame annotation
        "0a14"  # user_action
        "12060a01770a0161"  # keyboard: w, a
        "1801"  # is known
        "22081a040805100a4a00"  # mouse: delta 5, 10; a button without a name
    )
    metadata = read_metadata(content, "x")
    assert (metadata.env.env, metadata.env.env_subtype, metadata.frames_per_second) == ("roblox", "xz", 20.0)
    (frame,) = read_frames(content, "x")
    read = AnnotationReader().read(frame)
    assert (sorted(read.held), read.motion, read.known) == (["KeyA", "KeyW"], (5, 10), True)


def test_recordings_in_archives_are_the_same(tmp_path: Path, barcodes: Barcodes) -> None:
    loose = [record(tmp_path / "loose" / name, barcodes) for name in ("one", "two")]
    (tmp_path / "packed").mkdir()
    pack(tmp_path / "packed" / "batch_00001.tar.gz", *loose)
    importer = OpenP2pImporter()
    found = {here: importer.find(tmp_path / here) for here in ("loose", "packed")}
    assert [(f.recording_id, f.num_bytes) for f in found["packed"]] == [
        (f.recording_id, f.num_bytes) for f in found["loose"]
    ]
    for a, b in zip(found["loose"], found["packed"], strict=True):
        recording = importer.read(b)
        got = [(barcodes.number(f), barcodes.number_of(t.state)) for f, t in play(recording)]
        assert got == [(n, n) for n in range(NUM_FRAMES - 1)]
        assert list(recording.events()) == list(importer.read(a).events())


def test_what_was_unpacked_goes_with_the_recording(
    tmp_path: Path, barcodes: Barcodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    recording = read(pack(tmp_path / "batch.tar.gz", record(tmp_path / "loose" / "one", barcodes)))
    assert [p.name for p in (tmp_path / "temporary").glob("*/*")] != []
    assert len(list(play(recording))) == NUM_FRAMES - 1
    del recording
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_damaged_archive_is_listed_and_refused_when_it_is_read(tmp_path: Path, barcodes: Barcodes) -> None:
    loose = [record(tmp_path / "loose" / str(number), barcodes) for number in range(2)]
    (loose[1] / "video.mp4").write_bytes(np.random.default_rng(0).bytes(300_000))
    (tmp_path / "packed").mkdir()
    path = pack(tmp_path / "packed" / "a.tar.gz", *loose)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    importer = OpenP2pImporter()
    damaged, *good = importer.find(tmp_path / "packed")
    with pytest.raises(ClipError, match=r"archive a\.tar\.gz is damaged"):
        importer.read(damaged)
    assert [importer.read(found).game for found in good] == ["doom", "doom"]


def test_the_better_video_is_used(tmp_path: Path, barcodes: Barcodes) -> None:
    folder = record(tmp_path / "one", barcodes)
    write_video(folder / "video.mp4", [barcodes.frame(0)] * NUM_FRAMES, 20)
    assert read(folder).extra["video"] == "192x192.mp4"
    (folder / "192x192.mp4").unlink()
    assert read(folder).extra["video"] == "video.mp4"
    (folder / "video.mp4").unlink()
    with pytest.raises(ClipError, match="no video"):
        read(folder)


@pytest.mark.parametrize(("num_frames", "surplus"), [(45, "annotations"), (53, "frames")])
def test_the_surplus_of_either_is_dropped_at_the_end(
    tmp_path: Path, barcodes: Barcodes, num_frames: int, surplus: str
) -> None:
    folder = record(tmp_path / "one", barcodes)
    write_video(folder / "192x192.mp4", map(barcodes.frame, range(num_frames)), 20)
    recording = read(folder)
    assert recording.unknown == {f"surplus {surplus}": abs(num_frames - NUM_FRAMES)}
    pairs = [(barcodes.number(frame), barcodes.number_of(tick.state)) for frame, tick in play(recording)]
    assert pairs == [(n, n) for n in range(min(num_frames, NUM_FRAMES - 1))]


def test_text_and_who_it_was_stay_behind(tmp_path: Path, barcodes: Barcodes) -> None:
    folder = record(tmp_path / "one", barcodes)
    with (folder / "annotation.proto").open("ab") as file:
        file.write(b"\x12\x0b\x1a\x09alice@b.c")  # metadata.user
    assert "alice" not in str(read(folder))


HOSTILE = {
    "cut within a frame": lambda good: good[: len(good) // 2 + 1],
    "noise": lambda _: b"\xff" * 1000,
    "a field longer than the file": lambda _: b"\x1a\xff\xff\xff\xff\x0f",
    "a frame that is not there": lambda good: good + b"\x1a\x03",
    "groups": lambda _: b"\x1b" * 100_000,
    "field number 0": lambda _: b"\x02\x00" * 10,
    "an endless number": lambda _: b"\x80" * 100,
    "a frame that is none": lambda _: b"\x1a\x02\x0a\xff",
    "a key that is no text": lambda good: good + b"\x1a\x07\x0a\x05\x12\x03\x0a\x01\xff",
    "deep": lambda good: good + b"\x1a\x80\x08" + b"\x0a\x80\x01" * 341 + b"\x00",
}


@pytest.mark.parametrize("damage", HOSTILE.values(), ids=HOSTILE.keys())
def test_annotations_that_are_none_are_refused(tmp_path: Path, barcodes: Barcodes, damage: Any) -> None:
    folder = record(tmp_path / "one", barcodes)
    labels = folder / "annotation.proto"
    labels.write_bytes(damage(labels.read_bytes()))
    with pytest.raises(ClipError, match="cannot be read"):
        read(folder)


def test_a_day_of_frames_in_a_small_file_is_refused(tmp_path: Path, barcodes: Barcodes) -> None:
    folder = record(tmp_path / "one", barcodes)
    (folder / "annotation.proto").write_bytes(b"\x12\x05\x2d\x00\x00\x80\x3f" + b"\x1a\x00" * 86_401)
    with pytest.raises(ClipError, match="absurdly long"):
        read(folder)


@pytest.mark.parametrize("content", [b"\x30\x01", p2p_annotation([]).SerializeToString()])
def test_an_annotation_without_ticks_is_refused(tmp_path: Path, barcodes: Barcodes, content: bytes) -> None:
    folder = record(tmp_path / "one", barcodes)
    (folder / "annotation.proto").write_bytes(content)
    with pytest.raises(ClipError, match="no ticks"):
        read(folder)


def test_a_recording_that_is_the_working_folder_has_its_name(
    tmp_path: Path, barcodes: Barcodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(record(tmp_path / "some-uuid", barcodes))
    (found,) = OpenP2pImporter().find(Path())
    assert found.recording_id == "some-uuid"


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no open-p2p recordings"):
        OpenP2pImporter().find(tmp_path)
