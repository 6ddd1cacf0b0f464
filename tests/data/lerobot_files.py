"""LeRobot datasets as LeRobot writes them, small."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gi_data.video_writer import VideoWriter

FPS, HEIGHT, WIDTH = 20, 32, 96
FRONT, SIDE = "observation.images.front", "observation.images.side"


def write_dataset(root: Path, barcodes: Any, actions: dict[str, list[list[Any]]], **changes: Any) -> Path:
    """Three episodes of 30 rows in one video; `actions` has the names and the 90 rows of each feature.

    Laid out as LeRobot 0.4 writes it: row n of all has picture n in the first camera, 4095 - n in the second.
    """
    names = changes.pop("names", {})
    for camera in (FRONT, SIDE):
        path = root / "videos" / camera / "chunk-000" / "file-000.mp4"
        path.parent.mkdir(parents=True)
        writer = VideoWriter(path, fps=FPS, height=HEIGHT, width=WIDTH)
        for number in range(90):
            writer.append(barcodes.frame(number if camera == FRONT else 4095 - number))
        writer.close()
    index = np.arange(90)
    columns: dict[str, Any] = {name: rows for name, rows in actions.items()}  # noqa: C416
    columns |= {"timestamp": (index % 30 / FPS).astype(np.float32), "frame_index": index % 30}
    columns |= {"episode_index": index // 30, "index": index, "task_index": np.zeros(90, dtype=np.int64)}
    (root / "data/chunk-000").mkdir(parents=True)
    pq.write_table(pa.table(columns), root / "data/chunk-000/file-000.parquet")
    features = {camera: {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": None} for camera in (FRONT, SIDE)}
    for name, rows in actions.items():
        shape = [len(rows[0])] if isinstance(rows[0], list) else [1]
        features[name] = {"dtype": "float32", "shape": shape, "names": names.get(name)}
    info = {
        "codebase_version": "v3.0",
        "fps": FPS,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    }
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info | changes))
    write_episodes(root, [{"episode_index": number} for number in range(3)])
    return root


def write_episodes(root: Path, changes: list[dict[str, Any]]) -> None:
    rows = []
    for number, change in enumerate(changes):
        row: dict[str, Any] = {"tasks": ["hill climb"], "length": 30, "data/chunk_index": 0, "data/file_index": 0}
        for camera in (FRONT, SIDE):
            row |= {f"videos/{camera}/{name}_index": 0 for name in ("chunk", "file")}
            row[f"videos/{camera}/from_timestamp"] = number * 1.5
            row[f"videos/{camera}/to_timestamp"] = number * 1.5 + 1.5
        rows.append(row | change)
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
