"""`StreamDecoder`: one H.264 stream, picture by picture as it arrives: what a camera or a game's encoder sends live.

The pictures become frames as those of a corpus do (`gi_data.video.decode`), so a policy sees live what it learned from.
An access unit (Annex B) must give its picture at once: encoders that hold pictures back (B-frames, frame threads) are
refused, they would only add delay. After an error, and at the start, nothing decodes before a keyframe (IDR): FFmpeg
would make a picture up.
"""

from collections.abc import Iterator

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from gi_data.video import convert
from gi_model.errors import ClipError
from gi_model.frames import Frame

_IDR = 5
_TYPE_BITS = 0x1F


class StreamDecoder:
    """Use from one thread at a time. max_pixels: larger pictures are refused before they are decoded."""

    def __init__(self, *, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._reformatter = VideoReformatter()
        self.restart()

    def restart(self) -> None:
        """Forget the stream: the next picture must be a keyframe."""
        self.needs_keyframe = True
        self._picture: av.VideoFrame | None = None
        self._context = av.CodecContext.create("h264", "r")
        self._context.thread_count = 1  # a thread more is a picture of delay
        self._context.options = {
            "flags": "low_delay",
            "err_detect": "explode",
            "max_pixels": str(self._max_pixels),
        }

    def feed(self, unit: bytes) -> None:
        """Decode one access unit. Raises ClipError if it gives no whole picture; then a keyframe is needed."""
        if self.needs_keyframe and not has_keyframe(unit):
            raise ClipError("a stream must go on with a keyframe", got="another picture", expected="an IDR picture")
        try:
            pictures = self._context.decode(av.Packet(unit))
        except (av.FFmpegError, ValueError) as error:
            self.restart()
            raise ClipError("not an H.264 picture", got=str(error)[:200], expected="an access unit, Annex B") from None
        picture = pictures[0] if len(pictures) == 1 else None
        if not isinstance(picture, av.VideoFrame) or picture.is_corrupt or picture.pict_type == PictureType.B:
            self.restart()
            do = "Encode without B-frames and frame threads: x264's tune zerolatency."
            raise ClipError("an H.264 unit without its one picture", got=pictures, expected="one, in its order", do=do)
        self.needs_keyframe, self._picture = False, picture

    def frame(self, height: int, width: int) -> Frame:
        """The newest picture, uint8 (height, width, 3). Raises ClipError before the first."""
        if self._picture is None:
            raise ClipError("no picture was decoded yet")
        return np.ascontiguousarray(convert([self._picture], self._reformatter, height=height, width=width)[0])


def has_keyframe(unit: bytes) -> bool:
    """Whether an access unit holds an IDR picture."""
    return any(kind == _IDR for kind in _nal_types(unit))


def _nal_types(unit: bytes) -> Iterator[int]:
    at = unit.find(b"\x00\x00\x01")
    while 0 <= at < len(unit) - 3:
        yield unit[at + 3] & _TYPE_BITS
        at = unit.find(b"\x00\x00\x01", at + 3)
