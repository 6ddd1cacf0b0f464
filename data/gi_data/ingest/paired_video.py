"""Video whose frame k belongs to the label k, whatever its time stamps say: many formats pair them by number alone."""

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from gi_data.ingest.limits import MAX_VIDEO_BYTES, check_file
from gi_data.ingest.timeline import TimedFrame, tick_edges
from gi_data.video import count_frames, read_pictures
from gi_model.errors import ClipError
from gi_model.frames import Frame

Picture = Callable[[], Frame]
_SLACK = 1  # frames: containers miscount by one, and the last frame then stands for two


def _as_it_is(_: int, picture: Picture) -> Picture:
    return picture


def count_pictures(path: Path) -> int:
    """Count the frames of a video file without decoding them. Raises ClipError if it is no video."""
    return count_frames(check_file(path, "video", max_bytes=MAX_VIDEO_BYTES), path.name)


def tick_times(num_ticks: int, fps: float) -> list[int]:
    """Times in ns at which `num_ticks` ticks begin, and the last one ends: those of the clock everything is put on."""
    end_ns = math.ceil(num_ticks * 10**9 / Fraction(fps).limit_denominator(1001))
    return [*tick_edges(0, end_ns, fps).tolist()[:-1], end_ns]


def paired_frames(
    path: Path, times_ns: Sequence[int], mark: Callable[[int, Picture], Picture] = _as_it_is
) -> Iterator[TimedFrame]:
    """Frame k at times_ns[k], after `mark(k, picture)`; the last time is the end. Raises ClipError if frames lack."""
    num_ticks, number = len(times_ns) - 1, 0
    for number, (t_ns, (_, picture)) in enumerate(zip(times_ns[:-1], read_pictures(path), strict=False), start=1):
        yield TimedFrame(t_ns, mark(number - 1, picture))
    if number < num_ticks - _SLACK:
        raise ClipError(f"video {path.name} breaks off", got=f"{number} frames", expected=num_ticks)
