"""owl-control: recordings with known truth, and hostile ones."""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from gi_data.ingest.events import Deflect, Event, Label, Move, Press, Release, Scroll, Snapshot
from gi_data.ingest.owl import OwlImporter
from gi_data.ingest.owl_inputs import PAD_AXES, PAD_BUTTONS
from gi_data.ingest.owl_rows import rows
from gi_data.ingest.source import SourceRecording
from gi_data.video_writer import VideoWriter
from gi_model.actions import GAMEPAD_BUTTONS
from gi_model.errors import ClipError, CorpusError
from tests.conftest import Barcodes
from tests.data.played import play

T0_S = 1_760_000_000  # a clock of today
VIDEO_S = 0.75  # the video begins so long after the inputs
FPS, NUM_FRAMES = 30, 90
SECOND_NS = 10**9
Line = tuple[float, str, Any]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, barcodes: Barcodes) -> bytes:
    path = tmp_path_factory.mktemp("video") / "recording.mp4"
    writer = VideoWriter(path, fps=FPS, height=barcodes.height, width=barcodes.width)
    for number in range(NUM_FRAMES):
        writer.append(barcodes.frame(number))
    writer.close()
    return path.read_bytes()


def text(lines: Iterable[Line]) -> str:
    """Rows as the recorder writes them: quotes around JSON, and its own quotes as they are."""
    header = "timestamp,event_type,event_args\n"
    return header + "".join(f'{T0_S + t:.6f},{kind},"{json.dumps(args)}"\n' for t, kind, args in lines)


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, video: bytes) -> Make:
    """A recording with `lines` between its START and END, whose video begins at VIDEO_S."""

    def made(lines: Iterable[Line] = (), *, start: Any = (), marks: bool = True) -> Path:
        folder = tmp_path / "session"
        folder.mkdir(exist_ok=True)
        (folder / "recording.mp4").write_bytes(video)
        metadata = {"game_exe": "C:\\Games\\Deep Rock.exe", "hardware_id": "secret", "owl_control_version": "1.2.0"}
        (folder / "metadata.json").write_text(json.dumps(metadata))
        ends: list[Line] = [(0.0, "START", start), (VIDEO_S, "VIDEO_START", []), (3.7, "VIDEO_END", [])]
        ends = [*(ends if marks else ends[:1]), (3.9, "END", {"inputs": {"keyboard": [], "mouse": []}})]
        (folder / "inputs.csv").write_text(text(sorted([*ends, *lines], key=lambda line: line[0])))
        return folder

    return made


def read(folder: Path) -> SourceRecording:
    importer = OwlImporter()
    (found,) = importer.find(folder)
    return importer.read(found)


def at(seconds: float) -> int:
    """A time as floats of today's clock can tell it."""
    return round(float(f"{T0_S + seconds:.6f}") * 1e9)


def drain(folder: Path) -> list[Event]:
    recording = read(folder)
    for frame in recording.frames():
        frame.rgb()
    return list(recording.events())


def inputs_of(folder: Path) -> list[Event]:
    """Events without what is held as the recording begins."""
    return [event for event in drain(folder) if event.t_ns > at(0)]


# --- alignment --------------------------------------------------------------------------------------------------------


def test_the_first_picture_belongs_to_video_start_not_to_start(make: Make, barcodes: Barcodes) -> None:
    recording = read(make())
    frames = [(frame.t_ns, barcodes.number(frame.rgb())) for frame in recording.frames()]
    assert [number for _, number in frames] == list(range(NUM_FRAMES))
    for t_ns, number in frames:
        assert abs(t_ns - at(VIDEO_S) - Fraction(number, FPS) * SECOND_NS) < 1000
    assert (recording.start_ns, recording.end_ns) == (at(VIDEO_S), at(3.7))
    assert (recording.game, recording.fps, recording.extra) == ("deep_rock", FPS, {"owl_control_version": "1.2.0"})


def test_ticks_meet_the_picture_and_the_keys_of_their_time(make: Make, barcodes: Barcodes) -> None:
    held = [(1.0, 1.5), (2.01, 2.015)]  # the second one is a tap within a tick
    lines: list[Line] = [(t, "KEYBOARD", [0x57, t == down]) for down, up in held for t in (down, up)]
    shown = list(play(read(make(lines)), FPS))
    assert len(shown) == 88  # the video ends before its last two pictures' time has passed
    for number, (frame, tick) in enumerate(shown):
        assert barcodes.number(frame) == number
        start, end = VIDEO_S + number / FPS, VIDEO_S + (number + 1) / FPS
        assert (tick.state.keys == {"KeyW"}) == any(start < up and down < end for down, up in held)


