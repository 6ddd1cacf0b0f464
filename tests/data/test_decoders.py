"""A decoder that went through other clips before gives the same pictures as FFmpeg's own way to them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gi_data import video as video_module
from gi_data.decoders import Decoders
from gi_data.fragments import find_samples
from gi_data.video import cut, decode_planes
from gi_data.video_writer import VideoWriter
from gi_model.errors import ClipError
from gi_model.planes import Planes

NUM_FRAMES = 95


def record(path: Path, *, seed: int, height: int = 48, width: int = 64) -> bytes:
    writer = VideoWriter(path, fps=20.0, height=height, width=width)
    random = np.random.default_rng(seed)
    scenes = random.integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    for tick in range(NUM_FRAMES):
        writer.append(np.roll(scenes[tick // 40], tick, axis=0))
    writer.close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Two of one kind, and one whose decoder needs other parameters."""
    folder = tmp_path_factory.mktemp("decoders")
    sizes = ((48, 64), (48, 64), (32, 96))
    return [
        record(folder / f"{seed}.mp4", seed=seed, height=height, width=width)
        for seed, (height, width) in enumerate(sizes)
    ]


def planes_of(video: bytes, frames: Sequence[int], decoders: Decoders | None = None, width: int = 64) -> Planes:
    planes = np.zeros((len(frames), 4608 // width, width), dtype=np.uint8)
    targets = [(number, planes[index : index + 1]) for index, number in enumerate(frames)]
    decode_planes(video, "scene", targets, decoders=decoders)
    return planes


@pytest.fixture
def by_ffmpeg(videos: list[bytes], monkeypatch: pytest.MonkeyPatch) -> list[Planes]:
    """All pictures of each video, by FFmpeg's demuxer and a decoder of their own."""
    with monkeypatch.context() as patch:
        patch.setattr(video_module, "find_samples", lambda _: None)
        return [
            planes_of(video, range(NUM_FRAMES), width=width) for video, width in zip(videos, (64, 64, 96), strict=True)
        ]


@pytest.mark.parametrize("start", [0, 1, 29, 30, 41, 94])
def test_any_stretch_is_the_one_that_ffmpeg_gives(videos: list[bytes], by_ffmpeg: list[Planes], start: int) -> None:
    decoders = Decoders()
    for video, expected in zip(videos[:2], by_ffmpeg, strict=False):
        frames = range(start, min(start + 20, NUM_FRAMES))
        np.testing.assert_array_equal(planes_of(video, frames, decoders), expected[start : start + 20])


def test_a_decoder_goes_from_clip_to_clip(videos: list[bytes], by_ffmpeg: list[Planes]) -> None:
    decoders = Decoders()
    for index in (0, 1, 0):
        planes_of(videos[index], [3], decoders)  # leaves in the middle of a clip
        whole = planes_of(videos[index], range(NUM_FRAMES), decoders)
        np.testing.assert_array_equal(whole, by_ffmpeg[index])
        assert len(decoders._idle) == 1


def test_other_parameters_take_another_decoder(videos: list[bytes], by_ffmpeg: list[Planes]) -> None:
    decoders = Decoders()
    for index in (0, 2, 1):
        whole = planes_of(videos[index], range(NUM_FRAMES), decoders, width=96 if index == 2 else 64)
        np.testing.assert_array_equal(whole, by_ffmpeg[index])
        assert len(decoders._idle) == 1


def test_a_decoder_that_met_damage_is_not_used_again(videos: list[bytes], by_ffmpeg: list[Planes]) -> None:
    decoders = Decoders()
    planes_of(videos[0], [0], decoders)
    samples = find_samples(videos[0])
    assert samples is not None
    at = samples.starts[50]
    damaged = videos[0][:at] + b"\xff" * samples.sizes[50] + videos[0][at + samples.sizes[50] :]
    with pytest.raises(ClipError, match=r"clip scene cannot be decoded"):
        planes_of(damaged, range(NUM_FRAMES), decoders)
    assert not decoders._idle
    np.testing.assert_array_equal(planes_of(videos[0], range(NUM_FRAMES), decoders), by_ffmpeg[0])


def test_frames_that_are_not_there_are_an_error(videos: list[bytes]) -> None:
    for frames in (range(90, 99), range(200, 203)):
        with pytest.raises(ClipError, match="ends early") as caught:
            planes_of(videos[0], frames, Decoders())
        assert (caught.value.got, caught.value.expected) == ("95 frames", frames.stop)


def test_a_plain_mp4_goes_the_way_of_ffmpeg(videos: list[bytes], by_ffmpeg: list[Planes]) -> None:
    plain, decoders = cut(videos[0], "scene", first=0, num_frames=NUM_FRAMES).video, Decoders()
    np.testing.assert_array_equal(planes_of(plain, range(NUM_FRAMES), decoders), by_ffmpeg[0])
    assert not decoders._idle


def test_threads_do_not_share_a_decoder(videos: list[bytes], by_ffmpeg: list[Planes]) -> None:
    decoders = Decoders()
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(planes_of, videos[turn % 2], range(NUM_FRAMES), decoders) for turn in range(12)]
        for turn, job in enumerate(jobs):
            np.testing.assert_array_equal(job.result(), by_ffmpeg[turn % 2])
    assert 1 <= len(decoders._idle) <= 4
