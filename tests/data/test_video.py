from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gi_data.video import VideoFacts, count_frames, decode, decode_planes, probe, read_pictures, salvage
from gi_data.video_writer import VideoWriter
from gi_model.batch import planes_to_rgb
from gi_model.errors import ClipError
from gi_model.frames import resize
from gi_model.planes import Planes, to_rgb

HEIGHT, WIDTH = 48, 64


def moving_scene(num_frames: int) -> NDArray[np.uint8]:
    """uint8 (T, H, W, 3): a smooth gradient that drifts, with a bright box that moves the other way."""
    y, x, t = np.mgrid[0:HEIGHT, 0:WIDTH, 0:num_frames]
    waves = [np.sin((x + t) / 9) * 60, np.sin((y - t) / 7) * 60, np.cos((x + y) / 11) * 60]
    frames = np.stack([128 + wave for wave in waves], axis=-1).transpose(2, 0, 1, 3).astype(np.uint8)
    for tick in range(num_frames):
        frames[tick, 10:26, WIDTH - 20 - 2 * (tick % 20) : WIDTH - 4 - 2 * (tick % 20)] = (250, 40, 40)
    return frames


def encode(path: Path, frames: NDArray[np.uint8]) -> bytes:
    writer = VideoWriter(path, fps=20.0, height=frames.shape[1], width=frames.shape[2])
    for frame in frames:
        writer.append(frame)
    writer.close()
    return path.read_bytes()


def planes_of(video: bytes, numbers: Sequence[int]) -> Planes:
    planes = np.empty((len(numbers), HEIGHT * 3 // 2, WIDTH), dtype=np.uint8)
    decode_planes(video, "scene", [(number, planes[index : index + 1]) for index, number in enumerate(numbers)])
    return planes


@pytest.fixture(scope="module")
def scene() -> NDArray[np.uint8]:
    return moving_scene(95)


@pytest.fixture(scope="module")
def video(scene: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return encode(tmp_path_factory.mktemp("video") / "scene.mp4", scene)


def test_frames_come_back_within_the_tolerance_of_h264(scene: NDArray[np.uint8], video: bytes) -> None:
    frames = decode(video, "scene", frames=range(95), height=HEIGHT, width=WIDTH)
    error = np.square(frames.astype(float) - scene).mean(axis=(1, 2, 3))
    assert 10 * np.log10(255**2 / error).min() > 30  # dB, every single frame


@pytest.mark.parametrize(
    "rgb", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 30, 30), (30, 200, 30), (30, 30, 200)]
)
def test_colours_do_not_shift(tmp_path: Path, rgb: tuple[int, int, int]) -> None:
    flat = np.broadcast_to(np.array(rgb, dtype=np.uint8), (40, HEIGHT, WIDTH, 3))
    frames = decode(encode(tmp_path / "flat.mp4", flat), "flat", frames=range(40), height=HEIGHT, width=WIDTH)
    assert np.abs(frames.astype(int) - rgb).max() <= 4


@pytest.mark.parametrize(("height", "width"), [(24, 32), (17, 29)])
def test_decoding_at_another_size_is_the_one_resize(
    tmp_path: Path, scene: NDArray[np.uint8], height: int, width: int
) -> None:
    video = encode(tmp_path / "scene.mp4", scene)
    full = np.stack([rgb() for _, rgb in read_pictures(tmp_path / "scene.mp4")])
    small = decode(video, "scene", frames=range(95), height=height, width=width)
    np.testing.assert_array_equal(small, resize(full, height, width))


def test_pictures_of_the_stored_size_are_its_planes_in_rgb(scene: NDArray[np.uint8], video: bytes) -> None:
    planes = planes_of(video, range(95))
    rgb = decode(video, "scene", frames=range(95), height=HEIGHT, width=WIDTH)
    np.testing.assert_array_equal(rgb, to_rgb(planes))
    np.testing.assert_array_equal(rgb.transpose(0, 3, 1, 2), planes_to_rgb(torch.from_numpy(planes)).numpy())


@pytest.mark.parametrize("ticks", [range(41), range(1, 2), range(29, 31), range(30, 60), range(59, 95), range(94, 95)])
def test_a_stretch_is_a_stretch_of_the_whole(video: bytes, ticks: range) -> None:
    whole = planes_of(video, range(95))
    stretch = planes_of(video, ticks)
    np.testing.assert_array_equal(stretch, whole[ticks.start : ticks.stop])
    small = decode(video, "scene", frames=range(95), height=24, width=32)
    np.testing.assert_array_equal(
        decode(video, "scene", frames=ticks, height=24, width=32), small[ticks[0] : ticks[-1] + 1]
    )


def test_frames_go_where_they_are_wanted_twice_or_not_at_all(video: bytes) -> None:
    whole, numbers = planes_of(video, range(95)), [3, 3, 4, 40, 41, 41, 94]
    np.testing.assert_array_equal(planes_of(video, numbers), whole[numbers])


def test_planes_of_another_size_are_refused(video: bytes) -> None:
    with pytest.raises(ClipError, match=r"not what its index says.*64x48"):
        decode_planes(video, "scene", [(0, np.empty((3, 36, 32), dtype=np.uint8))])


def test_any_video_is_read_by_its_time_stamps(tmp_path: Path, scene: NDArray[np.uint8]) -> None:
    encode(tmp_path / "scene.mp4", scene)
    stamps = [t_ns for t_ns, _ in read_pictures(tmp_path / "scene.mp4")]
    assert stamps == [tick * 50_000_000 for tick in range(95)]
    assert probe(tmp_path / "scene.mp4") == VideoFacts(HEIGHT, WIDTH, 20.0, 4.75)
    (tmp_path / "junk.mp4").write_bytes(b"no video" * 99)
    with pytest.raises(ClipError, match=r"junk\.mp4"):
        probe(tmp_path / "junk.mp4")


def test_frames_are_counted_without_decoding(video: bytes) -> None:
    assert count_frames(video, "scene") == 95


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.95])
def test_a_truncated_video_is_an_error_that_names_the_clip(video: bytes, share: float) -> None:
    with pytest.raises(ClipError, match="scene") as caught:
        decode(video[: int(share * len(video))], "scene", frames=range(95), height=24, width=32)
    assert caught.value.got
    assert caught.value.expected
    assert "--skip-damaged" in caught.value.do