def test_pictures_are_black_until_the_hook(make: Make) -> None:
    assert read(make([(1.25, "HOOK_START", [])])).start_ns == at(1.25)
    assert read(make([(0.25, "HOOK_START", [])])).start_ns == at(VIDEO_S)


def test_a_recording_that_was_cut_off_ends_with_its_inputs(make: Make) -> None:
    folder = make([(2.0, "KEYBOARD", [0x57, True])])
    lines = (folder / "inputs.csv").read_text().splitlines(keepends=True)
    (folder / "inputs.csv").write_text("".join(lines[:-2]))
    assert read(folder).end_ns == at(2.0)


@pytest.mark.parametrize("num_starts", [0, 2])
def test_exactly_one_video_start_is_demanded(make: Make, num_starts: int) -> None:
    lines: list[Line] = [(1.0 + index, "VIDEO_START", []) for index in range(num_starts)]
    with pytest.raises(ClipError, match="VIDEO_START"):
        read(make(lines, marks=False))


# --- inputs -----------------------------------------------------------------------------------------------------------


def test_keyboard_and_mouse(make: Make) -> None:
    lines: list[Line] = [
        (1.0, "KEYBOARD", [0x57, True]),
        (1.1, "KEYBOARD", [0x10, True]),
        (1.2, "KEYBOARD", [0x57, False]),
        (1.3, "MOUSE_MOVE", [3, -4]),
        (1.4, "MOUSE_BUTTON", [1, True]),
        (1.5, "MOUSE_BUTTON", [6, False]),
        (1.6, "SCROLL", [120]),
        (1.7, "SCROLL", [-240]),
    ]
    assert inputs_of(make(lines)) == [
        Press(at(1.0), "KeyW"),
        Press(at(1.1), "ShiftLeft"),
        Release(at(1.2), "KeyW"),
        Move(at(1.3), 3, -4),
        Press(at(1.4), "MouseLeft"),
        Release(at(1.5), "MouseForward"),
        Scroll(at(1.6), 0, -1),  # away from the hand: up
        Scroll(at(1.7), 0, 2),
    ]


def test_what_was_held_at_the_start_is_known(make: Make) -> None:
    pads = {"x0": {"digital": [1, 7], "analog": {}, "axis": {"1": -0.5, "2": 1.0}}}
    start = {"inputs": {"keyboard": [0x57, 0x10, 0xA0], "mouse": [2], "gamepads": pads}}
    events = drain(make([(1.0, "GAMEPAD_BUTTON", [3, True, "x0"])], start=start))
    assert events == [
        Snapshot(at(0), "keyboard", frozenset({"KeyW", "ShiftLeft"})),
        Snapshot(at(0), "mouse", frozenset({"MouseRight"})),
        Snapshot(at(0), "gamepad", frozenset({"GamepadSouth", "GamepadLeftBumper"})),
        Deflect(at(0), left_stick=(-0.5, 0.0)),
        Deflect(at(0), left_stick=(-0.5, -1.0)),
    ]


def test_gamepads_turn_their_sticks_up_and_pull_their_triggers(make: Make) -> None:
    lines: list[Line] = [
        (1.0, "GAMEPAD_BUTTON", [5, True, 0]),
        (1.1, "GAMEPAD_BUTTON_VALUE", [5, 1.0, 0]),
        (1.2, "GAMEPAD_AXIS", [4, 0.5, 0]),
        (1.3, "GAMEPAD_AXIS", [5, 1.0, 0]),  # up
        (1.4, "GAMEPAD_BUTTON_VALUE", [10, 0.75, 0]),
        (1.5, "GAMEPAD_BUTTON", [10, True, 0]),
        (1.6, "GAMEPAD_AXIS", [5, -1.5, 0]),
        (1.7, "GAMEPAD_BUTTON", [1, True, 1]),  # another one's
    ]
    folder = make(lines)
    assert inputs_of(folder) == [
        Press(at(1.0), "GamepadWest"),
        Deflect(at(1.2), right_stick=(0.5, 0.0)),
        Deflect(at(1.3), right_stick=(0.5, -1.0)),
        Deflect(at(1.4), triggers=(0.0, 0.75)),
        Press(at(1.5), "GamepadRightTrigger"),
        Deflect(at(1.6), right_stick=(0.5, 1.0)),
    ]
    recording = read(folder)
    list(recording.events())
    assert recording.unknown == {"event of another gamepad": 1}


