"""`gi bench video`: what a video setting costs: bytes, quality, time to encode, time to decode. Chooses ours.

The frames are real play that was never compressed before, shrunk by the project's own resize. One thread each; CPU
time of the process; decoding is repeated in turns over all settings of a size, and the best time counts. Quality is
PSNR in RGB against the frames that went in, so it includes what halving the colour's resolution loses (row "no codec":
the ceiling). A random window: 16 frames somewhere in the file, by opening, seeking, and decoding from the keyframe on.
"""

import io
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from gi_data.bench_play import GAMES, play
from gi_data.bench_reader_meter import measure
from gi_data.bench_video_grid import Setting, by_size
from gi_model.errors import ConfigError
from gi_model.frames import Frame, resize

FPS: Final = 35
WINDOW: Final = 16
NUM_WINDOWS: Final = 24
NO_CODEC: Final = "no codec, YUV 4:2:0"

Pictures = Sequence[av.VideoFrame]
Frames = Sequence[Frame]
Source = Callable[[int, int, int], Frames]
"""(number of frames, height, width) -> frames uint8 (height, width, 3)."""


@dataclass(frozen=True)
class VideoScore:
    """One setting. Times are CPU time."""

    setting: str
    height: int
    width: int
    gb_per_hour: float
    psnr_db: float
    encode_frames_per_cpu_s: float
    decode_us: float  # a frame, every frame in order, pictures dropped
    planes_us: float  # the same, each into an array of planes
    window_us: float  # a useful frame of a random window


@dataclass(frozen=True)
class VideoReport:
    """scores: a row a setting. notes: what was skipped and why."""

    frames: int
    fps: int
    scores: tuple[VideoScore, ...]
    notes: tuple[str, ...]


@dataclass
class _Encoded:
    """A video, and the best times so far in seconds."""

    setting: Setting
    video: bytes
    encode_s: float
    decode_s: list[float] = field(default_factory=list)
    planes_s: list[float] = field(default_factory=list)
    window_s: list[float] = field(default_factory=list)


def real_play(num_frames: int, height: int, width: int) -> list[Frame]:
    """The same share of each Doom game, one after the other, rendered no smaller than asked."""
    screen_height = 240 if height <= 240 and width <= 320 else 480
    frames: list[Frame] = []
    for index, game in enumerate(GAMES):
        share = len(range(index, num_frames, len(GAMES)))
        frames += [resize(frame, height, width) for frame, _ in play(game, share, screen_height=screen_height)]
    return frames


def run(
    settings: tuple[Setting, ...],
    num_frames: int,
    *,
    repetitions: int = 5,
    source: Source = real_play,
    advance: Callable[[], object] = lambda: None,
) -> VideoReport:
    """Measure every setting that this PyAV can encode; `advance` is called after each. Raises ConfigError."""
    if num_frames < WINDOW or repetitions < 1:
        got = f"{num_frames} frames, {repetitions} repetitions"
        raise ConfigError("too little to measure", got=got, expected=f"at least {WINDOW} frames, 1 repetition")
    scores: list[VideoScore] = []
    notes: list[str] = []
    for (height, width), group in by_size(settings):
        present = [setting for setting in group if _can_encode(setting.codec)]
        notes += [f"{setting}: this PyAV cannot encode it" for setting in group if setting not in present]
        if present:
            frames = source(num_frames, height, width)
            scores += _measure(frames, present, repetitions, advance)
    return VideoReport(num_frames, FPS, tuple(scores), tuple(dict.fromkeys(notes)))


def _measure(
    frames: Frames, settings: Sequence[Setting], repetitions: int, advance: Callable[[], object]
) -> Iterator[VideoScore]:
    pictures = [_to_picture(frame, tick) for tick, frame in enumerate(frames)]
    encoded = []
    for setting in settings:
        encoded.append(_encode(pictures, setting))
        advance()
    for _ in range(repetitions):
        for one in encoded:
            _time_decoding(one, len(frames))
    yield _ceiling(frames, pictures)
    for one in encoded:
        yield _score(one, frames)


# ---------------------------------------------------------------------- encoding


def _can_encode(codec: str) -> bool:
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def _to_picture(frame: Frame, tick: int) -> av.VideoFrame:
    """As `gi_data.video` converts: BT.709, limited range."""
    picture = VideoReformatter().reformat(
        av.VideoFrame.from_ndarray(frame, format="rgb24"),
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
    )
    picture.pts, picture.time_base = tick, Fraction(1, FPS)
    return picture


