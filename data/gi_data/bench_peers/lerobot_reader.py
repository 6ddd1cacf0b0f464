"""Reads windows of a LeRobot v3 dataset with the `lerobot` package: its dataset under torch's DataLoader, no workers.

Job: {"dataset": folder, "is_random", "window_ticks": T, "batch_size": B}.
"""

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Read the job and print the result."""
    job = json.loads(Path(sys.argv[1]).read_text())
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the dataset is on disk
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset  # type: ignore[import-not-found]
    except Exception as error:  # a missing package, or libraries missing below it
        print(json.dumps({"missing": f"lerobot: {str(error).strip().splitlines()[0]}"}))  # noqa: T201
        return
    import torch

    torch.set_num_threads(1)
    root = Path(job["dataset"])
    about = json.loads((root / "meta" / "info.json").read_text())
    videos = [name for name, feature in about["features"].items() if feature["dtype"] == "video"]
    times = [tick / about["fps"] for tick in range(job["window_ticks"])]
    dataset = LeRobotDataset(root.name, root=root, delta_timestamps=dict.fromkeys(videos, times))
    windows = [
        first + start
        for first, length in zip(
            dataset.meta.episodes["dataset_from_index"], dataset.meta.episodes["length"], strict=True
        )
        for start in range(0, length - job["window_ticks"] + 1, job["window_ticks"])
    ]
    if job["is_random"]:
        random.Random(0).shuffle(windows)
    read(dataset, windows[: job["batch_size"]], job, videos)  # warm up
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    frames = read(dataset, windows, job, videos)
    result = {"frames": frames, "cpu_s": time.process_time() - cpu_s, "wall_s": time.perf_counter() - wall_s}
    print(json.dumps(result))  # noqa: T201


def read(dataset: Any, windows: list[int], job: dict[str, Any], videos: list[str]) -> int:
    """Read windows by their first frame in the order given, a batch at a time; return the number of frames."""
    from torch.utils.data import DataLoader

    loader = DataLoader(dataset, batch_size=job["batch_size"], sampler=windows, num_workers=0)
    return sum(batch[name].shape[0] * batch[name].shape[1] for batch in loader for name in videos)


if __name__ == "__main__":
    main()