def test_gamepads_of_older_versions_have_no_id(make: Make) -> None:
    assert inputs_of(make([(1.0, "GAMEPAD_BUTTON", [1, True])])) == [Press(at(1.0), "GamepadSouth")]


def test_every_gamepad_button_has_a_number_of_its_own() -> None:
    assert sorted(PAD_BUTTONS.values()) == sorted(GAMEPAD_BUTTONS)
    assert len({axis[:2] for axis in PAD_AXES.values()}) == 4


def test_unknown_numbers_are_counted_once_however_often_events_are_told(make: Make) -> None:
    lines: list[Line] = [
        (1.0, "KEYBOARD", [255, True]),
        (1.1, "KEYBOARD", [255, False]),
        (1.2, "MOUSE_BUTTON", [9, True]),
        (1.3, "GAMEPAD_BUTTON", [3, True, 0]),
        (1.4, "GAMEPAD_AXIS", [6, 0.5, 0]),
        (1.5, "TELEPATHY", [1]),
    ]
    recording = read(make(lines))
    assert list(recording.events()) == list(recording.events())
    assert recording.unknown == {
        "virtual key 0xFF": 2,
        "mouse button 9": 1,
        "gamepad button 3": 1,
        "gamepad axis 6": 1,
        "event TELEPATHY": 1,
    }


def test_what_is_typed_elsewhere_is_left_out(make: Make) -> None:
    lines: list[Line] = [
        (1.0, "KEYBOARD", [0x57, True]),
        (1.5, "UNFOCUS", []),
        (1.6, "KEYBOARD", [0x50, True]),
        (1.7, "MOUSE_MOVE", [5, 5]),
        (2.0, "FOCUS", []),
        (2.1, "KEYBOARD", [0x45, True]),
    ]
    assert inputs_of(make(lines)) == [
        Press(at(1.0), "KeyW"),
        Label(at(1.5), False),
        Snapshot(at(1.5), "keyboard", frozenset()),
        Snapshot(at(1.5), "mouse", frozenset()),
        Label(at(2.0), True),
        Press(at(2.1), "KeyE"),
    ]


def test_nothing_of_the_players_machine_is_kept(make: Make) -> None:
    recording = read(make())
    assert "secret" not in repr((recording, list(recording.events())))


def test_quotes_may_be_doubled_and_clocks_set_back_a_little(make: Make) -> None:
    folder = make()
    lines = [f'{T0_S},START,"{{""inputs"": {{""keyboard"": [87]}}}}"', f"{T0_S}.5,KEYBOARD,[69,true]"]
    lines += [f'{T0_S}.4,VIDEO_START,"[]"', "", f'{T0_S + 2},END,"[]"']
    (folder / "inputs.csv").write_text("\n".join(lines))
    got = [(row.t_ns - T0_S * SECOND_NS, row.kind) for row in rows(folder / "inputs.csv")]
    half = SECOND_NS // 2
    assert got == [(0, "START"), (half, "KEYBOARD"), (half, "VIDEO_START"), (2 * SECOND_NS, "END")]
    assert Snapshot(T0_S * SECOND_NS, "keyboard", frozenset({"KeyW"})) in list(read(folder).events())


# --- hostile files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        *[("MOUSE_MOVE", args) for args in ([], [1], 5, None, "ab", ["1", "2"], [1.5, 2], [10**12, 1], {"dx": 1})],
        *[("MOUSE_MOVE", [True, False]), ("MOUSE_BUTTON", [1, "down"]), ("MOUSE_BUTTON", [1, 7])],
        *[("SCROLL", []), ("SCROLL", ["1"]), ("SCROLL", [float("nan")]), ("SCROLL", [float("inf")])],
        *[("KEYBOARD", [None, True]), ("KEYBOARD", [87]), ("KEYBOARD", [[87], True]), ("KEYBOARD", [87, None])],
        *[("GAMEPAD_AXIS", [1, float("nan")]), ("GAMEPAD_AXIS", [1, "1"]), ("GAMEPAD_AXIS", 7)],
        *[("GAMEPAD_BUTTON", [1]), ("GAMEPAD_BUTTON_VALUE", [9, None]), ("GAMEPAD_BUTTON_VALUE", [1, "x"])],
    ],
)
def test_wrong_arguments_are_refused(make: Make, kind: str, args: Any) -> None:
    with pytest.raises(ClipError, match=f"wrong arguments.*{kind}"):
        drain(make([(1.0, kind, args)]))


