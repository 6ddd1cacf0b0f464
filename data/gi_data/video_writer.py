"""H.264 in mp4, written as it is played.

In fragments of half a second, so that a killed recording keeps all but its last moments. Frame t has presentation time
t ticks: true times stand in the labels. BT.709, limited range, is said in the stream and used in both directions: left
to defaults, two libraries disagree and every colour shifts. tune fastdecode without B-frames halves the cost of
decoding for a tenth more bytes. Rejected: JPEG (10 times the bytes), AV1 (slower to decode).
"""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from gi_data.storage import disk_error
from gi_model.errors import CorpusError
from gi_model.frames import Frame

CRF = 20  # of recordings; higher is smaller and worse
CODEC_OPTIONS = {"preset": "veryfast", "tune": "fastdecode"}
GOP = 30
FRAGMENTED = {
    "movflags": "empty_moov+default_base_moof+frag_keyframe",
    "frag_duration": "500000",
    "flush_packets": "1",
}
_BT709 = 1  # the same number in H.264's tables of matrix, primaries, and transfer
_LIMITED = 1


class VideoWriter:
    """Encodes RGB frames to `path` one by one; complete after `close`."""

    def __init__(self, path: Path, *, fps: float, height: int, width: int, crf: int = CRF) -> None:
        self._path = path
        self._tick = 1 / Fraction(fps).limit_denominator(1001)
        self._num_frames = 0
        self._reformatter = VideoReformatter()
        try:
            self._container = av.open(str(path), "w", format="mp4", options=FRAGMENTED)
        except av.FFmpegError as error:
            raise disk_error(path, error) from error
        self._stream = self._container.add_stream(
            "libx264", rate=1 / self._tick, options=CODEC_OPTIONS | {"crf": str(crf)}
        )
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.time_base, context.gop_size, context.max_b_frames = self._tick, GOP, 0
        context.thread_count = 1  # games are recorded in parallel; threads inside would also delay frames
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED

    def append(self, frame: Frame) -> None:
        """Encode the next frame. Raises CorpusError if the disk refuses."""
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(frame, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        picture.pts, picture.time_base = self._num_frames, self._tick
        self._mux(picture)
        self._num_frames += 1

    def close(self) -> None:
        """Encode what is buffered and end the file. Raises CorpusError if the disk refuses."""
        try:
            self._mux(None)
        finally:
            self._close_container()

    def abandon(self) -> None:
        """End the file after an error, keeping what reaches the disk."""
        with suppress(CorpusError):
            self.close()

    def _mux(self, picture: av.VideoFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(picture))
        except av.FFmpegError as error:
            raise disk_error(self._path, error) from error

    def _close_container(self) -> None:
        try:
            self._container.close()
        except av.FFmpegError as error:
            raise disk_error(self._path, error) from error
