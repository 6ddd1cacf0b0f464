"""VPT: line k meets frame k; the quirks its published loader repairs; files that are not what they say."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_data.ingest.cursor_mark import draw_cursor
from gi_data.ingest.source import Found, SourceRecording
from gi_data.ingest.vpt import BINDINGS, VptImporter
from gi_data.ingest.vpt_states import read_states
from gi_model.actions import InputState
from gi_model.errors import ClipError, CorpusError
from tests.conftest import Barcodes
from tests.data.foreign_formats import vpt_line, write_vpt
from tests.data.played import play

NOTHING = InputState()


def read(path: Path) -> SourceRecording:
    (found,) = VptImporter().find(path)
    return VptImporter().read(found)


def states(*lines: dict[str, Any], version: str | None = None) -> list[InputState]:
    unknown = Counter[str]()
    ticks = list(read_states([json.dumps(line).encode() for line in lines], unknown, version=version))
    assert all(tick.known for tick in ticks), unknown
    return [tick.state for tick in ticks]


def press(*keys: str, **changes: Any) -> dict[str, Any]:
    return vpt_line(InputState(keys=frozenset(keys)), **changes)


@pytest.fixture
def recorded(tmp_path: Path, barcodes: Barcodes) -> Path:
    numbers = range(60)
    return write_vpt(tmp_path / "6.13", map(barcodes.frame, numbers), [barcodes.state(n) for n in numbers])


def test_every_frame_meets_its_own_line(recorded: Path, barcodes: Barcodes) -> None:
    recording = read(recorded)
    pairs = [(barcodes.number(frame), barcodes.number_of(tick.state)) for frame, tick in play(recording)]
    assert pairs == [(n, n) for n in range(60)]
    assert [tick.state for _, tick in play(recording)] == [barcodes.state(n) for n in range(60)]
    assert (recording.fps, recording.game, recording.license) == (20.0, "minecraft", "MIT")
    assert recording.extra["recorder_version"] == "6.13"
    assert not recording.unknown


@given(
    st.lists(
        st.builds(
            InputState,
            keys=st.frozensets(st.sampled_from(["KeyW", "Space", "ShiftLeft", "Digit4", "F3", "Slash", "Numpad7"])),
            buttons=st.frozensets(st.sampled_from(["MouseLeft", "MouseRight", "MouseMiddle"])),
            motion=st.tuples(st.integers(-300, 300), st.integers(-300, 300)),
            wheel=st.tuples(st.just(0), st.integers(-3, 3)),
            cursor=st.none()
            | st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.integers(0, 8).map(lambda n: n / 8)),
        ),
        max_size=12,
    )
)
def test_reading_is_the_inverse_of_writing(written: list[InputState]) -> None:
    lines = [vpt_line(state, before) for state, before in zip(written, [NOTHING, *written], strict=False)]
    assert states(vpt_line(NOTHING), *lines)[1:] == written


def test_the_camera_turns_by_the_published_degrees() -> None:
    assert BINDINGS.amount(InputState(motion=(2400, -1200)), "turn") == pytest.approx(360)
    assert BINDINGS.amount(InputState(motion=(2400, -1200)), "look") == pytest.approx(-180)


def test_attack_that_is_stuck_from_the_start_is_removed_until_it_is_pressed() -> None:
    held = InputState(buttons=frozenset({"MouseLeft", "MouseRight"}))
    stuck = vpt_line(InputState(buttons=frozenset({"MouseLeft"})))
    assert stuck["mouse"]["newButtons"] == [0]
    got = states(stuck, vpt_line(held, held), vpt_line(held), vpt_line(held, held))
    assert [sorted(state.buttons) for state in got] == [[], ["MouseRight"]] + [["MouseLeft", "MouseRight"]] * 2


def test_attack_pressed_after_the_start_is_kept() -> None:
    held = InputState(buttons=frozenset({"MouseLeft"}))
    assert states(vpt_line(NOTHING), vpt_line(held), vpt_line(held, held))[1:] == [held, held]


def test_a_slot_that_changes_by_itself_is_its_key() -> None:
    got = states(press(hotbar=3), press(hotbar=3), press("KeyW", hotbar=7), press(hotbar=7))
    assert [sorted(state.keys) for state in got] == [[], [], ["Digit8", "KeyW"], []]


def test_a_slot_that_key_or_wheel_explain_is_left_alone() -> None:
    by_key = states(press(hotbar=0), press("Digit3", hotbar=0), press(hotbar=2))
    assert [sorted(state.keys) for state in by_key] == [[], ["Digit3"], []]
    by_wheel = states(press(hotbar=0), vpt_line(InputState(wheel=(0, 1)), hotbar=1))
    assert by_wheel[1] == InputState(wheel=(0, 1))


@pytest.mark.parametrize(("version", "scale"), [("5.7", 0.5), ("6.9", 2.0), ("6.10", 1.0), (None, 1.0)])
def test_old_recorders_scaled_the_mouse_in_windows(version: str | None, scale: float) -> None:
    inside, outside = InputState(motion=(5, -3), cursor=(0.5, 0.5)), InputState(motion=(5, -3))
    got = states(*[vpt_line(inside)] * 10, version=version)
    assert [sum(state.motion[axis] for state in got) for axis in (0, 1)] == [50 * scale, -30 * scale]
    assert states(vpt_line(outside), version=version) == [outside]


def test_the_version_is_the_folders_name(recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "6.13").rename(tmp_path / "6.8")
    assert read(tmp_path).extra["recorder_version"] == "6.8"


def test_in_windows_the_cursor_is_in_label_and_picture(tmp_path: Path) -> None:
    frames = [np.full((360, 640, 3), 90, dtype=np.uint8)] * 24
    closed, opened = InputState(), InputState(cursor=(0.25, 0.5))
    recording = read(write_vpt(tmp_path, frames, [closed] * 12 + [opened] * 12))
    played = list(play(recording))
    assert [tick.state.cursor for _, tick in played] == [None] * 12 + [(0.25, 0.5)] * 12
    assert played[0][0].std() < 2
    shown = played[20][0].astype(int)
    assert shown[180:184, 160].max() < 30, "the tip's edge is black"
    assert shown[188, 163].min() > 220, "inside it is white"
    assert abs(shown[:170].mean() - 90) < 2, "the rest is untouched"
    assert recording.bindings.cursor


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_cursor_at_any_place_stays_in_the_picture(x: float, y: float) -> None:
    frame = np.full((36, 64, 3), 90, dtype=np.uint8)
    marked = draw_cursor(frame, (x, y))
    assert marked.shape == frame.shape
    assert (frame == 90).all()
    assert (marked[: int(y * 36)] == 90).all()
    assert (marked[:, : int(x * 64)] == 90).all()


def test_broken_lines_and_nulls_are_unknown_not_idle(recorded: Path, barcodes: Barcodes) -> None:
    lines = recorded.read_text().splitlines()
    lines[5] = lines[5][:50]
    lines[7] = json.dumps(json.loads(lines[7]) | {"mouse": None})
    lines[9] = json.dumps(json.loads(lines[9]) | {"keyboard": {"keys": None}})
    recorded.write_text("\n".join(lines) + "\n\n")
    recording = read(recorded)
    assert recording.unknown == {"line that cannot be read": 3}
    played = list(play(recording))
    assert [n for n, (_, tick) in enumerate(played) if not tick.known] == [5, 7, 9]
    assert all(barcodes.number_of(t.state) == barcodes.number(f) for f, t in played if t.known)


@pytest.mark.parametrize(
    ("lines", "ticks", "unknown"), [(61, 60, {"surplus lines": 1}), (55, 55, {"surplus frames": 5})]
)
def test_the_surplus_of_either_is_dropped_at_the_end(
    tmp_path: Path, barcodes: Barcodes, lines: int, ticks: int, unknown: dict[str, int]
) -> None:
    path = write_vpt(tmp_path, map(barcodes.frame, range(60)), [barcodes.state(n) for n in range(lines)])
    recording = read(path)
    assert recording.unknown == unknown
    assert [barcodes.number_of(tick.state) for _, tick in play(recording)] == list(range(ticks))


def test_what_has_no_name_is_counted() -> None:
    unknown = Counter[str]()
    line = press("KeyW")
    line["keyboard"]["keys"] += ["key.keyboard.world.2", "key.mouse.left"]
    line["mouse"]["buttons"] += [9]
    (tick,) = read_states([json.dumps(line).encode()], unknown)
    assert tick.state.keys == {"KeyW"}
    assert unknown == {"key key.keyboard.world.2": 1, "key key.mouse.left": 1, "mouse button 9": 1}


HOSTILE = {
    "no JSON": b"\x00\xff\xfe" * 40,
    "deep JSON": b"[" * 100_000,
    "another format": b'{"action": [1, 2]}',
    "infinite motion": json.dumps(vpt_line(NOTHING)).replace('"dx": 0.0', '"dx": Infinity').encode(),
    "absurd motion": json.dumps(vpt_line(NOTHING)).replace('"dx": 0.0', '"dx": 1e300').encode(),
    "motion in words": json.dumps(vpt_line(NOTHING)).replace('"dx": 0.0', '"dx": "left"').encode(),
    "keys that are lists": json.dumps(vpt_line(NOTHING)).replace('"keys": []', '"keys": [[1]]').encode(),
    "a huge number": json.dumps(vpt_line(NOTHING)).replace('"dx": 0.0', '"dx": ' + "9" * 10_000).encode(),
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
def test_labels_that_are_none_are_refused(recorded: Path, line: bytes) -> None:
    recorded.write_bytes((line + b"\n") * 60)
    with pytest.raises(ClipError, match="not VPT labels"):
        read(recorded)


def test_an_endless_line_is_refused(recorded: Path) -> None:
    recorded.write_bytes(b" " * (2**20 + 1))
    with pytest.raises(ClipError, match="absurd"):
        read(recorded)


def test_empty_labels_and_no_video_are_refused(recorded: Path) -> None:
    content = recorded.read_bytes()
    recorded.write_bytes(b"")
    with pytest.raises(ClipError, match="absurd size"):
        read(recorded)
    recorded.write_bytes(content)
    recorded.with_suffix(".mp4").write_bytes(b"no video" * 100)
    with pytest.raises(ClipError, match="cannot be decoded"):
        read(recorded)


def test_a_video_that_is_cut_gives_what_is_there(recorded: Path, barcodes: Barcodes) -> None:
    video = recorded.with_suffix(".mp4")
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 2 // 3])
    recording = read(recorded)
    pairs = [(barcodes.number(frame), barcodes.number_of(tick.state)) for frame, tick in play(recording)]
    assert 10 < len(pairs) < 60
    assert pairs == [(n, n) for n in range(len(pairs))]


def test_recordings_are_found_below_a_folder(recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").write_text("{}")
    assert [(f.recording_id, f.path) for f in VptImporter().find(tmp_path)] == [("play", recorded)]
    assert isinstance(VptImporter().find(recorded)[0], Found)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="no VPT recordings"):
        VptImporter().find(tmp_path / "empty")
