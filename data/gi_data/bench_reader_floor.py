"""The decode floor: the least that anyone who reads these frames must spend, in the same process on the same bytes.

One thread, every frame of every clip once, each picture dropped as soon as it is decoded: no copy, no labels, no
batches. The clips' mp4 lie in memory. Three of them: packets taken out of the mp4 beforehand (the codec alone), the mp4
itself (what a file costs everyone), and the latter with every picture converted to RGB by swscale (what readers of RGB
pay at least), its tables kept from frame to frame.
"""

import io
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import av
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter

from gi_data.bench_reader_meter import Sample, measure

_Packets: TypeAlias = "list[av.Packet[av.VideoStream]]"


def decode_packets(videos: Sequence[bytes]) -> Sample:
    """Decode packets that were taken out of their mp4 before the clock started."""
    total = Sample(0, 0.0, 0.0)
    for video in videos:  # clip by clip: packets of all of them need not fit into memory
        with av.open(io.BytesIO(video), "r") as container:
            context = container.streams.video[0].codec_context
            context.thread_count = 1
            packets: _Packets = list(container.demux(container.streams.video[0]))
            sample = _measure_packets(context, packets)
        total = Sample(total.frames + sample.frames, total.cpu_s + sample.cpu_s, total.wall_s + sample.wall_s)
    return total


def decode_videos(videos: Sequence[bytes]) -> Sample:
    """Decode mp4 files that lie in memory."""
    return measure(lambda: sum(_decode(video, id) for video in videos))


def decode_videos_to_rgb(videos: Sequence[bytes]) -> Sample:
    """Decode mp4 files that lie in memory, and convert every picture to RGB."""

    def decode(video: bytes) -> int:
        reformatter = VideoReformatter()
        return _decode(video, lambda picture: reformatter.reformat(picture, format="rgb24"))

    return measure(lambda: sum(map(decode, videos)))


def _measure_packets(context: VideoCodecContext, packets: _Packets) -> Sample:
    """Time is taken by thread: nothing else runs, and it has a finer clock."""
    cpu_s, wall_s = time.thread_time(), time.perf_counter()
    frames = sum(len(context.decode(packet)) for packet in packets)
    return Sample(frames, time.thread_time() - cpu_s, time.perf_counter() - wall_s)


def _decode(video: bytes, use: Callable[[av.VideoFrame], object]) -> int:
    frames = 0
    with av.open(io.BytesIO(video), "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for picture in container.decode(stream):
            use(picture)
            frames += 1
    return frames
