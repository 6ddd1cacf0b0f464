import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gi_data.inputs_table import Labels
from gi_data.metadata import ClipMetadata
from gi_data.recording import RecordingInfo, RecordingWriter, is_finished
from gi_data.recovery import recover, scan
from gi_data.video import count_frames, decode
from gi_model.actions import Bindings, InputState
from gi_model.errors import ClipError, CorpusError, FrameError

RECORDER = """
import sys
from pathlib import Path
import numpy as np
from gi_data.recording import RecordingInfo, RecordingWriter
from gi_model.actions import AxisBinding, Bindings, InputState

info = RecordingInfo("barcode", 20.0, Bindings({}, {"turn": AxisBinding("motion.x", 1.0)}), "", 0, "", "", "", 32, 96)
with RecordingWriter(Path(sys.argv[1]), "killed", info, clip_ticks=40) as writer:
    for number in range(int(sys.argv[2])):
        bits = np.array([255 * (number >> bit & 1) for bit in range(12)], dtype=np.uint8)
        frame = np.broadcast_to(bits.repeat(8)[None, :, None], (32, 96, 3)).copy()
        writer.append(frame, InputState(motion=(number, 0)), t_ns=number)
        print(number, flush=True)
"""


def read_part(directory: Path, key: str, barcodes: Any) -> tuple[list[int], Labels, ClipMetadata]:
    """Numbers that the frames show, labels, metadata."""
    metadata = ClipMetadata.from_json((directory / f"{key}.json").read_bytes(), key)
    labels = Labels.from_lines((directory / f"{key}.inputs.jsonl").read_bytes(), key)
    video = (directory / f"{key}.mp4").read_bytes()
    assert count_frames(video, key) == metadata.num_ticks == len(labels)
    frames = decode(video, key, frames=range(metadata.num_ticks), height=barcodes.height, width=barcodes.width)
    return [barcodes.number(frame) for frame in frames], labels, metadata


def test_parts_hold_what_was_played(recordings: Path, barcodes: Any) -> None:
    seen = []
    for part, num_ticks in enumerate([40, 40, 10]):
        numbers, labels, metadata = read_part(recordings, f"maze-0-{part:04d}", barcodes)
        assert numbers == [barcodes.number_of(state) for state in labels.inputs]
        assert labels.inputs == tuple(map(barcodes.state, numbers))
        assert (metadata.num_ticks, metadata.num_parts, metadata.part) == (num_ticks, 3, part)
        seen += numbers
    assert seen == list(range(90))


def test_scan_lists_every_part(recordings: Path) -> None:
    found = scan(recordings)
    assert len(found.finished) == 18
    assert found.unfinished == ()


def test_metadata_is_read_back_as_written(tmp_path: Path, barcodes: Any) -> None:
    info = barcodes.info(extra={"map": 7, "skill": "hard", "noise": 0.1, "note": None})
    with RecordingWriter(tmp_path, "extra", info) as writer:
        writer.append(barcodes.frame(1), barcodes.state(1), t_ns=5)
        writer.finish(score=12.5)
    _, _, metadata = read_part(tmp_path, "extra-0000", barcodes)
    assert metadata.info == info
    assert (metadata.score, metadata.t0_ns, metadata.recovered) == (12.5, 5, False)


def test_the_score_reaches_every_part(tmp_path: Path, barcodes: Any) -> None:
    with RecordingWriter(tmp_path, "scored", barcodes.info(), clip_ticks=4) as writer:
        for number in range(10):
            writer.append(barcodes.frame(number), barcodes.state(number), t_ns=number)
        assert not is_finished(tmp_path, "scored")
        writer.finish(score=3.0)
    scores = [json.loads(path.read_text())["score"] for path in tmp_path.glob("*.json")]
    assert scores == [3.0] * 3
    assert is_finished(tmp_path, "scored")


