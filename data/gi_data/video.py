"""Videos read: ours (`gi_data.video_writer`) at the speed of the decoder, any other as it comes.

Frames are converted by the colours that the stream names; one that names none is taken as BT.709, limited range.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from gi_data.cut_file import CutFile, whole_boxes
from gi_data.decoders import Decoders
from gi_data.fragments import find_samples
from gi_data.video_writer import FRAGMENTED
from gi_model.errors import ClipError
from gi_model.frames import MAX_SIDE, Frame, resize
from gi_model.planes import Planes, size_of, to_rgb

_NO_PROBING = {"fpsprobesize": "0"}  # of our own files: no frame is decoded to guess the rate
_Packet: TypeAlias = "av.Packet[av.VideoStream]"  # quoted: generic for the type checker only
_Rows: TypeAlias = tuple[NDArray[np.void], NDArray[np.void], NDArray[np.void]]  # (H,), (H / 2,), (H / 2,)
_CHUNK = 8  # frames resized at a time: large enough for numpy, small enough for the CPU's cache


def decode(video: bytes, name: str, *, frames: range, height: int, width: int) -> NDArray[np.uint8]:
    """Decode frames `frames` to RGB uint8 (T, height, width, 3). Raises ClipError naming clip `name`.

    Videos of exactly that size are converted by `gi_model.planes`, as `decode_planes` and a policy would; others, which
    no policy sees as planes, by the faster conversion of FFmpeg before they are resized.
    """
    rgb = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    done = 0
    pictures = _pictures(video, name, frames)
    reformatter = VideoReformatter()  # one kept: building the conversion tables costs more than a frame
    while chunk := list(islice(pictures, _CHUNK)):
        rgb[done : done + len(chunk)] = convert(chunk, reformatter, height=height, width=width)
        done += len(chunk)
    return rgb


def convert(
    pictures: Sequence[av.VideoFrame], reformatter: VideoReformatter, *, height: int, width: int
) -> NDArray[np.uint8]:
    """RGB uint8 (T, height, width, 3) of decoded pictures."""
    if all((p.height, p.width, p.format.name) == (height, width, "yuv420p") for p in pictures):
        return _converted(pictures)
    return resize(np.stack([_rgb(reformatter, picture) for picture in pictures]), height, width)


def decode_planes(
    video: bytes, name: str, targets: Sequence[tuple[int, Planes]], *, decoders: Decoders | None = None
) -> None:
    """Decode frames straight to where they belong: a first frame, and planes uint8 (T, H * 3 / 2, W) from it on, each.

    H, W: the size of the video. decoders: kept by who reads many clips. Raises ClipError naming clip `name`.
    """
    height, width = size_of(targets[0][1])
    places: list[tuple[int, _Rows]] = []
    for first, out in targets:
        places += zip(range(first, first + len(out)), _rows_of(out), strict=True)
    places.sort(key=itemgetter(0))
    upcoming = iter(places)
    wanted, rows = next(upcoming)
    with _decoding_samples(video, name, wanted, decoders or Decoders()) as (first, pictures):
        number = first - 1
        for number, picture in enumerate(pictures, first):
            if number == first:
                _check_size(picture, height, width, name)
            while number == wanted:
                _copy_planes(picture, rows)
                place = next(upcoming, None)
                if place is None:
                    return
                wanted, rows = place
    raise _ends_early(name, got=number + 1, expected=places[-1][0] + 1)


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a file's header claims. duration_s is 0 where it does not say."""

    height: int
    width: int
    fps: float
    duration_s: float


def probe(path: Path) -> VideoFacts:
    """Read the header of any video. Raises ClipError if it is none, or its pictures are absurdly large."""
    try:
        with _opened(path) as container:
            stream = container.streams.video[0]
            facts = VideoFacts(
                stream.height, stream.width, float(stream.average_rate or 0), (container.duration or 0) / av.time_base
            )
    except (av.FFmpegError, IndexError) as error:
        raise _unreadable(path.name, error) from error
    if not (0 < facts.height <= MAX_SIDE and 0 < facts.width <= MAX_SIDE):
        got = f"{facts.width}x{facts.height}"
        raise ClipError(f"video {path.name} has an absurd size", got=got, expected=f"up to {MAX_SIDE} pixels a side")
    return facts