def _encode(pictures: Pictures, setting: Setting) -> _Encoded:
    os.environ.setdefault("SVT_LOG", "1")  # errors only; its greeting would break --json
    sink = io.BytesIO()
    sample = measure(lambda: _mux(pictures, setting, sink))
    return _Encoded(setting, sink.getvalue(), sample.cpu_s)


def _mux(pictures: Pictures, setting: Setting, sink: io.BytesIO) -> int:
    with av.open(sink, "w", format="mp4") as container:
        stream = container.add_stream(setting.codec, rate=FPS, options=setting.options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = setting.width, setting.height, "yuv420p"
        context = stream.codec_context
        context.time_base, context.gop_size = Fraction(1, FPS), setting.gop
        context.max_b_frames, context.thread_count = setting.b_frames, 1
        context.colorspace = context.color_primaries = context.color_trc = Colorspace.ITU709
        context.color_range = ColorRange.MPEG
        for picture in pictures:
            picture.pict_type = av.video.frame.PictureType.NONE
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return len(pictures)


# ---------------------------------------------------------------------- decoding


def _time_decoding(one: _Encoded, num_frames: int) -> None:
    starts = random.Random(0).choices(range(num_frames - WINDOW + 1), k=NUM_WINDOWS)
    one.decode_s.append(measure(lambda: sum(1 for _ in _pictures(one.video))).cpu_s)
    one.planes_s.append(measure(lambda: sum(len(picture.to_ndarray()) for picture in _pictures(one.video))).cpu_s)
    one.window_s.append(measure(lambda: sum(_decode_window(one.video, start) for start in starts)).cpu_s)


def _pictures(video: bytes, start: int = 0) -> Iterator[av.VideoFrame]:
    """Pictures from the keyframe at or before frame `start` on."""
    with av.open(io.BytesIO(video), "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        if start:
            container.seek(_pts(stream, start), stream=stream)
        yield from container.decode(stream)


def _decode_window(video: bytes, start: int) -> int:
    found = 0
    for picture in _pictures(video, start):
        found += round((picture.pts or 0) * (picture.time_base or Fraction(1)) * FPS) >= start
        if found == WINDOW:
            break
    return found


def _pts(stream: av.VideoStream, frame: int) -> int:
    return round(Fraction(frame, FPS) / (stream.time_base or Fraction(1, FPS)))


# ---------------------------------------------------------------------- scores


def _score(one: _Encoded, frames: Frames) -> VideoScore:
    setting, count = one.setting, len(frames)
    return VideoScore(
        setting=str(setting),
        height=setting.height,
        width=setting.width,
        gb_per_hour=len(one.video) / count * FPS * 3600 / 1e9,
        psnr_db=_psnr(frames, _pictures(one.video)),
        encode_frames_per_cpu_s=count / max(one.encode_s, 1e-9),
        decode_us=min(one.decode_s) / count * 1e6,
        planes_us=min(one.planes_s) / count * 1e6,
        window_us=min(one.window_s) / (NUM_WINDOWS * WINDOW) * 1e6,
    )


def _ceiling(frames: Frames, pictures: Pictures) -> VideoScore:
    """What is left of the frames before any codec touched them."""
    height, width = frames[0].shape[:2]
    gigabytes = height * width * 1.5 * FPS * 3600 / 1e9
    return VideoScore(NO_CODEC, height, width, gigabytes, _psnr(frames, iter(pictures)), 0.0, 0.0, 0.0, 0.0)


def _psnr(frames: Frames, pictures: Iterator[av.VideoFrame]) -> float:
    """Of all frames together, in dB; 99 where nothing was lost."""
    reformatter = VideoReformatter()
    errors = [
        np.square(_rgb(reformatter, picture).astype(np.int32) - frame).mean()
        for frame, picture in zip(frames, pictures, strict=True)
    ]
    mean = float(np.mean(errors))
    return 99.0 if mean == 0 else 10 * float(np.log10(255**2 / mean))


def _rgb(reformatter: VideoReformatter, picture: av.VideoFrame) -> NDArray[np.uint8]:
    rgb = reformatter.reformat(
        picture,
        format="rgb24",
        src_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    )
    return np.asarray(rgb.to_ndarray(), dtype=np.uint8)
