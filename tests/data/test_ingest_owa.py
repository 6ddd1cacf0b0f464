"""OWAMcap: every version on files with known truth, real files, and hostile ones."""

import struct
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcap.records import Chunk
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType

from gi_data.ingest.events import Event, Label, Move, Point, Press, Release, Scroll, Snapshot
from gi_data.ingest.owa import OwaImporter
from gi_data.ingest.owa_container import MAX_CHUNK_BYTES, messages
from gi_data.ingest.source import SourceRecording
from gi_data.ingest.timeline import Tick, frames_at, tick_edges, ticks
from gi_model.errors import ClipError, CorpusError
from tests.conftest import Barcodes
from tests.data.owa_files import MS, T0_NS, VERSIONS, Picture, Recorder, write_video

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "owa"
W, E, T, SHIFT = 0x57, 0x45, 0x54, 0x10
LATE_MS = 400.0  # the video begins so long after the inputs
Events = list[Event]


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """At no steady rate; the time stamps run ahead of the screen by up to half a second."""
    gaps = np.random.default_rng(7).choice([17, 33, 50, 230, 480], 40)
    shown = LATE_MS + np.cumsum(gaps)
    stamps = [20, *(int(t - LATE_MS) for t in shown[:-1])]
    return [Picture(number, stamp, float(t)) for number, (stamp, t) in enumerate(zip(stamps, shown, strict=True))]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, barcodes: Barcodes, pictures: list[Picture]) -> bytes:
    """Also holds a last picture of which no message speaks, as real ones do."""
    path = tmp_path_factory.mktemp("video") / "video.mkv"
    frames = [(picture.pts_ms, barcodes.frame(picture.number)) for picture in pictures]
    write_video(path, [*frames, (frames[-1][0] + 5000, barcodes.frame(4000))])
    return path.read_bytes()


Make = Callable[..., Recorder]


@pytest.fixture
def make(tmp_path: Path, video: bytes, pictures: list[Picture]) -> Make:
    """A recorder in a fresh folder whose screen messages are there; three seconds and more of play to be added."""

    def made(version: str = "current", *, uri: str = "a.mkv", **kwargs: Any) -> Recorder:
        (tmp_path / "a.mkv").write_bytes(video)
        recorder = Recorder(tmp_path / "a.mcap", version, **kwargs)
        for picture in pictures:
            # writers round to a millisecond what the messages say in full
            recorder.screen(picture.t_ms, picture.pts_ms * MS + picture.number % 3 * 333_333 - 333_333, uri)
        return recorder

    return made


def read(path: Path) -> SourceRecording:
    importer = OwaImporter()
    (found,) = importer.find(path)
    return importer.read(found)


def told(recorder: Recorder, *, span_ms: float = 6000) -> Events:
    """The events of what was recorded, without the snapshots that only say when inputs began and ended."""
    recorder.keys(0, [])
    recorder.keys(span_ms, [])
    events = list(read(recorder.write()).events())
    ends = {T0_NS, T0_NS + round(span_ms * MS)}
    return [event for event in events if not (isinstance(event, Snapshot) and event.t_ns in ends)]


def at(t_ms: float) -> int:
    return T0_NS + round(t_ms * MS)


