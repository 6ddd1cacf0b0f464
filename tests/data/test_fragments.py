"""What is found without FFmpeg is what FFmpeg finds; anything but a whole file of our own is left to FFmpeg."""

import io
import struct

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gi_data.fragments import Samples, find_samples
from gi_data.video import cut
from gi_data.video_writer import VideoWriter

NUM_FRAMES, SCENE_CUT = 95, 40


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Noise, so that fragments differ in size; a scene cut makes a keyframe out of turn."""
    path = tmp_path_factory.mktemp("fragments") / "scene.mp4"
    writer = VideoWriter(path, fps=20.0, height=32, width=48)
    random = np.random.default_rng(0)
    scenes = random.integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    for tick in range(NUM_FRAMES):
        frame = np.roll(scenes[int(tick >= SCENE_CUT)], tick, axis=1)
        frame[:8, :8] = random.integers(0, 256, (8, 8, 3))
        writer.append(frame)
    writer.close()
    return path.read_bytes()


def found(video: bytes) -> Samples:
    samples = find_samples(video)
    assert samples is not None
    return samples


def test_samples_are_those_that_ffmpeg_finds(video: bytes) -> None:
    samples = found(video)
    with av.open(io.BytesIO(video), "r") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert samples.parameters == container.streams.video[0].codec_context.extradata
    assert samples.starts == [packet.pos for packet in packets]
    assert samples.sizes == [packet.size for packet in packets]
    flagged = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert set(samples.keyframes) <= set(flagged)  # FFmpeg flags pictures that only look like one, too
    assert len(samples.sizes) == NUM_FRAMES


def test_keyframes_are_where_h264_may_begin(video: bytes) -> None:
    samples = found(video)
    begins = [video[start + 4] & 31 for start in samples.starts]  # kind of the first unit; 6: comments come first
    assert [number for number, kind in enumerate(begins) if kind in (5, 6, 7)] == samples.keyframes
    assert [samples.keyframe_before(frame) for frame in (0, 1, samples.keyframes[1], NUM_FRAMES + 9)] == [
        0,
        0,
        samples.keyframes[1],
        samples.keyframes[-1],
    ]
    assert Samples(b"").keyframe_before(7) == 0


@given(share=st.floats(0, 1))
def test_a_file_that_breaks_off_gives_nothing_or_whole_fragments(video: bytes, share: float) -> None:
    samples, some = found(video), find_samples(video[: int(share * len(video))])
    if some is not None:
        assert some.starts == samples.starts[: len(some.starts)]
        assert some.sizes == samples.sizes[: len(some.sizes)]


@given(place=st.integers(0, 4000), value=st.integers(0, 255))
def test_whatever_is_found_lies_in_the_file(video: bytes, place: int, value: int) -> None:
    damaged = bytearray(video)
    damaged[place] = value
    samples = find_samples(bytes(damaged))
    if samples is not None:
        spans = zip(samples.starts, samples.sizes, strict=True)
        assert all(size > 0 and start + size <= len(video) for start, size in spans)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"tfhd", 0x39),  # an offset of its own
        (b"tfdt", 0),  # a short time
        (b"trun", 0xA05),  # pictures out of order
        (b"mfhd", 1 << 31),  # size
    ],
)
def test_other_layouts_are_left_to_ffmpeg(video: bytes, field: bytes, value: int) -> None:
    at = video.index(field) + (4 if field in (b"tfhd", b"trun") else -4)
    assert find_samples(video[:at] + struct.pack(">I", value) + video[at + 4 :]) is None


def test_an_absurd_number_of_pictures_is_refused(video: bytes) -> None:
    at = video.index(b"trun") + 4
    for flags in (0x1, 0x201, 0x701):
        assert find_samples(video[:at] + struct.pack(">II", flags, 2**32 - 1) + video[at + 8 :]) is None


@pytest.mark.parametrize("content", [b"", b"no video" * 99, struct.pack(">I4s", 8, b"ftyp")])
def test_what_is_no_video_gives_nothing(content: bytes) -> None:
    assert find_samples(content) is None


def test_a_plain_mp4_is_left_to_ffmpeg(video: bytes) -> None:
    assert find_samples(cut(video, "scene", first=0, num_frames=NUM_FRAMES).video) is None


def test_two_tracks_or_an_edit_list_are_left_to_ffmpeg(video: bytes) -> None:
    assert find_samples(video.replace(b"udta", b"trak", 1)) is None
    assert find_samples(video.replace(b"tkhd", b"edts", 1)) is None
