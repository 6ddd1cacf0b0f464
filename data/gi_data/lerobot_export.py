"""`export_lerobot`: a corpus as LeRobot datasets (v3.0), for whoever trains with LeRobot.

A clip (a stretch of one, where somebody curated) becomes an episode, its game the task. Pictures are copied, not
encoded again; input states travel along exactly, so `gi ingest lerobot` gives back what was exported. Of clips that
know their body (`embodied`), `action` is what it was commanded, in its own units. A LeRobot dataset has one rate and
one size of pictures: a corpus of several becomes one dataset for each, in folders named by them. Rejected: one dataset
of resized pictures, which would be neither exact nor copied.
"""

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gi_data.corpus import Corpus
from gi_data.embodied import embodied, read_embodied
from gi_data.index import IndexRow
from gi_data.inputs_table import Labels
from gi_data.lerobot_format import (
    ACTION,
    CHUNK_FILES,
    DATA_MB,
    DATA_PATH,
    FACTS,
    INFO_PATH,
    INPUT,
    KNOWN,
    SCREEN,
    STATS_PATH,
    T_NS,
    VERSION,
    VIDEO_MB,
    VIDEO_PATH,
    action_names,
    action_vectors,
)
from gi_data.lerobot_stats import Stats, aggregate, feature_stats, picture_stats
from gi_data.lerobot_tables import DataWriter, FileNumber, data_schema, write_episodes, write_tasks
from gi_data.shared_video import Placed, SharedVideos
from gi_data.storage import UNFINISHED_SUFFIX, write_atomic
from gi_data.video import read_pictures
from gi_model.actions import Bindings, InputState
from gi_model.embodiment import Embodiment, parse_embodiment
from gi_model.errors import CorpusError

_KEPT = ("recording_id", "part", "first_tick", "split", "game", "source", "license", "consent", "demonstrator")
_SAMPLED = 3  # pictures of an episode that its statistics are made of


@dataclass(frozen=True)
class Exported:
    """One dataset that was written."""

    path: Path
    num_episodes: int
    num_frames: int
    num_actions: int


class _Kind(NamedTuple):
    """What a dataset can only have one of."""

    fps: float
    height: int
    width: int
    robot: str = ""  # the embodiment's file; nothing: games

    @property
    def body(self) -> Embodiment | None:
        return parse_embodiment(self.robot) if self.robot else None

    @property
    def folder(self) -> str:
        body = self.body
        robot = "" if body is None else f"-{re.sub(r'[^A-Za-z0-9_-]+', '-', body.name)}-{body.fingerprint[:6]}"
        return f"{self.fps:g}hz-{self.width}x{self.height}{robot}"


def export_lerobot(
    directory: Path,
    destination: Path,
    *,
    data_mb: float = DATA_MB,
    video_mb: float = VIDEO_MB,
    advance: Callable[[], None] = lambda: None,
) -> list[Exported]:
    """Write the corpus in `directory` as datasets; `advance` is called after each clip.

    Raises CorpusError if `destination` exists or the corpus is damaged; then nothing is left there.
    """
    corpus = Corpus(directory)
    if destination.exists():
        raise CorpusError(f"{destination} exists", do="Name a folder that does not exist yet.")
    kinds: dict[_Kind, list[IndexRow]] = defaultdict(list)
    for row in map(corpus.row, range(corpus.num_clips)):
        body = read_embodied(corpus.read_metadata(row).info.extra, row.key)
        kinds[_Kind(row.fps, row.height, row.width, body.to_toml() if body else "")].append(row)
    if not kinds:
        raise CorpusError(f"corpus {directory} holds no clips")
    unfinished = destination.with_name(destination.name + UNFINISHED_SUFFIX)
    shutil.rmtree(unfinished, ignore_errors=True)
    exported = []
    try:
        for kind, rows in sorted(kinds.items()):
            part = Path(kind.folder) if len(kinds) > 1 else Path()
            names = _action_names(kind, rows, corpus)
            limits = (int(data_mb * 1e6), int(video_mb * 1e6))
            writer = _DatasetWriter(unfinished / part, kind, rows, names=names, limits=limits)
            exported.append(_write(corpus, writer, destination / part, advance))
        unfinished.rename(destination)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return exported


