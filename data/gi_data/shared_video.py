"""`SharedVideos`: many clips in a few mp4 files, their pictures copied as they are, not encoded again.

A stretch that does not begin with a keyframe brings along what lies between the keyframe before it and its beginning:
those pictures are in the file but in nobody's stretch. A new file begins where the old one is full, or where H.264's
parameters change. Picture n of a file stands at n ticks exactly. Files are short enough in time, too: LeRobot compares
time stamps as float32 to within 0.1 ms, which beyond 1,024 seconds fails for some pictures at rates such as 29.97 Hz.
"""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import OutputContainer

from gi_data.storage import disk_error
from gi_model.errors import ClipError

MAX_SECONDS = 1000.0


class Placed(NamedTuple):
    """Where a stretch went: number of the file, and of its first picture in there."""

    file_id: int
    first: int


class SharedVideos:
    """Writes files `path_of(0)`, `path_of(1)`, ...; complete after `close`. max_bytes: of a file, roughly."""

    def __init__(self, path_of: Callable[[int], Path], *, fps: float, max_bytes: int) -> None:
        self._path_of, self._max_bytes = path_of, max_bytes
        self._tick = 1 / Fraction(fps).limit_denominator(1001)
        self._file: _OpenFile | None = None
        self._file_id = -1

    def append(self, video: bytes, name: str, *, frames: range) -> Placed:
        """Add pictures `frames` of clip `name`'s mp4. Raises ClipError if it lacks them, CorpusError on a full disk."""
        try:
            with av.open(io.BytesIO(video), "r") as container:
                stream = container.streams.video[0]
                packets = [packet for packet in container.demux(stream) if packet.size]
                start = _keyframe_before(packets, name, frames)
                wanted = packets[start : frames.stop]
                target = self._file_for(stream, sum(packet.size for packet in wanted), len(wanted))
                first = target.num_frames + frames.start - start
                target.write(wanted)
        except (av.FFmpegError, IndexError) as error:
            raise ClipError(f"video of clip {name} cannot be copied", got=str(error)[:200], expected="H.264") from error
        return Placed(self._file_id, first)

    def close(self) -> None:
        """End the open file. Raises CorpusError if the disk refuses."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _file_for(self, stream: av.VideoStream, num_bytes: int, num_frames: int) -> "_OpenFile":
        file = self._file
        if file is None or not file.takes(stream, num_bytes, max_bytes=self._max_bytes, num_frames=num_frames):
            self.close()
            self._file_id += 1
            self._file = file = _OpenFile(self._path_of(self._file_id), stream, self._tick)
        return file


class _OpenFile:
    def __init__(self, path: Path, stream: av.VideoStream, tick: Fraction) -> None:
        self._path, self._tick, self._parameters = path, tick, _parameters(stream)
        self.num_frames = self._num_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._container: OutputContainer = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        except av.FFmpegError as error:
            raise disk_error(path, error) from error
        self._stream = self._container.add_stream_from_template(stream)
        self._stream.time_base = tick

    def takes(self, stream: av.VideoStream, num_bytes: int, *, max_bytes: int, num_frames: int) -> bool:
        """Whether so much more of the same kind has room."""
        is_full = self._num_bytes + num_bytes > max_bytes or (self.num_frames + num_frames) * self._tick > MAX_SECONDS
        return _parameters(stream) == self._parameters and not is_full

    def write(self, packets: "list[av.Packet[av.VideoStream]]") -> None:
        try:
            for packet in packets:
                self._num_bytes += packet.size
                packet.time_base, packet.duration = self._tick, 1
                packet.pts = packet.dts = self.num_frames
                packet.stream = self._stream
                self._container.mux(packet)
                self.num_frames += 1
        except av.FFmpegError as error:
            raise disk_error(self._path, error) from error

    def close(self) -> None:
        try:
            self._container.close()
        except av.FFmpegError as error:
            raise disk_error(self._path, error) from error


def _parameters(stream: av.VideoStream) -> tuple[object, ...]:
    return stream.codec_context.name, stream.width, stream.height, stream.codec_context.extradata


def _keyframe_before(packets: "list[av.Packet[av.VideoStream]]", name: str, frames: range) -> int:
    """Number of the last keyframe at or before the first picture wanted; packet k is picture k."""
    if len(packets) < frames.stop:
        raise ClipError(f"video of clip {name} ends early", got=f"{len(packets)} frames", expected=frames.stop)
    times = [packet.pts for packet in packets]
    if None in times or times != sorted(times, key=lambda pts: pts or 0):
        do = "Ingest or record it again: our writer makes none."
        raise ClipError(f"video of clip {name} has B-frames", expected="pictures in the order of time", do=do)
    keyframes = [number for number, packet in enumerate(packets[: frames.start + 1]) if packet.is_keyframe]
    if not keyframes:
        raise ClipError(f"video of clip {name} does not begin with a keyframe")
    return keyframes[-1]
