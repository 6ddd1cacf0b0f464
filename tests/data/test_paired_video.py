"""Videos matched by number: frame k is at time k, on the clock's own grid; a video that breaks off is found out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_data.ingest.paired_video import count_pictures, paired_frames, tick_times
from gi_data.ingest.timeline import tick_edges
from gi_model.errors import ClipError
from tests.conftest import Barcodes
from tests.data.foreign_formats import write_video


@given(st.integers(1, 5000), st.sampled_from([1.0, 16.0, 17.5, 20.0, 23.976, 29.97, 30.0, 60.0, 144.0]))
def test_ticks_begin_where_the_clock_puts_them(num_ticks: int, fps: float) -> None:
    times = tick_times(num_ticks, fps)
    edges = tick_edges(0, times[-1], fps).tolist()
    assert len(edges) == len(times) == num_ticks + 1
    assert times[:-1] == edges[:-1]


@pytest.fixture
def video(tmp_path: Path, barcodes: Barcodes) -> Path:
    write_video(tmp_path / "a.mp4", map(barcodes.frame, range(20)), 30)
    return tmp_path / "a.mp4"


def test_frame_k_is_at_time_k_whatever_the_video_says(video: Path, barcodes: Barcodes) -> None:
    """Its own rate is 30."""
    assert count_pictures(video) == 20
    frames = list(paired_frames(video, tick_times(15, 20.0)))
    assert [(frame.t_ns, barcodes.number(frame.rgb())) for frame in frames] == [(n * 50_000_000, n) for n in range(15)]


def test_a_video_that_breaks_off_is_found_out_after_its_last_frame(video: Path) -> None:
    frames = paired_frames(video, tick_times(22, 20.0))
    assert len([next(frames) for _ in range(20)]) == 20
    with pytest.raises(ClipError, match="breaks off"):
        next(frames)
    assert len(list(paired_frames(video, tick_times(21, 20.0)))) == 20, "one frame is a miscount"


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="video is missing"):
        count_pictures(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(b"x" * 100)
    with pytest.raises(ClipError, match="cannot be decoded"):
        count_pictures(tmp_path / "a.mp4")