def read_pictures(path: Path, *, start_ns: int = 0) -> Iterator[tuple[int, Callable[[], Frame]]]:
    """Time stamp in ns and RGB frame, converted only when called, of every picture of any video, in order of time.

    Decodes from the start unless told to begin at the keyframe before `start_ns`: captures flag pictures as keyframes
    that are none, so seeking by the flag lands on wrong ones. Raises ClipError where the file cannot be decoded; what
    came before was good.
    """
    probe(path)
    reformatter = VideoReformatter()
    try:
        with _opened(path) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # recordings are read in parallel instead
            if start_ns and stream.time_base:
                container.seek(int(Fraction(start_ns, 10**9) / stream.time_base), stream=stream)
            for picture in container.decode(stream):
                if picture.pts is None or picture.time_base is None:
                    raise _unreadable(path.name, ValueError("a picture has no time stamp"))
                yield round(picture.pts * picture.time_base * 10**9), partial(_rgb, reformatter, picture)
    except (av.FFmpegError, IndexError) as error:
        raise _unreadable(path.name, error) from error


def count_frames(video: bytes | Path, name: str) -> int:
    """Count the frames of a video without decoding them. Raises ClipError if it is no video."""
    try:
        with av.open(str(video) if isinstance(video, Path) else io.BytesIO(video), "r") as container:
            return sum(packet.size > 0 for packet in container.demux(video=0))
    except (av.FFmpegError, IndexError) as error:
        raise _unreadable(name, error) from error


def salvage(source: Path, destination: Path, *, max_frames: int) -> int:
    """Copy the leading frames of a cut-off video that decode, `max_frames` at most, unchanged; return how many."""
    try:
        with _opened(source) as container:
            packets = _decodable(container, max_frames)
            if packets:
                _copy_packets(container.streams.video[0], packets, destination)
    except (av.FFmpegError, IndexError):
        return 0
    return len(packets)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a video (mp4) whose first frame is frame `first` of the whole."""

    video: bytes
    first: int


def cut(video: bytes, name: str, *, first: int, num_frames: int) -> Excerpt:
    """Copy frames `first`, ... unchanged, from the keyframe at or before `first` on. Raises ClipError naming `name`.

    Times start at 0, in a plain mp4 (not in fragments): browsers seek it exactly.
    """
    try:
        with av.open(io.BytesIO(video), "r") as container:
            start, packets = _packets_for(container, first)
            kept = list(islice((packet for packet in packets if packet.size), first + num_frames - start))
            if start + len(kept) < first + num_frames:
                raise _ends_early(name, got=start + len(kept), expected=first + num_frames)
            return Excerpt(_remux(container.streams.video[0], kept), start)
    except (av.FFmpegError, IndexError) as error:
        raise _unreadable(name, error) from error


def _remux(stream: av.VideoStream, packets: list[_Packet]) -> bytes:
    """A plain mp4 of these packets; the first one's time becomes 0."""
    sink = io.BytesIO()
    shift = packets[0].dts or 0
    with av.open(sink, "w", format="mp4") as container:
        copy = container.add_stream_from_template(stream)
        for packet in packets:
            packet.pts, packet.dts = (packet.pts or 0) - shift, (packet.dts or 0) - shift
            packet.stream = copy
            container.mux(packet)
    return sink.getvalue()


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    """Open a video; one that breaks off within the header of a fragment, which FFmpeg refuses, up to there."""
    try:
        container = av.open(str(path), "r")
    except av.FFmpegError:
        if not (end := whole_boxes(path)):
            raise
        container = av.open(CutFile(path, end), "r", format="mp4")
    with container:
        yield container


@contextmanager
def _decoding(video: bytes, name: str, start: int) -> Iterator[tuple[int, Iterator[av.VideoFrame]]]:
    """Pictures of a video from the last keyframe at or before `start`, and the number of the first.

    Raises ClipError where it cannot be decoded. No Python runs between two pictures: it would cost as much as a copy.
    """
    try:
        with av.open(io.BytesIO(video), "r", format="mp4", options=_NO_PROBING) as container:
            container.streams.video[0].codec_context.thread_count = 1  # the reader decodes many clips at once instead
            first, packets = _packets_for(container, start)
            yield first, chain.from_iterable(map(av.Packet.decode, packets))
    except (av.FFmpegError, IndexError) as error:
        raise _unreadable(name, error) from error


@contextmanager
def _decoding_samples(
    video: bytes, name: str, start: int, decoders: Decoders
) -> Iterator[tuple[int, Iterator[av.VideoFrame]]]:
    """`_decoding`, faster for videos of our own. Not for RGB: an mp4 may name colours that its H.264 does not."""
    samples = find_samples(video)
    if samples is None:
        with _decoding(video, name, start) as decoding:
            yield decoding
        return
    try:
        with decoders.decoding(video, samples, start) as decoding:
            yield decoding
    except av.FFmpegError as error:
        raise _unreadable(name, error) from error