def test_unbound_controls_never_reach_the_disk(tmp_path: Path, barcodes: Any) -> None:
    secret = InputState(keys=frozenset({"KeyW", "KeyP", "KeyS"}), buttons=frozenset({"MouseRight"}), wheel=(1, 1))
    with RecordingWriter(tmp_path, "private", barcodes.info()) as writer:
        writer.append(barcodes.frame(0), secret, t_ns=0)
    _, labels, _ = read_part(tmp_path, "private-0000", barcodes)
    assert labels.inputs == (InputState(keys=frozenset({"KeyW"})),)
    assert b"KeyP" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_unknown_ticks_stay_unknown(tmp_path: Path, barcodes: Any) -> None:
    with RecordingWriter(tmp_path, "known", barcodes.info()) as writer:
        for number in range(6):
            writer.append(barcodes.frame(number), barcodes.state(number), t_ns=number, known=number % 2 == 0)
    _, labels, _ = read_part(tmp_path, "known-0000", barcodes)
    np.testing.assert_array_equal(labels.known, [True, False] * 3)


def test_an_error_while_playing_keeps_everything_recoverable(tmp_path: Path, barcodes: Any) -> None:
    def play() -> None:
        with RecordingWriter(tmp_path, "crash", barcodes.info(), clip_ticks=40) as writer:
            for number in range(55):
                writer.append(barcodes.frame(number), barcodes.state(number), t_ns=number)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        play()
    assert scan(tmp_path).finished == ("crash-0000",)
    assert scan(tmp_path).unfinished == ("crash-0001",)
    assert not is_finished(tmp_path, "crash")
    assert recover(tmp_path).num_ticks == {"crash-0001": 15}
    numbers, _, metadata = read_part(tmp_path, "crash-0001", barcodes)
    assert numbers == list(range(40, 55))
    assert metadata.recovered
    assert is_finished(tmp_path, "crash")


def test_kill_9_loses_at_most_the_last_moments(tmp_path: Path, barcodes: Any) -> None:
    with subprocess.Popen([sys.executable, "-c", RECORDER, str(tmp_path), "4000"], stdout=subprocess.PIPE) as recorder:
        assert recorder.stdout is not None
        for line in recorder.stdout:
            if int(line) == 119 + 75:  # 4 parts are finished, the fifth is open
                os.kill(recorder.pid, signal.SIGKILL)
                break
        last = max([int(line) for line in recorder.stdout] or [194])
    open_key = f"killed-{(last // 40):04d}"
    assert open_key in scan(tmp_path).unfinished
    recovery = recover(tmp_path)
    assert scan(tmp_path).unfinished == ()
    assert is_finished(tmp_path, "killed")
    numbers = []
    for key in scan(tmp_path).finished:
        shown, labels, _ = read_part(tmp_path, key, barcodes)
        assert shown == [state.motion[0] for state in labels.inputs]
        numbers += shown
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= last // 40 * 40
    assert sum(recovery.num_ticks.values()) + len(recovery.lost) > 0
    assert recover(tmp_path).num_ticks == {}


def test_a_part_without_a_single_frame_is_lost_and_reported(tmp_path: Path, barcodes: Any) -> None:
    writer = RecordingWriter(tmp_path, "early", barcodes.info())
    writer.append(barcodes.frame(0), barcodes.state(0), t_ns=0)
    (tmp_path / "early-0000.mp4").write_bytes(b"")  # as if nothing had reached the disk
    assert recover(tmp_path).lost == ("early-0000",)
    assert list(tmp_path.iterdir()) == []
    assert not is_finished(tmp_path, "early")


def test_labels_cut_in_the_middle_shorten_the_part(tmp_path: Path, barcodes: Any) -> None:
    writer = RecordingWriter(tmp_path, "short", barcodes.info())
    for number in range(30):
        writer.append(barcodes.frame(number), barcodes.state(number), t_ns=number)
    writer.abandon()
    labels = tmp_path / "short-0000.inputs.jsonl"
    labels.write_bytes(labels.read_bytes()[:-10])
    assert recover(tmp_path).num_ticks == {"short-0000": 29}
    assert read_part(tmp_path, "short-0000", barcodes)[0] == list(range(29))


