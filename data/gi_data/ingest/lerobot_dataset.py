"""`Dataset`: what `meta/` of a LeRobot dataset says, checked before anything is believed.

Path templates come from a stranger's file. They are not given to `str.format`, which would follow attributes of what is
filled in; the three names that LeRobot knows are replaced, and a path that leaves the dataset's folder is refused.
Links are followed: the cache of Hugging Face consists of them.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gi_data.ingest.limits import MAX_EVENTS, MAX_RECORDING_S, check_file
from gi_data.lerobot_format import FACTS, INFO_PATH
from gi_model.errors import ClipError, CorpusError

MAX_EPISODES: Final = 5_000_000
_MAX_JSON_BYTES: Final = 64 * 2**20
_PLACEHOLDER: Final = re.compile(r"\{(video_key|chunk_index|file_index)(?::0?(\d{1,2})d)?\}")
_CAMERAS: Final = "observation.images."
_BATCH_ROWS: Final = 8192


@dataclass(frozen=True, slots=True)
class VideoSpan:
    """Where the pictures of an episode are."""

    chunk: int
    file: int
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Episode:
    """One row of `meta/episodes`. facts: what our export keeps of a clip."""

    index: int
    length: int
    task: str
    chunk: int
    file: int
    videos: Mapping[str, VideoSpan]
    facts: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset on disk, equal to nothing but itself. features: by name, as in `info.json`."""

    root: Path
    fps: float
    features: Mapping[str, dict[str, Any]]
    data_template: str
    video_template: str
    episodes: tuple[Episode, ...]

    def camera(self, wanted: str | None) -> str:
        """The camera to read: the one asked for, or the first. Raises ClipError."""
        videos = [name for name, feature in self.features.items() if feature.get("dtype") == "video"]
        if wanted is not None and wanted not in videos:
            raise ClipError(
                "no such camera", got=wanted, expected=", ".join(videos), do="Change camera in gi-map.toml."
            )
        if not videos:
            do = "Datasets of single images are not read: encode them as videos with LeRobot's own tools."
            raise ClipError(f"{self.root.name} has no video", got=sorted(self.features)[:20], do=do)
        return wanted or next((name for name in videos if name.startswith(_CAMERAS)), videos[0])

    def video_path(self, episode: Episode, camera: str) -> Path:
        """The file that has an episode's pictures."""
        span = episode.videos.get(camera)
        if span is None:
            raise ClipError(f"episode {episode.index} has no pictures of {camera}", got=sorted(episode.videos)[:5])
        names: dict[str, str | int] = {"video_key": camera, "chunk_index": span.chunk, "file_index": span.file}
        return self.root / fill_in(self.video_template, names)

    def check(self, episode: Episode) -> None:
        """Raise ClipError if an episode's stretch of a video cannot be, or another episode claims it, too."""
        for span in episode.videos.values():
            if not 0 <= span.from_s < span.to_s < float("inf") or span.to_s - span.from_s > MAX_RECORDING_S:
                got = f"{span.from_s} s to {span.to_s} s"
                raise ClipError(f"episode {episode.index} lies nowhere in its video", got=got)
            if abs((span.to_s - span.from_s) * self.fps - episode.length) > 1:
                got = f"{span.to_s - span.from_s:.3f} s for {episode.length} rows"
                raise ClipError(f"episode {episode.index} has pictures of another length", got=got)
        if episode.index in self._overlaps:
            raise ClipError(f"episodes {episode.index} and {self._overlaps[episode.index]} overlap in a video")

    @cached_property
    def _overlaps(self) -> dict[int, int]:
        """Of episodes that share more than a picture of a video with another, which other."""
        spans: dict[tuple[str, int, int], list[tuple[float, float, int]]] = defaultdict(list)
        for episode in self.episodes:
            for camera, span in episode.videos.items():
                spans[camera, span.chunk, span.file].append((span.from_s, span.to_s, episode.index))
        found: dict[int, int] = {}
        for in_file in spans.values():
            reach_s, last = float("-inf"), -1
            for from_s, to_s, index in sorted(in_file):
                if (min(to_s, reach_s) - from_s) * self.fps > 1:
                    found |= {index: last, last: index}
                reach_s, last = max((reach_s, last), (to_s, index))
        return found

    def rows(self, episode: Episode, columns: list[str]) -> pa.Table:
        """Columns of an episode's rows, in order. Raises ClipError unless they are all there."""
        names = {"chunk_index": episode.chunk, "file_index": episode.file}
        path = check_file(self.root / fill_in(self.data_template, names), "data")
        wanted = ["episode_index", "frame_index", *columns]
        try:
            with pq.ParquetFile(path) as file:
                if file.metadata.num_rows > MAX_EVENTS:
                    raise ClipError(f"{path} has an absurd length", got=file.metadata.num_rows)
                table = pa.Table.from_batches(list(_rows_of(file, episode, wanted)))
                numbers = table["frame_index"].to_pylist()
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise ClipError(f"rows of episode {episode.index} cannot be read", got=str(error)[:200]) from error
        if numbers != list(range(episode.length)):
            got, expected = f"{len(numbers)} rows", f"{episode.length}, numbered from 0"
            raise ClipError(f"episode {episode.index} has not its rows", got=got, expected=expected)
        return table


def own_clip(episode: Episode) -> tuple[str, int] | None:
    """Of an export of ours, the recording a clip comes from and its first time in ns."""
    name, t0_ns = episode.facts.get("recording_id"), episode.facts.get("t0_ns")
    return (name, t0_ns) if isinstance(name, str) and isinstance(t0_ns, int) else None


