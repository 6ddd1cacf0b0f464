"""Clips in one file: every picture as it was, at its own tick."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from gi_data.shared_video import SharedVideos
from gi_data.video import read_pictures
from gi_data.video_writer import VideoWriter
from gi_model.errors import ClipError, CorpusError
from gi_model.frames import Frame

FPS = 17.5


def make_clip(path: Path, barcodes: Any, numbers: range, *, crf: int = 20, fps: float = FPS) -> bytes:
    writer = VideoWriter(path, fps=fps, height=barcodes.height, width=barcodes.width, crf=crf)
    for number in numbers:
        writer.append(barcodes.frame(number))
    writer.close()
    return path.read_bytes()


def open_shared(folder: Path, *, max_bytes: int = 10**9, fps: float = FPS) -> SharedVideos:
    return SharedVideos(lambda number: folder / f"{number}.mp4", fps=fps, max_bytes=max_bytes)


def pictures(path: Path, **options: int) -> tuple[list[int], list[Frame]]:
    found = [(t_ns, rgb()) for t_ns, rgb in read_pictures(path, **options)]
    return [t_ns for t_ns, _ in found], [frame for _, frame in found]


@pytest.mark.parametrize("frames", [range(70), range(30, 70), range(29, 70), range(31, 33), range(69, 70)])
def test_pictures_of_a_stretch_are_those_of_the_clip(tmp_path: Path, barcodes: Any, frames: range) -> None:
    """A stretch that begins without a keyframe brings along what it is decoded from, 29 pictures at most."""
    first = make_clip(tmp_path / "a.mp4", barcodes, range(40))
    second = make_clip(tmp_path / "b.mp4", barcodes, range(100, 170))
    shared = open_shared(tmp_path / "out")
    assert shared.append(first, "a", frames=range(40)) == (0, 0)
    placed = shared.append(second, "b", frames=frames)
    shared.close()
    assert placed.file_id == 0
    assert 40 <= placed.first < 70
    times, copied = pictures(tmp_path / "out" / "0.mp4")
    tick = 1 / Fraction(FPS)
    assert times == [round(number * tick * 10**9) for number in range(len(times))]
    _, wanted = pictures(tmp_path / "b.mp4")
    np.testing.assert_array_equal(copied[placed.first :], wanted[frames.start : frames.stop])
    np.testing.assert_array_equal(copied[:40], pictures(tmp_path / "a.mp4")[1])


def test_reading_can_begin_at_the_keyframe_before_a_time(tmp_path: Path, barcodes: Any) -> None:
    make_clip(tmp_path / "a.mp4", barcodes, range(100))
    times, frames = pictures(tmp_path / "a.mp4")
    for start in (0, 1, 29, 30, 31, 59, 60, 99):
        from_there, seen = pictures(tmp_path / "a.mp4", start_ns=times[start])
        begin = len(times) - len(from_there)
        assert start - 30 < begin <= start
        assert from_there == times[begin:]
        np.testing.assert_array_equal(seen, frames[begin:])


def test_a_full_file_is_followed_by_another(tmp_path: Path, barcodes: Any) -> None:
    clip = make_clip(tmp_path / "a.mp4", barcodes, range(30))
    shared = open_shared(tmp_path, max_bytes=2 * len(clip))
    placed = [shared.append(clip, "a", frames=range(30)) for _ in range(5)]
    shared.close()
    assert placed[0] == (0, 0)
    assert placed[-1].file_id >= 1
    assert max((tmp_path / f"{number}.mp4").stat().st_size for number in {p.file_id for p in placed}) < 3 * len(clip)


def test_no_file_is_longer_than_float32_can_count_in(tmp_path: Path, barcodes: Any) -> None:
    clip = make_clip(tmp_path / "a.mp4", barcodes, range(40), fps=0.1)
    shared = open_shared(tmp_path, fps=0.1)
    assert [tuple(shared.append(clip, "a", frames=range(40))) for _ in range(4)] == [(0, 0), (0, 40), (1, 0), (1, 40)]


def test_other_parameters_begin_another_file(tmp_path: Path, barcodes: Any) -> None:
    one = make_clip(tmp_path / "a.mp4", barcodes, range(5))
    other = make_clip(tmp_path / "b.mp4", barcodes, range(5), crf=30)
    shared = open_shared(tmp_path)
    assert shared.append(one, "a", frames=range(5)).file_id == 0
    assert shared.append(other, "b", frames=range(5)) == (1, 0)
    shared.close()


# ---------------------------------------------------------------------- bad input


def test_a_clip_that_is_too_short_or_no_video_is_refused(tmp_path: Path, barcodes: Any) -> None:
    clip = make_clip(tmp_path / "a.mp4", barcodes, range(5))
    shared = open_shared(tmp_path)
    with pytest.raises(ClipError, match="clip a ends early; got 5 frames; expected 6"):
        shared.append(clip, "a", frames=range(6))
    with pytest.raises(ClipError, match="clip b cannot be copied"):
        shared.append(b"no video", "b", frames=range(1))


def test_b_frames_are_refused(tmp_path: Path, barcodes: Any) -> None:
    path = tmp_path / "b.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"x264-params": "bframes=3:b-adapt=0"})
        stream.width, stream.height, stream.pix_fmt = barcodes.width, barcodes.height, "yuv420p"
        for number in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(barcodes.frame(number), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(ClipError, match="clip b has B-frames"):
        open_shared(tmp_path).append(path.read_bytes(), "b", frames=range(20))


def test_a_disk_that_refuses_is_said(tmp_path: Path, barcodes: Any) -> None:
    clip = make_clip(tmp_path / "a.mp4", barcodes, range(5))
    (tmp_path / "0.mp4").mkdir()
    with pytest.raises(CorpusError, match="cannot write"):
        open_shared(tmp_path).append(clip, "a", frames=range(5))
