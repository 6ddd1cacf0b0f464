"""Reads windows of mp4 files with torchcodec, as RGB batches. A decoder stays open for each file; one thread.

Job: {"videos": [path], "is_random", "window_ticks": T, "batch_size": B}.
"""

import json
import random
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Read the job and print the result."""
    job = json.loads(Path(sys.argv[1]).read_text())
    try:
        from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found]
    except Exception as error:  # a missing package, or FFmpeg's libraries missing below it
        print(json.dumps({"missing": f"torchcodec: {str(error).strip().splitlines()[0]}"}))  # noqa: T201
        return
    import torch

    torch.set_num_threads(1)
    decoders = [VideoDecoder(path, seek_mode="approximate", num_ffmpeg_threads=1) for path in job["videos"]]
    windows = [
        (video, start)
        for video, decoder in enumerate(decoders)
        for start in range(0, len(decoder) - job["window_ticks"] + 1, job["window_ticks"])
    ]
    if job["is_random"]:
        random.Random(0).shuffle(windows)
    read(decoders, windows[: job["batch_size"]], job)  # warm up
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    frames = read(decoders, windows, job)
    result = {"frames": frames, "cpu_s": time.process_time() - cpu_s, "wall_s": time.perf_counter() - wall_s}
    print(json.dumps(result))  # noqa: T201


def read(decoders: list[Any], windows: list[tuple[int, int]], job: dict[str, Any]) -> int:
    """Decode windows of (video, first frame) in the order given, a batch at a time; return the number of frames."""
    import torch

    frames, ticks = 0, job["window_ticks"]
    for first in range(0, len(windows), job["batch_size"]):
        chosen = windows[first : first + job["batch_size"]]
        batch = torch.stack([decoders[video].get_frames_in_range(start, start + ticks).data for video, start in chosen])
        frames += batch.shape[0] * batch.shape[1]
    return frames


if __name__ == "__main__":
    main()