def open_dataset(root: Path) -> Dataset:
    """Read what a dataset says of itself. Raises CorpusError if it is none, or of another version."""
    path = root / INFO_PATH
    try:
        return _open(root, path.stat().st_mtime_ns)
    except (ClipError, OSError) as error:
        raise CorpusError(f"{root} cannot be read as a LeRobot dataset", got=str(error)) from error


def fill_in(template: str, names: Mapping[str, str | int]) -> str:
    """A path template with its names filled in. Raises ClipError where it leads out of the folder."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in names:
            raise _bad_path(template)
        filled = names[name]
        return f"{filled:0{int(match[2])}d}" if match[2] and isinstance(filled, int) else str(filled)

    path = _PLACEHOLDER.sub(value, template)
    parts = PurePosixPath(path).parts
    if "{" in path or "}" in path or "\\" in path or "\0" in path or path.startswith("/") or ".." in parts or not parts:
        raise _bad_path(template)
    return path


@lru_cache(maxsize=8)
def _open(root: Path, _changed_ns: int) -> Dataset:
    info = _read_json(root / INFO_PATH)
    version, fps, features = info.get("codebase_version"), info.get("fps"), info.get("features")
    if not isinstance(version, str) or not version.startswith("v3."):
        do = "Convert it: python -m lerobot.datasets.v30.convert_dataset_v21_to_v30"
        raise ClipError("dataset of another version", got=repr(version)[:40], expected="v3.0", do=do)
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0.1 <= fps <= 240:
        raise ClipError("rate out of range", got=repr(fps)[:40], expected="0.1 to 240 frames a second")
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise ClipError("no features", got=type(features).__name__, expected="an object of objects")
    templates = [info.get("data_path"), info.get("video_path") or ""]
    if not all(isinstance(template, str) for template in templates):
        raise ClipError("no paths", got=repr(templates)[:200], expected="data_path and video_path")
    return Dataset(root, float(fps), features, str(templates[0]), str(templates[1]), _read_episodes(root, features))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(check_file(path, "info.json", max_bytes=_MAX_JSON_BYTES).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ClipError(f"{path} cannot be read", got=str(error)[:200], expected="JSON") from error
    if not isinstance(data, dict):
        raise ClipError(f"{path} is no object", got=type(data).__name__)
    return data


def _read_episodes(root: Path, features: Mapping[str, dict[str, Any]]) -> tuple[Episode, ...]:
    cameras = [name for name, feature in features.items() if feature.get("dtype") == "video"]
    rows = [row for path in sorted((root / "meta" / "episodes").glob("*/*.parquet")) for row in _table(path)]
    try:
        episodes = tuple(sorted((_episode(row, cameras) for row in rows), key=lambda episode: episode.index))
    except (KeyError, TypeError, ValueError) as error:
        raise ClipError("episodes cannot be read", got=repr(error)[:200], expected="the columns of v3.0") from error
    if len({episode.index for episode in episodes}) < len(episodes):
        raise ClipError("two episodes have the same number")
    return episodes


def _table(path: Path) -> list[dict[str, Any]]:
    check_file(path, "episodes")
    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows > MAX_EPISODES:
                raise ClipError(f"{path} has an absurd length", got=file.metadata.num_rows)
            names = [name for name in file.schema_arrow.names if not name.startswith(("stats/", "meta/"))]
            rows: list[dict[str, Any]] = file.read(columns=names).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ClipError(f"{path} cannot be read", got=str(error)[:200], expected="Parquet") from error
    return rows


def _episode(row: dict[str, Any], cameras: list[str]) -> Episode:
    length = _whole(row["length"])
    if length < 1:
        raise ValueError(f"an episode of {length} rows")
    tasks = row.get("tasks")
    return Episode(
        index=_whole(row["episode_index"]),
        length=length,
        task=str(tasks[0] if isinstance(tasks, list) and tasks else "unknown")[:100],
        chunk=_whole(row["data/chunk_index"]),
        file=_whole(row["data/file_index"]),
        videos={
            name: _span(row, f"videos/{name}/") for name in cameras if row.get(f"videos/{name}/chunk_index") is not None
        },
        facts={name.removeprefix(FACTS): value for name, value in row.items() if name.startswith(FACTS)},
    )


def _span(row: dict[str, Any], prefix: str) -> VideoSpan:
    chunk, file = (_whole(row[prefix + name]) for name in ("chunk_index", "file_index"))
    return VideoSpan(chunk, file, float(row[prefix + "from_timestamp"]), float(row[prefix + "to_timestamp"]))


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**40:
        raise ValueError(f"a count expected, got {value!r}")
    return value


def _rows_of(file: pq.ParquetFile, episode: Episode, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Batches of an episode's rows; the file is read no further than it needs to be."""
    found = 0
    schema = pa.schema([file.schema_arrow.field(name) for name in columns])
    yield pa.RecordBatch.from_pylist([], schema=schema)
    groups = [number for number in range(file.num_row_groups) if _may_hold(file, number, episode.index)]
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups, columns=columns):
        kept = batch.select(columns).filter(pc.equal(batch["episode_index"], episode.index))
        found += len(kept)
        if found > episode.length:
            raise ClipError(f"episode {episode.index} has not its rows", got=f"over {episode.length}")
        yield kept


def _may_hold(file: pq.ParquetFile, group: int, index: int) -> bool:
    """Whether a row group may hold rows of an episode, by its least and greatest number."""
    meta = file.metadata.row_group(group)
    for number in range(meta.num_columns):
        column = meta.column(number)
        if column.path_in_schema == "episode_index" and column.is_stats_set and column.statistics.has_min_max:
            return bool(column.statistics.min <= index <= column.statistics.max)
    return True


def _bad_path(template: str) -> ClipError:
    return ClipError("a path of the dataset leads out of it, or is none", got=repr(template)[:200])