def of(events: Sequence[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_picture_counts_from_its_message_on(
    make: Make, barcodes: Barcodes, pictures: list[Picture], version: str
) -> None:
    recorder = make(version)
    recorder.keys(0, [])
    recorder.keys(60_000, [])
    recording = read(recorder.write())
    frames = [(frame.t_ns, barcodes.number(frame.rgb())) for frame in recording.frames()]
    assert frames == [(at(picture.t_ms), picture.number) for picture in pictures]
    assert (recording.start_ns, recording.game, recording.fps) == (at(pictures[0].t_ms), "desktop", None)
    assert recording.end_ns == at(pictures[-1].t_ms + 1000)


def test_ticks_meet_the_newest_picture_and_the_keys_of_their_time(
    make: Make, barcodes: Barcodes, pictures: list[Picture]
) -> None:
    recorder = make()
    recorder.keys(0, [])
    presses = [(700.0, 1000.0), (1510.0, 1512.0), (2249.0, 2251.0)]  # held, a tap within a tick, one across two
    for down, up in presses:
        recorder.key(down, W, down=True)
        recorder.key(up, W, down=False)
    recorder.keys(5000, [])
    recording = read(recorder.write())
    edges = tick_edges(recording.start_ns, recording.end_ns, 20)
    states: list[Tick] = list(ticks(recording.events(), edges))
    shown = [barcodes.number(frame) for frame in frames_at(recording.frames(), edges[:-1].tolist())]
    assert len(states) == len(shown) > 60
    for tick, number, end_ns in zip(states, shown, edges[1:].tolist(), strict=True):
        assert number == max(picture.number for picture in pictures if at(picture.t_ms) <= tick.t_ns)
        assert (tick.state.keys == {"KeyW"}) == any(tick.t_ns < at(up) and at(down) < end_ns for down, up in presses)


def test_several_videos_follow_each_other(tmp_path: Path, barcodes: Barcodes) -> None:
    recorder = Recorder(tmp_path / "a.mcap")
    for part in range(2):
        (tmp_path / "parts").mkdir(exist_ok=True)
        frames = [(index * 100, barcodes.frame(10 * part + index)) for index in range(3)]
        write_video(tmp_path / "parts" / f"{part}.mkv", frames)
        for index in range(3):
            recorder.screen(1000 * part + 100 * index, index * 100 * MS, f"parts\\{part}.mkv")
    recorder.keys(0, [])
    recorder.keys(2000, [])
    frames_read = [barcodes.number(frame.rgb()) for frame in read(recorder.write()).frames()]
    assert frames_read == [0, 1, 2, 10, 11, 12]


def test_a_capture_clock_that_is_off_by_hours_is_not_believed(make: Make, pictures: list[Picture]) -> None:
    recorder = make()
    recorder.keys(0, [])
    recorder.keys(9000, [])
    recorder.messages = [
        (t_ms, topic, schema, data.replace(b'"utc_ns":17', b'"utc_ns":16'))
        for t_ms, topic, schema, data in recorder.messages
    ]
    assert read(recorder.write()).start_ns == at(pictures[0].t_ms)


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_and_snapshots_of_every_version(make: Make, version: str) -> None:
    recorder = make(version)
    recorder.key(500, W, down=True)
    recorder.key(600, W, down=False)
    recorder.keys(1000, [E, 0x01, 0xB3])
    recorder.buttons(1001, ["left", "x2"])
    events = told(recorder)
    assert [event for event in events if isinstance(event, Press | Release | Snapshot)] == [
        Press(at(500), "KeyW"),
        Release(at(600), "KeyW"),
        Snapshot(at(1000), "keyboard", frozenset({"KeyE"})),
        Snapshot(at(1001), "mouse", frozenset({"MouseLeft", "MouseForward"})),
    ]


def test_a_missing_release_is_repaired_by_the_next_snapshot(make: Make) -> None:
    recorder = make()
    recorder.key(500, W, down=True)
    recorder.keys(1500, [])
    recorder.keys(0, [])
    recorder.keys(5000, [])
    recording = read(recorder.write())
    states = list(ticks(recording.events(), tick_edges(at(400), at(3000), 20)))
    assert [tick.t_ns for tick in states if tick.state.keys] == [at(t) for t in range(500, 1500, 50)]


def test_a_snapshot_has_no_say_over_what_changed_as_it_was_taken(make: Make) -> None:
    recorder = make()
    recorder.key(300, E, down=True)
    recorder.key(980, E, down=False)
    recorder.key(999, W, down=True)
    recorder.mouse(990, "click", 1, 1, button="left", pressed=True)
    recorder.keys(1003, [E])  # taken at 970
    recorder.buttons(1004, [])
    snapshots = of(told(recorder), Snapshot)
    assert [snapshot.held for snapshot in snapshots] == [{"KeyW"}, {"MouseLeft"}]


def test_generic_keys_are_left_ones_and_unknown_ones_are_counted_once(make: Make) -> None:
    recorder = make()
    recorder.key(500, SHIFT, down=True)
    recorder.key(600, 0xB3, down=True)
    recorder.say(700, "weather", "Weather", {"sun": 1})
    recorder.keys(0, [])
    recorder.keys(5000, [])
    recording = read(recorder.write())
    first, second = list(recording.events()), list(recording.events())
    assert first == second
    assert Press(at(500), "ShiftLeft") in first
    assert recording.unknown == Counter({"virtual key 0xB3": 1, "message Weather": 1})


# --- the mouse --------------------------------------------------------------------------------------------------------


def test_positions_become_differences_where_there_is_no_raw_motion(make: Make) -> None:
    recorder = make()
    for t, x, y in [(500, 10, 10), (510, 13, 8), (520, 13, 8), (530, 0, 9)]:
        recorder.mouse(t, "move", x, y)
    assert of(told(recorder), Move) == [Move(at(510), 3, -2), Move(at(530), -13, 1)]


def test_raw_motion_is_preferred_and_nothing_counts_twice(make: Make) -> None:
    recorder = make()
    recorder.raw(500, 4, -6)
    recorder.mouse(501, "move", 10, 10)
    recorder.raw(510, button_flags=0x0001)
    recorder.mouse(511, "click", 12, 10, button="left", pressed=True)
    recorder.raw(520, button_flags=0x0400, button_data=120)
    recorder.mouse(521, "scroll", 12, 10, dx=0, dy=1)
    events = [event for event in told(recorder) if isinstance(event, Move | Press | Scroll)]
    assert events == [Move(at(500), 4, -6), Press(at(510), "MouseLeft"), Scroll(at(520), 0, -1)]


@pytest.mark.parametrize(
    ("flags", "events"),
    [
        (0x0001, [Press(at(500), "MouseLeft")]),
        (0x0006, [Release(at(500), "MouseLeft"), Press(at(500), "MouseRight")]),
        (0x0003, [Press(at(500), "MouseLeft"), Release(at(500), "MouseLeft")]),
        (0x0310, [Press(at(500), "MouseMiddle"), Press(at(500), "MouseForward"), Release(at(500), "MouseForward")]),
        (0x00E0, [Release(at(500), "MouseMiddle"), Press(at(500), "MouseBack"), Release(at(500), "MouseBack")]),
    ],
)
def test_flags_may_be_combined(make: Make, flags: int, events: Events) -> None:
    recorder = make()
    recorder.raw(500, button_flags=flags)
    assert [event for event in told(recorder) if isinstance(event, Press | Release)] == events


@pytest.mark.parametrize(
    ("flags", "data", "scroll"),
    [
        (0x0400, 120, Scroll(at(500), 0, -1)),  # away from the hand: up
        (0x0400, 65536 - 240, Scroll(at(500), 0, 2)),
        (0x0400, -120, Scroll(at(500), 0, 1)),
        (0x0400, 30, Scroll(at(500), 0, -0.25)),
        (0x0800, 120, Scroll(at(500), 1, 0)),
    ],
)
def test_raw_wheels_count_120_a_notch(make: Make, flags: int, data: int, scroll: Scroll) -> None:
    recorder = make()
    recorder.raw(500, button_flags=flags, button_data=data)
    assert of(told(recorder), Scroll) == [scroll]


def test_scroll_events_count_notches_up_and_right(make: Make) -> None:
    recorder = make()
    recorder.mouse(500, "scroll", 1, 1, dx=2, dy=-3)
    recorder.mouse(600, "scroll", 1, 1, dx=0, dy=240)
    assert of(told(recorder), Scroll) == [Scroll(at(500), 2, 3), Scroll(at(600), 0, -2)]


def test_absolute_raw_positions_are_differenced_for_each_device(make: Make) -> None:
    recorder = make(size=(1920, 1080))
    for t, x, y, device in [(500, 0, 0, 1), (510, 65535, 0, 2), (520, 13107, 6553, 1), (530, 65535, 32767, 2)]:
        recorder.raw(t, x, y, us_flags=3, device_handle=device)
    moves = of(told(recorder), Move)
    assert [(move.t_ns, round(move.dx), round(move.dy)) for move in moves] == [(at(520), 384, 108), (at(530), 0, 540)]


def test_raw_messages_before_0_5_5_have_their_flags_in_the_wrong_place(make: Make) -> None:
    recorder = make("0.5.1")
    recorder.say(500, "mouse/raw", "RawMouseEvent", {"dx": 5, "dy": 6, "button_flags": 0, "button_data": 1})
    events = [event for event in told(recorder) if isinstance(event, Move | Press | Scroll)]
    assert events == [Move(at(500), 5, 6), Press(at(500), "MouseLeft")]


def test_a_pointer_that_stays_while_the_mouse_moves_is_locked(make: Make) -> None:
    recorder = make()
    for t in range(1000, 4000, 10):
        recorder.raw(t, 4 if t % 20 else -4, 2)
        is_locked = 2000 <= t < 3000
        recorder.mouse(
            t + 1, "move", 48 + t % 3 if is_locked else 10 + t % 500 // 8, 16 if is_locked else t % 500 // 16
        )
    points = of(told(recorder), Point)
    assert [point.position for point in points if at(2000) <= point.t_ns < at(3000)] == [None]
    assert all(point.position for point in points if not at(2000) <= point.t_ns < at(3000))
    assert points[0] == Point(at(1001), (10 / 96, 0.0))


# --- windows ----------------------------------------------------------------------------------------------------------


def test_positions_in_a_captured_window_leave_its_frame_out(make: Make) -> None:
    recorder = make()
    recorder.window(400, [500, 300, 500 + 96 + 12, 300 + 32 + 6])
    recorder.mouse(500, "move", 506 + 48, 300 + 8)
    recorder.mouse(510, "move", 400, 310)
    recorder.window(1500, [700, 300, 700 + 96 + 12, 300 + 32 + 6])
    recorder.mouse(1600, "move", 706 + 48, 300 + 8)
    points = of(told(recorder), Point)
    assert points == [Point(at(500), (0.5, 0.25)), Point(at(510), None), Point(at(1600), (0.5, 0.25))]


def test_inputs_to_another_window_are_unknown_and_left_out(make: Make) -> None:
    ours, other = [500, 300, 500 + 96 + 12, 300 + 32 + 6], [0, 0, 2560, 1392]
    recorder = make()
    recorder.key(350, W, down=True)
    for t, rect in [(400, ours), (1400, ours), (2400, other), (3400, ours)]:
        recorder.window(t, rect)
    recorder.key(1500, T, down=True)
    recorder.key(2500, E, down=True)
    recorder.keys(2600, [W, E])
    recorder.key(3500, E, down=True)
    events = told(recorder)
    lost = at(1400) + 1  # maybe right after the last report
    assert [event for event in events if isinstance(event, Label | Press)] == [
        Press(at(350), "KeyW"),
        Label(lost, False),
        Label(at(3400), True),
        Press(at(3500), "KeyE"),
    ]
    assert {event.device: event.held for event in of(events, Snapshot)} == {"keyboard": set(), "mouse": set()}


def test_whatever_has_the_focus_counts_where_the_screen_was_captured(make: Make) -> None:
    recorder = make()
    recorder.window(400, [0, 0, 96, 32])
    recorder.window(1400, [5, 5, 50, 20])
    recorder.key(1500, T, down=True)
    assert [event for event in told(recorder) if isinstance(event, Label | Press)] == [Press(at(1500), "KeyT")]


def test_no_title_of_a_window_is_kept(make: Make) -> None:
    recorder = make()
    recorder.window(400, [0, 0, 96, 32], title="secret")
    recorder.keys(0, [])
    recorder.keys(5000, [])
    recording = read(recorder.write())
    assert "secret" not in repr((recording, list(recording.events())))


# --- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="real recordings are not here")
@pytest.mark.parametrize(
    ("name", "num_frames", "presses", "num_moves", "unknown"),
    [
        ("0.4.2", 33, "KeyT KeyE KeyS KeyT Space KeyT KeyE KeyX KeyT MouseLeft", 103, {}),
        ("0.5.1", 17, "KeyT KeyE KeyS KeyT Space KeyT KeyE KeyX KeyT", 0, {"virtual key 0xB3": 4}),
    ],
)
def test_real_recordings(name: str, num_frames: int, presses: str, num_moves: int, unknown: dict[str, int]) -> None:
    recording = read(FIXTURES / f"{name}.mcap")
    events, frames = list(recording.events()), list(recording.frames())
    assert [event.control for event in of(events, Press)] == presses.split()
    assert (len(frames), len(of(events, Move)), recording.unknown) == (num_frames, num_moves, unknown)
    assert 2.9 < (recording.end_ns - recording.start_ns) / 1e9 < 3.7
    times = [frame.t_ns for frame in frames]
    assert times == sorted(times)
    assert recording.start_ns == times[0]
    for press in of(events, Press)[
        :9
    ]:  # what is typed appears on the screen at once: inputs and pictures share a clock
        echo_ms = min(t - press.t_ns for t in times if t > press.t_ns) / MS
        assert 5 < echo_ms < 40


# --- hostile files ----------------------------------------------------------------------------------------------------


def drain(path: Path) -> None:
    recording = read(path)
    list(recording.events())
    for frame in recording.frames():
        frame.rgb()


@pytest.fixture
def good(make: Make) -> Path:
    recorder = make()
    for t in range(0, 6000, 100):
        recorder.keys(t, [W])
        recorder.mouse(t, "move", t % 90, t % 30)
    return recorder.write()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_containers_that_are_cut_are_refused(good: Path, share: float) -> None:
    good.write_bytes(good.read_bytes()[: int(good.stat().st_size * share)])
    with pytest.raises(ClipError, match="container"):
        drain(good)


@pytest.mark.parametrize("compression", list(CompressionType))
def test_every_compression_is_read(make: Make, compression: CompressionType) -> None:
    recorder = make()
    recorder.keys(0, [])
    recorder.key(700, W, down=True)
    recorder.keys(5000, [])
    assert Press(at(700), "KeyW") in list(read(recorder.write(compression=compression)).events())


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_harmless_or_refused(tmp_path_factory: pytest.TempPathFactory, place: float, bit: int) -> None:
    path = tmp_path_factory.mktemp("flip") / "a.mcap"
    recorder = Recorder(path)
    for t in range(100):
        recorder.keys(t, [W])
    data = bytearray(recorder.write().read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)
    try:
        assert len(list(messages(path))) == 100
    except ClipError:
        return


def _chunk_record(compression: bytes, data: bytes, size: int) -> bytes:
    body = struct.pack("<QQQI", 0, 0, size, 0) + struct.pack("<I", len(compression)) + compression
    body += struct.pack("<Q", len(data)) + data
    return struct.pack("<BQ", 6, len(body)) + body


def _bombs() -> dict[str, bytes]:
    import lz4.frame
    import zstandard

    zeros = bytes(MAX_CHUNK_BYTES + 1)
    packed = zstandard.compress(zeros)
    unsaid = zstandard.ZstdCompressor(write_content_size=False).compress(zeros)
    return {
        "zstd that says so": _chunk_record(b"zstd", packed, len(zeros)),
        "zstd that hides it": _chunk_record(b"zstd", packed, 10),
        "zstd without a size": _chunk_record(b"zstd", unsaid, 10),
        "lz4 that hides it": _chunk_record(b"lz4", lz4.frame.compress(zeros), 10),
        "rar": _chunk_record(b"rar", b"x", 1),
        "no zstd at all": _chunk_record(b"zstd", b"nonsense", 8),
        "a record of a zettabyte": struct.pack("<BQ", 6, 2**63),
        "a schema of four gigabytes": struct.pack("<BQHI", 3, 100, 1, 2**32 - 1) + bytes(94),
        "a chunk's data of an exabyte": struct.pack("<BQQQQIIQ", 6, 40, 0, 0, 8, 0, 0, 2**60),
        "a message of no channel": struct.pack("<BQHIQQ", 5, 22, 9, 0, 1, 1),
        "a name that is no text": struct.pack("<BQHI", 3, 12, 1, 2) + b"\xff\xfe" + bytes(8),
    }


@pytest.mark.parametrize("what", sorted(_bombs()))
def test_absurd_records_are_refused_before_they_are_unpacked(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(b"\x89MCAP0\r\n" + struct.pack("<BQII", 1, 8, 0, 0) + _bombs()[what])
    tracemalloc.start()
    try:
        with pytest.raises(ClipError, match="container"):
            drain(path)
        assert tracemalloc.get_traced_memory()[1] < MAX_CHUNK_BYTES // 4
    finally:
        tracemalloc.stop()


def test_a_wrong_checksum_is_refused(good: Path) -> None:
    with good.open("rb") as file:
        chunk = next(record for record in StreamReader(file, emit_chunks=True).records if isinstance(record, Chunk))
    crc = struct.pack("<I", chunk.uncompressed_crc)
    good.write_bytes(good.read_bytes().replace(crc, bytes(4)[:3] + b"\x01", 1))
    with pytest.raises(ClipError, match="CRC"):
        drain(good)


@pytest.mark.parametrize(
    ("kind", "topic", "fields"),
    [
        ("KeyboardEvent", "keyboard", b"{"),
        ("KeyboardEvent", "keyboard", b"[1]"),
        ("KeyboardEvent", "keyboard", b"\xff"),
        ("KeyboardEvent", "keyboard", b"[" * 100_000),
        ("KeyboardEvent", "keyboard", {"event_type": "press"}),
        ("KeyboardEvent", "keyboard", {"event_type": "press", "vk": "W"}),
        ("KeyboardEvent", "keyboard", {"event_type": "press", "vk": True}),
        ("KeyboardEvent", "keyboard", {"event_type": 3, "vk": 3}),
        ("KeyboardEvent", "keyboard", b'{"event_type": "press", "vk": NaN}'),
        ("KeyboardEvent", "keyboard", b'{"event_type": "press", "vk": 1' + b"0" * 5000 + b"}"),
        ("KeyboardState", "keyboard/state", {"buttons": 3}),
        ("KeyboardState", "keyboard/state", {"buttons": ["a"]}),
        ("KeyboardState", "keyboard/state", {"buttons": [1] * 100_000}),
        ("KeyboardState", "keyboard/state", {}),
        ("MouseEvent", "mouse", {"event_type": "move", "x": 1}),
        ("MouseEvent", "mouse", {"event_type": "move", "x": 1, "y": 10**30}),
        ("MouseEvent", "mouse", {"event_type": "click", "x": 1, "y": 1, "button": 1, "pressed": True}),
        ("MouseEvent", "mouse", {"event_type": "click", "x": 1, "y": 1, "button": "left", "pressed": "yes"}),
        ("MouseEvent", "mouse", {"event_type": "scroll", "x": 1, "y": 1, "dx": 0, "dy": 10**9}),
        ("MouseEvent", "mouse", b'{"event_type": "move", "x": Infinity, "y": 1}'),
        ("MouseState", "mouse/state", {"x": 1, "y": 1, "buttons": [1]}),
        ("RawMouseEvent", "mouse/raw", {"last_x": 1.5, "last_y": 1}),
        ("RawMouseEvent", "mouse/raw", {"last_x": 10**9, "last_y": 1}),
        ("RawMouseEvent", "mouse/raw", {}),
        ("WindowInfo", "window", {"rect": [1, 2, 3]}),
        ("WindowInfo", "window", {"rect": None}),
        ("ScreenCaptured", "screen", {"media_ref": "a.mkv"}),
        ("ScreenCaptured", "screen", {"media_ref": {"uri": "a.mkv"}}),
        ("ScreenCaptured", "screen", {"media_ref": {"uri": 5, "pts_ns": 3}}),
        ("ScreenCaptured", "screen", {"media_ref": {"uri": "a.mkv", "pts_ns": "3"}}),
        ("ScreenCaptured", "screen", {"utc_ns": [], "media_ref": {"uri": "a.mkv", "pts_ns": 3}}),
    ],
)
def test_wrong_types_are_refused(make: Make, kind: str, topic: str, fields: dict[str, Any] | bytes) -> None:
    recorder = make()
    recorder.keys(0, [])
    recorder.mouse(1, "move", 5, 5)
    recorder.say(600, topic, kind, fields)
    recorder.keys(5000, [])
    with pytest.raises(ClipError, match=kind + "|absurdly"):
        drain(recorder.write())


@pytest.mark.parametrize("size", [[0, 5], [5], [-1, 5], [10**9, 5]])
def test_absurd_sizes_of_the_screen_are_refused(make: Make, size: Any) -> None:
    recorder = make(size=size)
    recorder.keys(0, [])
    with pytest.raises(ClipError, match="source_shape"):
        drain(recorder.write())


@pytest.mark.parametrize(
    "uri",
    [
        *["../a.mkv", "/etc/passwd", "C:\\a.mkv", "C:a.mkv", "\\\\server\\share\\a.mkv", "x/../../a.mkv", "..\\a.mkv"],
        *["http://example.com/a.mkv", "file:///etc/passwd", "concat:a.mkv|b.mkv", "a\0.mkv", "~/../../a.mkv"],
    ],
)
def test_videos_elsewhere_are_refused(make: Make, uri: str) -> None:
    recorder = make(uri=uri)
    recorder.keys(0, [])
    with pytest.raises(ClipError, match="names a video elsewhere"):
        drain(recorder.write())


def test_links_out_of_the_folder_are_refused(make: Make, tmp_path_factory: pytest.TempPathFactory) -> None:
    recorder = make(uri="link.mkv")
    outside = tmp_path_factory.mktemp("secret") / "a.mkv"
    outside.write_bytes((recorder.path.parent / "a.mkv").read_bytes())
    (recorder.path.parent / "link.mkv").symlink_to(outside)
    recorder.keys(0, [])
    with pytest.raises(ClipError, match="names a video elsewhere"):
        drain(recorder.write())


@pytest.mark.parametrize(
    ("uri", "words"), [("b.mkv", "missing"), ("x" * 5000, "elsewhere"), ("\ud800.mkv", "elsewhere"), (".", "missing")]
)
def test_missing_videos_are_named(make: Make, uri: str, words: str) -> None:
    recorder = make(uri=uri)
    recorder.keys(0, [])
    with pytest.raises(ClipError, match=words):
        drain(recorder.write())


def test_what_is_no_video_is_refused(make: Make) -> None:
    recorder = make()
    (recorder.path.parent / "a.mkv").write_bytes(b"no video" * 100)
    recorder.keys(0, [])
    with pytest.raises(ClipError, match="decoded"):
        drain(recorder.write())


def test_a_cut_video_gives_its_good_pictures(make: Make, barcodes: Barcodes) -> None:
    recorder = make()
    recorder.keys(0, [])
    recorder.keys(9000, [])
    video = recorder.path.parent / "a.mkv"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    numbers: list[int] = []
    with suppress(ClipError):
        numbers.extend(barcodes.number(frame.rgb()) for frame in read(recorder.write()).frames())
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < 40


def test_recordings_without_inputs_or_pictures_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="without inputs"):
        drain(make().write())
    recorder = Recorder(tmp_path / "a.mcap")
    recorder.keys(0, [])
    with pytest.raises(ClipError, match="no screen messages"):
        drain(recorder.write())
    recorder.say(5, "screen", "ScreenCaptured", {"media_ref": {"uri": "data:image/png;base64,AAAA"}})
    with pytest.raises(ClipError, match="1 embedded"):
        drain(recorder.write())


def test_messages_of_other_encodings_are_refused(good: Path) -> None:
    good.write_bytes(good.read_bytes().replace(b"json\x00\x00", b"cbor\x00\x00"))
    with pytest.raises(ClipError, match=r"cbor|CRC"):
        drain(good)


@given(st.lists(st.integers(0, 4000), min_size=1, max_size=60))
def test_messages_come_in_order_of_time(tmp_path_factory: pytest.TempPathFactory, times: list[int]) -> None:
    recorder = Recorder(tmp_path_factory.mktemp("order") / "a.mcap")
    for number, t in enumerate(times):
        recorder.keys(t, [number])
    got = [(message.t_ns, message.data) for message in messages(recorder.write(in_order=False))]
    assert got == sorted(((at(t), b'{"buttons":[%d]}' % number) for number, t in enumerate(times)), key=lambda m: m[0])


@pytest.mark.parametrize("t_ms", [-1e9, 9e11, -T0_NS / MS])
def test_times_far_off_are_refused(make: Make, t_ms: float) -> None:
    recorder = make()
    recorder.keys(0, [])
    recorder.keys(6000, [])
    recorder.keys(t_ms, [])
    recorder.keys(6001, [])
    with pytest.raises(ClipError, match=r"container|absurd length"):
        drain(recorder.write(in_order=False))


# --- finding ----------------------------------------------------------------------------------------------------------


def test_recordings_are_found_below_a_folder_under_names_of_their_own(tmp_path: Path) -> None:
    for name in ("b/one.mcap", "a/one.mcap", "two words.mcap", "0.5.1.mcap", "other.mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    found = OwaImporter().find(tmp_path)
    ids = [one.recording_id for one in found]
    assert [one.path.name for one in found] == ["0.5.1.mcap", "one.mcap", "one.mcap", "two words.mcap"]
    assert len(set(ids)) == 4
    assert all(one.num_bytes == 5 for one in found)
    assert ids == [one.recording_id for one in OwaImporter().find(tmp_path)]


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no OWAMcap"):
        OwaImporter().find(tmp_path)
