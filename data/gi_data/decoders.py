"""`Decoders`: H.264 decoders that go from clip to clip; to build one costs as much as decoding a few frames."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain

import av
from av.video.codeccontext import VideoCodecContext

from gi_data.fragments import Samples


class Decoders:
    """Decoders at rest: as many as were at work at a time. Safe to use from many threads."""

    def __init__(self) -> None:
        self._idle: list[tuple[bytes, VideoCodecContext]] = []  # and the parameters each was built for

    @contextmanager
    def decoding(self, video: bytes, samples: Samples, start: int) -> Iterator[tuple[int, Iterator[av.VideoFrame]]]:
        """Pictures of a video from the last keyframe at or before `start`, and the number of the first.

        Raises av.FFmpegError where they cannot be decoded. After an error the decoder is not used again.
        """
        first = samples.keyframe_before(start)
        decoder = self._take(samples.parameters)
        packets = map(partial(_packet, memoryview(video)), samples.starts[first:], samples.sizes[first:])
        yield first, chain.from_iterable(map(decoder.decode, chain(packets, [None])))
        decoder.flush_buffers()
        self._idle.append((samples.parameters, decoder))

    def _take(self, parameters: bytes) -> VideoCodecContext:
        """The one that rested last, or a new one; one that was built for other parameters is dropped."""
        try:
            known, decoder = self._idle.pop()
        except IndexError:
            return _build(parameters)
        return decoder if known == parameters else _build(parameters)


def _build(parameters: bytes) -> VideoCodecContext:
    decoder = VideoCodecContext.create("h264", "r")
    decoder.extradata = parameters
    decoder.thread_count = 1  # the reader decodes many clips at once instead
    return decoder


def _packet(video: memoryview, start: int, size: int) -> "av.Packet[av.stream.Stream]":
    """A copy: FFmpeg reads beyond the end of a packet and wants zeros there."""
    packet = av.Packet(size)
    packet.update(video[start : start + size])  # type: ignore[arg-type]  # takes any buffer
    return packet