def _action_names(kind: _Kind, rows: Sequence[IndexRow], corpus: Corpus) -> list[str]:
    if (body := kind.body) is not None:
        return [actuator.name for actuator in body.actuators]
    return action_names(_bindings(rows), corpus.manifest.key_ticks)


def _bindings(rows: Sequence[IndexRow]) -> list[Bindings]:
    return [Bindings.from_dict(json.loads(text)) for text in sorted({row.bindings for row in rows})]


def _write(corpus: Corpus, writer: "_DatasetWriter", path: Path, advance: Callable[[], None]) -> Exported:
    for row in writer.rows:
        writer.add(row, corpus.read_labels(row), corpus.read_video(row))
        advance()
    writer.finish()
    return Exported(path, len(writer.rows), writer.num_frames, len(writer.names))


class _DatasetWriter:
    """Writes one dataset, an episode after the other."""

    def __init__(
        self, root: Path, kind: _Kind, rows: Sequence[IndexRow], *, names: list[str], limits: tuple[int, int]
    ) -> None:
        self.rows = sorted(rows, key=lambda row: (row.split, row.recording_id, row.part, row.first_tick))
        self.names = names
        if not names:
            raise CorpusError("no game binds a control", do="Ingest with bindings: gi ingest --bindings FILE")
        self._root, self._kind, self._body = root, kind, kind.body
        self._tasks = sorted({row.game for row in rows})
        self._data = DataWriter(root, data_schema(len(self.names)), max_bytes=limits[0])
        self._videos = SharedVideos(self._video_path, fps=kind.fps, max_bytes=limits[1])
        self._limits = limits
        self.num_frames = 0
        self._episodes: list[dict[str, Any]] = []
        self._stats: list[dict[str, Stats]] = []
        self._placed: list[Placed] = []

    def add(self, row: IndexRow, labels: Labels, video: bytes) -> None:
        """Add a clip."""
        ticks = slice(row.first_tick, row.first_tick + row.num_ticks)
        columns = self._columns(row, labels, ticks)
        self._placed.append(self._videos.append(video, row.key, frames=range(ticks.start, ticks.stop)))
        place = self._data.append({name: list(values) for name, values in columns.items()} | self._action(columns))
        self._stats.append({name: feature_stats(v) for name, v in columns.items() if v.dtype.kind in "bif"})
        self._episodes.append(self._episode(row, place, t0_ns=int(columns[T_NS][0])))
        self.num_frames += row.num_ticks

    def finish(self) -> None:
        """Write everything that is known only now; `info.json` last."""
        self._data.close()
        self._videos.close()
        for number, placed in enumerate(self._placed):
            self._stats[number][SCREEN] = self._picture_stats(placed, int(self._episodes[number]["length"]))
            self._episodes[number] |= self._video_columns(placed, number) | _flat(self._stats[number])
        write_episodes(self._root, self._episodes)
        write_tasks(self._root, self._tasks)
        whole = {name: aggregate([stats[name] for stats in self._stats]) for name in self._stats[0]}
        lists = {name: {key: value.tolist() for key, value in stats.items()} for name, stats in whole.items()}
        write_atomic(self._root / STATS_PATH, json.dumps(lists, indent=1).encode())
        write_atomic(self._root / INFO_PATH, json.dumps(self._info(), indent=1).encode())

    def _columns(self, row: IndexRow, labels: Labels, ticks: slice) -> dict[str, Any]:
        states, count = labels.inputs[ticks], row.num_ticks
        frame_index = np.arange(count, dtype=np.int64)
        return {
            ACTION: self._actions(states),
            "timestamp": (frame_index / self._kind.fps).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.full(count, len(self._episodes), dtype=np.int64),
            "index": self.num_frames + frame_index,
            "task_index": np.full(count, self._tasks.index(row.game), dtype=np.int64),
            KNOWN: labels.known[ticks],
            T_NS: labels.t_ns[ticks],
            INPUT: np.array([json.dumps(state.to_dict(), separators=(",", ":")) for state in states]),
        }

    def _actions(self, states: Sequence[InputState]) -> NDArray[np.float32]:
        """float32 (T, A): commands of a robot, or held controls and axes of a game."""
        if self._body is None:
            return action_vectors(states, self.names)
        return np.stack([self._body.command(state) for state in states])

    def _action(self, columns: dict[str, Any]) -> dict[str, Any]:
        vectors = columns[ACTION]
        return {ACTION: vectors[:, 0].tolist() if vectors.shape[1] == 1 else vectors.tolist()}

    def _episode(self, row: IndexRow, place: FileNumber, *, t0_ns: int) -> dict[str, Any]:
        facts = {name: getattr(row, name) for name in _KEPT}
        facts |= embodied(self._body)
        facts |= {"clip_key": row.key, "t0_ns": t0_ns, "score": row.score, "bindings": row.bindings}
        return {
            "episode_index": len(self._episodes),
            "tasks": [row.game],
            "length": row.num_ticks,
            "data/chunk_index": place.chunk,
            "data/file_index": place.file,
            "dataset_from_index": self.num_frames,
            "dataset_to_index": self.num_frames + row.num_ticks,
            **{FACTS + name: value for name, value in facts.items()},
        }

    def _video_columns(self, placed: Placed, number: int) -> dict[str, Any]:
        place, length = FileNumber.of(placed.file_id), self._episodes[number]["length"]
        values = {
            "chunk_index": place.chunk,
            "file_index": place.file,
            "from_timestamp": placed.first / self._kind.fps,
            "to_timestamp": (placed.first + length) / self._kind.fps,
        }
        return {f"videos/{SCREEN}/{name}": value for name, value in values.items()}

    def _picture_stats(self, placed: Placed, length: int) -> Stats:
        """Of a few pictures: keyframes near the beginning, the middle, and the end."""
        numbers = {placed.first + round(length * share / _SAMPLED) for share in range(_SAMPLED)}
        times = [round(number * 1e9 / self._kind.fps) for number in sorted(numbers)]
        path = self._video_path(placed.file_id)
        return picture_stats([next(read_pictures(path, start_ns=t_ns))[1]() for t_ns in times])

    def _video_path(self, number: int) -> Path:
        return self._root / FileNumber.of(number).path(VIDEO_PATH, video_key=SCREEN)

    def _info(self) -> dict[str, Any]:
        num_train = sum(row.split == "train" for row in self.rows)
        splits = {"train": f"0:{num_train}", "val": f"{num_train}:{len(self.rows)}"}
        return {
            "codebase_version": VERSION,
            "robot_type": "game" if self._body is None else self._body.name,
            "total_episodes": len(self.rows),
            "total_frames": self.num_frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": self._limits[0] // 10**6,
            "video_files_size_in_mb": self._limits[1] // 10**6,
            "fps": int(self._kind.fps) if self._kind.fps == int(self._kind.fps) else self._kind.fps,
            "splits": {name: span for name, span in splits.items() if len(set(span.split(":"))) > 1},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": self._features(),
        }

    def _features(self) -> dict[str, Any]:
        height, width = self._kind.height, self._kind.width
        video = {"height": height, "width": width, "codec": "h264", "pix_fmt": "yuv420p", "channels": 3}
        video |= {"is_depth_map": False, "fps": self._kind.fps}
        scalars = {name: (dtype, None) for name, dtype in _SCALARS.items()}
        return {
            SCREEN: {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": {f"video.{name}": value for name, value in video.items()} | {"has_audio": False},
            },
            ACTION: {"dtype": "float32", "shape": [len(self.names)], "names": self.names},
            **{name: {"dtype": dtype, "shape": [1], "names": names} for name, (dtype, names) in scalars.items()},
        }


_SCALARS = {KNOWN: "bool", T_NS: "int64", INPUT: "string", "timestamp": "float32"} | dict.fromkeys(
    ("frame_index", "episode_index", "index", "task_index"), "int64"
)


def _flat(stats: dict[str, Stats]) -> dict[str, Any]:
    return {f"stats/{name}/{key}": value.tolist() for name, each in stats.items() for key, value in each.items()}