@pytest.mark.parametrize("limit", [200, 2000])
def test_a_full_disk_is_a_clear_error_and_keeps_finished_parts(tmp_path: Path, barcodes: Any, limit: int) -> None:
    """A limit on the size of files stands in for a full disk: writes fail with an OSError from tick 130 on."""
    full = f"        if number == 130: import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    body = RECORDER.replace("        bits =", full + "        bits =")
    guarded = "".join(f"    {line}\n" for line in body.splitlines())
    program = (
        f"from gi_model.errors import CorpusError\ntry:\n{guarded}except CorpusError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), "4000"]
    recorder = subprocess.run(command, capture_output=True, text=True, check=False)
    assert recorder.returncode == 0, recorder.stderr
    assert "cannot write" in recorder.stdout.splitlines()[-1]
    assert "what was finished is kept" in recorder.stdout.splitlines()[-1]
    assert scan(tmp_path).finished[:3] == ("killed-0000", "killed-0001", "killed-0002")
    shown = [number for key in scan(tmp_path).finished for number in read_part(tmp_path, key, barcodes)[0]]
    assert shown == list(range(len(shown)))
    recover(tmp_path)
    assert is_finished(tmp_path, "killed")


def test_an_id_is_used_once(tmp_path: Path, barcodes: Any) -> None:
    barcodes.record(tmp_path, "once", num_ticks=3)
    with pytest.raises(CorpusError, match="once exists"):
        RecordingWriter(tmp_path, "once", barcodes.info())


@pytest.mark.parametrize("name", ["a.b", "doom/e1m1", "", "ü", "a" * 121])
def test_ids_that_cannot_name_a_file_are_refused(tmp_path: Path, barcodes: Any, name: str) -> None:
    with pytest.raises(CorpusError, match="cannot name a file"):
        RecordingWriter(tmp_path, name, barcodes.info())


def test_wrong_frames_and_clocks_are_refused(tmp_path: Path, barcodes: Any) -> None:
    with RecordingWriter(tmp_path, "strict", barcodes.info()) as writer:
        writer.append(barcodes.frame(0), barcodes.state(0), t_ns=10)
        with pytest.raises(FrameError, match="another size"):
            writer.append(barcodes.frame(1)[:16], barcodes.state(1), t_ns=20)
        with pytest.raises(FrameError, match="not a frame"):
            writer.append(barcodes.frame(1).astype(np.float32), barcodes.state(1), t_ns=20)
        with pytest.raises(CorpusError, match="time does not rise"):
            writer.append(barcodes.frame(1), barcodes.state(1), t_ns=10)
    with pytest.raises(CorpusError, match="is finished"):
        writer.append(barcodes.frame(1), barcodes.state(1), t_ns=30)


def test_a_recording_needs_a_tick(tmp_path: Path, barcodes: Any) -> None:
    with pytest.raises(CorpusError, match="no ticks"):
        RecordingWriter(tmp_path, "empty", barcodes.info()).finish()


@pytest.mark.parametrize("size", [(31, 96), (32, 95), (0, 96)])
def test_sizes_that_h264_cannot_store_are_refused(barcodes: Any, size: tuple[int, int]) -> None:
    with pytest.raises(CorpusError, match="video size"):
        barcodes.info(height=size[0], width=size[1])


def test_foreign_metadata_is_an_error_that_names_the_clip() -> None:
    info = RecordingInfo("g", 20.0, Bindings(), "", 0, "", "", "", 32, 96)
    good = ClipMetadata(info, "id", 0, num_ticks=1, t0_ns=0, sha256={}).to_json()
    assert ClipMetadata.from_json(good, "x").info == info
    for bad in (
        b"",
        b"[]",
        b"{}",
        good.replace(b'"schema": 1', b'"schema": 2'),
        good.replace(b'"fps": 20.0', b'"fps": "x"'),
    ):
        with pytest.raises(ClipError, match="a1f3"):
            ClipMetadata.from_json(bad, "a1f3")