def _pictures(video: bytes, name: str, frames: range) -> Iterator[av.VideoFrame]:
    """Exactly the pictures `frames` of a video. Raises ClipError where it ends early or cannot be decoded."""
    number = -1
    with _decoding(video, name, frames.start) as (first, pictures):
        for number, picture in zip(range(first, frames.stop), pictures, strict=False):
            if number >= frames.start:
                yield picture
    if number + 1 < frames.stop:
        raise _ends_early(name, got=number + 1, expected=frames.stop)


def _packets_for(container: InputContainer, start: int) -> tuple[int, Iterator[_Packet]]:
    """Packets from the last keyframe at or before frame `start`, and the number of its frame: packet k is frame k."""
    packets = container.demux(video=0)
    needed: list[_Packet] = []
    first = 0
    for number, packet in enumerate(islice(packets, start + 1)):
        if packet.is_keyframe:
            needed, first = [], number
        needed.append(packet)
    return first, chain(needed, packets)


def _rows_of(planes: Planes) -> Iterator[_Rows]:
    """The rows of Y, of U, and of V of each of T pictures, a row an element: numpy moves elements in one piece."""
    height, width = size_of(planes)
    luma, chroma = planes[:, :height], planes[:, height:].reshape(-1, 2, height // 2, width // 2)
    y, uv = (plane.view(f"V{plane.shape[-1]}")[..., 0] for plane in (luma, chroma))
    return zip(y, uv[:, 0], uv[:, 1], strict=True)


def _copy_planes(picture: av.VideoFrame, rows: _Rows) -> None:
    """Copy Y, U, and V, without the padding at the end of their rows."""
    for plane, out in zip(picture.planes, rows, strict=True):
        out[...] = np.ndarray(out.shape, out.dtype, plane, 0, (plane.line_size,))  # type: ignore[arg-type]


def _check_size(picture: av.VideoFrame, height: int, width: int, name: str) -> None:
    if (picture.height, picture.width, picture.format.name) != (height, width, "yuv420p"):
        got = f"{picture.width}x{picture.height} {picture.format.name}"
        raise ClipError(f"video of clip {name} is not what its index says", got=got, expected=f"{width}x{height}")


def _converted(pictures: Sequence[av.VideoFrame]) -> NDArray[np.uint8]:
    height, width = pictures[0].height, pictures[0].width
    planes = np.empty((len(pictures), height * 3 // 2, width), dtype=np.uint8)
    for picture, rows in zip(pictures, _rows_of(planes), strict=True):
        _copy_planes(picture, rows)
    return to_rgb(planes)


def _rgb(reformatter: VideoReformatter, picture: av.VideoFrame) -> Frame:
    rgb = reformatter.reformat(picture, format="rgb24", **_colours_of(picture))
    return np.asarray(rgb.to_ndarray(), dtype=np.uint8)


def _colours_of(picture: av.VideoFrame) -> dict[str, ColorRange | Colorspace]:
    """The conversion a stream asks for; BT.709 where it does not say."""
    said = picture.colorspace in set(Colorspace)
    return {
        "src_colorspace": Colorspace(picture.colorspace) if said else Colorspace.ITU709,
        "src_color_range": ColorRange.JPEG if picture.color_range == ColorRange.JPEG else ColorRange.MPEG,
        "dst_color_range": ColorRange.JPEG,
    }


def _decodable(container: InputContainer, max_frames: int) -> list[_Packet]:
    """Leading packets that give one frame each: without B-frames, packet k is frame k."""
    packets: list[_Packet] = []
    with suppress(av.FFmpegError):
        for packet in container.demux(video=0):
            if len(packets) == max_frames or not packet.size or packet.is_corrupt or not _decodes(packet):
                break
            packets.append(packet)
    return packets


def _decodes(packet: _Packet) -> bool:
    return all(not picture.is_corrupt for picture in packet.decode())


def _copy_packets(stream: av.VideoStream, packets: list[_Packet], destination: Path) -> None:
    with av.open(str(destination), "w", format="mp4", options=FRAGMENTED) as container:
        copy = container.add_stream_from_template(stream)
        for packet in packets:
            packet.stream = copy
            container.mux(packet)


def _unreadable(name: str, error: Exception) -> ClipError:
    do = "The file is damaged: record or shard the clip again, or leave it out with --skip-damaged."
    return ClipError(f"video of clip {name} cannot be decoded", got=str(error)[:200], expected="H.264 in mp4", do=do)


def _ends_early(name: str, *, got: int, expected: int) -> ClipError:
    do = "The file is truncated: record or shard the clip again, or leave it out with --skip-damaged."
    return ClipError(f"video of clip {name} ends early", got=f"{got} frames", expected=expected, do=do)