@pytest.mark.parametrize("content", [b"", b"not a video", bytes(5000)])
def test_what_is_no_video_is_an_error(content: bytes) -> None:
    with pytest.raises(ClipError, match="junk"):
        decode(content, "junk", frames=range(1), height=24, width=32)
    with pytest.raises(ClipError, match="junk"):
        count_frames(content, "junk")


@pytest.mark.parametrize("share", [0.35, 0.7, 1.0])
def test_salvaging_keeps_leading_frames_bit_for_bit(tmp_path: Path, video: bytes, share: float) -> None:
    whole = decode(video, "scene", frames=range(95), height=HEIGHT, width=WIDTH)
    (tmp_path / "cut.mp4").write_bytes(video[: int(share * len(video))])
    kept = salvage(tmp_path / "cut.mp4", tmp_path / "kept.mp4", max_frames=80)
    assert 9 <= kept <= 80
    assert kept == 80 or share < 1
    salvaged = (tmp_path / "kept.mp4").read_bytes()
    assert count_frames(salvaged, "kept") == kept
    np.testing.assert_array_equal(
        decode(salvaged, "kept", frames=range(kept), height=HEIGHT, width=WIDTH), whole[:kept]
    )


def test_nothing_to_salvage_is_zero_frames(tmp_path: Path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"junk")
    assert salvage(tmp_path / "junk.mp4", tmp_path / "kept.mp4", max_frames=9) == 0
    assert not (tmp_path / "kept.mp4").exists()


def test_wherever_a_video_breaks_off_its_leading_frames_are_read_and_salvaged(
    tmp_path: Path, scene: NDArray[np.uint8]
) -> None:
    """Within pictures, within headers of fragments, between them: all that a bare decoder can find is there."""
    content = encode(tmp_path / "whole.mp4", scene)
    whole = [rgb() for _, rgb in read_pictures(tmp_path / "whole.mp4")]
    first_fragment = content.index(b"moof", content.index(b"moof") + 4)
    counts = []
    for cut in range(first_fragment + 4, len(content), 41):
        path = tmp_path / "cut.mp4"
        path.write_bytes(content[:cut])
        shown: list[NDArray[np.uint8]] = []
        with suppress(ClipError):
            shown.extend(rgb() for _, rgb in read_pictures(path))
        assert all(np.array_equal(a, b) for a, b in zip(shown[:-1], whole, strict=False))
        counts.append(len(shown))
        salvaged = salvage(path, tmp_path / "salvaged.mp4", max_frames=95)
        assert len(shown) - 2 <= salvaged <= len(shown)
    assert min(counts) > 5
    assert sorted(counts) == counts
    assert max(counts) > 85
