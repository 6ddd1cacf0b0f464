"""The tables of a LeRobot dataset: rows of frames in files of bounded size, a row an episode, the tasks."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from gi_data.lerobot_format import ACTION, CHUNK_FILES, DATA_PATH, EPISODES_PATH, INPUT, KNOWN, T_NS, TASKS_PATH
from gi_data.storage import disk_error

_COLUMNS = {
    "timestamp": pa.float32(),
    "frame_index": pa.int64(),
    "episode_index": pa.int64(),
    "index": pa.int64(),
    "task_index": pa.int64(),
    KNOWN: pa.bool_(),
    T_NS: pa.int64(),
    INPUT: pa.string(),
}


class FileNumber(NamedTuple):
    """A file's place: chunk folder, and number in there."""

    chunk: int
    file: int

    @classmethod
    def of(cls, number: int) -> "FileNumber":
        """Place of the file `number`, counted through."""
        return cls(*divmod(number, CHUNK_FILES))

    def path(self, template: str, **names: str) -> str:
        """Fill in a path template."""
        return template.format(chunk_index=self.chunk, file_index=self.file, **names)


def data_schema(num_actions: int) -> pa.Schema:
    """Columns of a row of frames. A vector of one is a plain number in LeRobot."""
    action = pa.float32() if num_actions == 1 else pa.list_(pa.float32(), num_actions)
    return pa.schema([(ACTION, action), *_COLUMNS.items()])


class DataWriter:
    """Writes rows of frames, one row group an episode; a new file where `max_bytes` would be passed."""

    def __init__(self, root: Path, schema: pa.Schema, *, max_bytes: int) -> None:
        self._root, self._schema, self._max_bytes = root, schema, max_bytes
        self._number = -1
        self._sink: BinaryIO | None = None
        self._writer: pq.ParquetWriter | None = None
        self._largest = 0

    def append(self, columns: dict[str, Any]) -> FileNumber:
        """Add an episode; return where it went. Raises CorpusError if the disk refuses."""
        table = pa.table(columns, schema=self._schema)
        try:
            if self._sink is None or self._sink.tell() + self._largest > self._max_bytes:
                self._next_file()
            assert self._writer is not None
            assert self._sink is not None
            before = self._sink.tell()
            self._writer.write_table(table)
            self._largest = max(self._largest, self._sink.tell() - before)
        except OSError as error:
            raise disk_error(self._root, error) from error
        return FileNumber.of(self._number)

    def close(self) -> None:
        """End the open file."""
        if self._writer is not None and self._sink is not None:
            self._writer.close()
            self._sink.close()
            self._writer = self._sink = None

    def _next_file(self) -> None:
        self.close()
        self._number += 1
        path = self._root / FileNumber.of(self._number).path(DATA_PATH)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sink = path.open("wb")
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")


def write_episodes(root: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write one row an episode, all in one file."""
    place = FileNumber(0, 0)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns |= {"meta/episodes/chunk_index": [0] * len(rows), "meta/episodes/file_index": [0] * len(rows)}
    table = pa.table(columns)
    nothing = [name for name in table.column_names if pa.types.is_null(table.schema.field(name).type)]
    for name in nothing:  # nobody could concatenate a column without a type
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.array(columns[name], pa.float64()))
    _write(root / place.path(EPISODES_PATH), table)


def write_tasks(root: Path, tasks: Sequence[str]) -> None:
    """Write the tasks by number. LeRobot reads them with pandas, whose index (the task) is named in the file's head."""
    index = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    column = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    facts = {"index_columns": ["task"], "column_indexes": [], "columns": [column | {"metadata": None}, index]}
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": list(tasks)})
    _write(root / TASKS_PATH, table.replace_schema_metadata({"pandas": json.dumps(facts | {"pandas_version": "2.0"})}))


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        pq.write_table(table, path, compression="zstd")
    except OSError as error:
        raise disk_error(path, error) from error