@pytest.mark.parametrize(
    "start",
    [
        {"inputs": 5},
        {"inputs": {"keyboard": 5}},
        {"inputs": {"keyboard": ["w"]}},
        {"inputs": {"mouse": [None]}},
        {"inputs": {"gamepads": [1]}},
        {"inputs": {"gamepads": {"": {"axis": {"x": 1}}}}},
        {"inputs": {"gamepads": {"": {"digital": 3}}}},
    ],
)
def test_wrong_states_at_the_start_are_refused(make: Make, start: Any) -> None:
    with pytest.raises(ClipError, match="wrong arguments"):
        drain(make(start=start))


@pytest.mark.parametrize(
    "line",
    [
        b"1,2",
        b"nan,START,[]",
        b"inf,START,[]",
        b"-5,START,[]",
        b"1e300,START,[]",
        b"yesterday,START,[]",
        b"1760000001,KEYBOARD,{",
        b"1760000001,KEYBOARD," + b"[" * 60_000,
        b"1760000001,KEYBOARD,[1" + b"0" * 5000 + b",true]",
        b"1760000001,KEYBOARD," + b'"' + b"x" * 10**6,
        b"1760000001,\xff\xfe,[]",
        b"17,KEYBOARD,[87,true]",
        b"\x00" * 100,
    ],
)
def test_lines_that_cannot_be_read_are_named(make: Make, line: bytes) -> None:
    folder = make()
    path = folder / "inputs.csv"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:3], line, *lines[3:]]))
    with pytest.raises(ClipError, match=r"line 4 of session/inputs\.csv"):
        drain(folder)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_inputs_that_are_cut_are_refused_or_shorter(make: Make, share: float) -> None:
    folder = make([(1 + t / 50, "MOUSE_MOVE", [t, t]) for t in range(100)])
    whole, path = drain(folder), folder / "inputs.csv"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with suppress(ClipError):
        events = drain(folder)
        assert events == whole[: len(events)]
        assert read(folder).end_ns <= at(3)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1])
def test_videos_that_are_cut_at_their_beginning_are_refused(make: Make, share: float) -> None:
    folder = make()
    video = folder / "recording.mp4"
    video.write_bytes(video.read_bytes()[: int(video.stat().st_size * share)])
    with pytest.raises(ClipError, match="video"):
        drain(folder)


@pytest.mark.parametrize("metadata", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
def test_metadata_that_is_none_is_refused(make: Make, metadata: bytes) -> None:
    folder = make()
    (folder / "metadata.json").write_bytes(metadata)
    with pytest.raises(ClipError, match="metadata"):
        read(folder)


@pytest.mark.parametrize("name", ["recording.mp4", "metadata.json"])
def test_missing_files_are_named(make: Make, name: str) -> None:
    folder = make()
    (folder / name).unlink()
    with pytest.raises(ClipError, match="missing"):
        read(folder)


@pytest.mark.parametrize(
    ("executable", "game"),
    [
        ("cs2.exe", "cs2"),
        ("../../etc/passwd", "passwd"),
        ("D:\\x\\HELL DIVERS™.EXE", "hell_divers"),
        ("", "unknown"),
        (None, "unknown"),
        (5, "unknown"),
        ("a" * 5000, "a" * 60),
    ],
)
def test_games_are_named_by_their_program(make: Make, executable: object, game: str) -> None:
    folder = make()
    (folder / "metadata.json").write_text(json.dumps({"game_exe": executable}))
    assert read(folder).game == game


def test_recordings_are_found_below_a_folder(tmp_path: Path) -> None:
    for name in ("b/one", "a/one", "two words"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "inputs.csv").write_text("12345")
    found = OwlImporter().find(tmp_path)
    assert [one.path.relative_to(tmp_path).as_posix() for one in found] == ["a/one", "b/one", "two words"]
    assert len({one.recording_id for one in found}) == 3
    assert found[2].recording_id == "two_words"
    with pytest.raises(CorpusError, match="no owl-control"):
        OwlImporter().find(tmp_path / "nothing")
