"""What most people write first: `webdataset`, PyAV, and a decode for every window. The baseline, not a straw man.

For each window the clip's mp4 is opened from the sample, the container seeks to the keyframe before the window, and
frames are decoded and converted to RGB until the window is full; 16 of them make a batch. Labels are not read, hashes
not checked. Random: the windows, not yet decoded, pass through webdataset's shuffle buffer.
"""

import io
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import webdataset as wds
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

SHUFFLE_BUFFER = 1000  # windows: webdataset's own examples use as much


@dataclass(frozen=True)
class NaiveConfig:
    """window_ticks: T. num_workers: processes of the loader, 0: none. seed: None reads in order."""

    window_ticks: int
    batch_size: int
    num_workers: int = 0
    seed: int | None = None


def read_naively(shards: Sequence[Path], config: NaiveConfig) -> int:
    """Read all windows of `shards` once; return how many frames came out."""
    pipeline = wds.WebDataset([str(shard) for shard in shards], shardshuffle=False, empty_check=False)
    pipeline = pipeline.compose(_Windows(config.window_ticks))
    if config.seed is not None:
        pipeline = pipeline.shuffle(SHUFFLE_BUFFER, initial=SHUFFLE_BUFFER, rng=random.Random(config.seed))
    pipeline = pipeline.map(decode_window).batched(config.batch_size, collation_fn=_collate)
    loader = wds.WebLoader(pipeline, batch_size=None, num_workers=config.num_workers)
    return sum(batch.shape[0] * batch.shape[1] for batch in loader)


@dataclass(frozen=True)
class Request:
    """A window that is not decoded yet."""

    video: bytes
    start: int
    window_ticks: int


class _Windows:
    """Cuts each sample into windows; a class, so that worker processes can be sent it."""

    def __init__(self, window_ticks: int) -> None:
        self._window_ticks = window_ticks

    def __call__(self, samples: Iterable[dict[str, Any]]) -> Iterator[Request]:
        for sample in samples:
            ticks = _count(sample["mp4"])
            for start in range(0, ticks - self._window_ticks + 1, self._window_ticks):
                yield Request(sample["mp4"], start, self._window_ticks)


def _count(video: bytes) -> int:
    with av.open(io.BytesIO(video), "r") as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


def decode_window(request: Request) -> NDArray[np.uint8]:
    """Open, seek, decode, convert: uint8 (T, H, W, 3)."""
    frames: list[NDArray[np.uint8]] = []
    reformatter = VideoReformatter()
    with av.open(io.BytesIO(request.video), "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        rate, base = stream.average_rate, stream.time_base
        if rate is None or base is None:
            raise ValueError("the video has no clock")
        container.seek(round(request.start / rate / base), stream=stream)
        for picture in container.decode(stream):
            if round((picture.pts or 0) * base * rate) >= request.start:
                frames.append(reformatter.reformat(picture, format="rgb24").to_ndarray().astype(np.uint8, copy=False))
                if len(frames) == request.window_ticks:
                    break
    return np.stack(frames)


def _collate(windows: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """uint8 (B, T, H, W, 3)."""
    return torch.from_numpy(np.stack(windows))
