"""`Corpus`: shards + manifest + index in one place, on disk or behind a URL, opened for reading by byte offset.

Opening checks that index, manifest, and sizes of the shards agree; reading checks the hash of every member, for a file
on disk once while it does not change. Nothing is read before it is asked for, and the index stays in columns: a million
clips open in seconds.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gi_data.catalog import Catalog
from gi_data.index import IndexRow, check_digest
from gi_data.inputs_table import LabelColumns, Labels
from gi_data.metadata import ClipMetadata
from gi_data.storage import Extent, Location, Storage, file_size, locate, resolve
from gi_data.urls import Url
from gi_model.errors import ClipError, CorpusError

_IDENTITY = ("video_sha256", "inputs_sha256", "first_tick", "num_ticks", "split", "game")
_NUM_SIZE_THREADS = 32  # a server is asked for the sizes of so many shards at once


class Corpus:
    """The corpus in `directory`; clips are numbered 0 to num_clips - 1. Raises CorpusError if it is none or damaged.

    storage: counts what is read and may keep it; corpora that share one share its cache.
    """

    def __init__(self, directory: Location | str, *, storage: Storage | None = None) -> None:
        self.directory = locate(directory) if isinstance(directory, str) else directory
        self.storage = storage or Storage()
        catalog = Catalog.open(self.directory, lean=True)
        self.manifest, self._table = catalog.manifest, catalog.table
        self._verified: set[int] = set()  # members of files as they were when their hashes were right
        self._check_shards()

    @property
    def name(self) -> str:
        """What people call it: the last part of its path."""
        directory = self.directory.resolve() if isinstance(self.directory, Path) else self.directory
        return directory.name or str(self.directory)

    @property
    def num_clips(self) -> int:
        """Clips of both splits."""
        return len(self._table)

    @cached_property
    def games(self) -> tuple[str, ...]:
        """Names of the games, sorted; a batch's game_id is an index into them."""
        return tuple(sorted(self._table["game"].unique().to_pylist()))

    @cached_property
    def num_ticks(self) -> NDArray[np.int64]:
        """int64 (num_clips,): length of each clip."""
        return np.asarray(self._table["num_ticks"].to_numpy(), dtype=np.int64)

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """float64 (num_clips,): how long each clip was played."""
        return np.asarray(self._table["seconds"].to_numpy(), dtype=np.float64)

    @cached_property
    def game_ids(self) -> NDArray[np.int64]:
        """int64 (num_clips,): game of each clip."""
        names = self._table["game"].cast(pa.string())
        return np.asarray(pc.index_in(names, pa.array(self.games, pa.string())).to_numpy(), dtype=np.int64)

    @cached_property
    def recording_ids(self) -> NDArray[np.int64]:
        """int64 (num_clips,): recording that each clip is of, numbered in any order."""
        names = self._table["recording_id"].cast(pa.string())
        return np.asarray(pc.index_in(names, names.unique()).to_numpy(), dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Changes when the clips, their stretches, their splits, or their order change."""
        hasher = hashlib.sha256()
        for name in _IDENTITY:
            for content in _bytes_of(self._table[name]):
                hasher.update(content)
        return hasher.hexdigest()

    def select(self, split: str) -> NDArray[np.int64]:
        """Ids of the clips of one split, ascending."""
        return np.flatnonzero(pc.equal(self._table["split"].cast(pa.string()), split).to_numpy()).astype(np.int64)

    def row(self, clip_id: int) -> IndexRow:
        """The index row of a clip, without its statistics (`held` and `motion_counts` are empty)."""
        return IndexRow.from_table(self._table.slice(clip_id, 1).to_pylist()[0])

    def read_video(self, row: IndexRow) -> bytes:
        """The mp4 of a clip. Raises ClipError if its bytes are not those that were written."""
        return self._read(row, "video", Extent(row.video_offset, row.video_size, row.video_sha256))

    def read_labels(self, row: IndexRow) -> Labels:
        """The input states of a clip. Raises ClipError if its bytes are not those that were written."""
        return Labels.from_parquet(self._read_inputs(row), row.key)

    def read_label_columns(self, row: IndexRow) -> LabelColumns:
        """`read_labels` as arrays."""
        return LabelColumns.from_parquet(self._read_inputs(row), row.key)

    def read_metadata(self, row: IndexRow) -> ClipMetadata:
        """Where a clip comes from, in full. Raises ClipError if its bytes are not those that were written."""
        extent = Extent(row.metadata_offset, row.metadata_size, row.metadata_sha256)
        return ClipMetadata.from_json(self._read(row, "metadata", extent), row.key)

    def is_stored_at(self, height: int, width: int) -> bool:
        """Whether every clip's video has exactly this size."""
        return bool(
            (self._table["height"].to_numpy() == height).all() and (self._table["width"].to_numpy() == width).all()
        )

    def _read_inputs(self, row: IndexRow) -> bytes:
        return self._read(row, "labels", Extent(row.inputs_offset, row.inputs_size, row.inputs_sha256))

    def _read(self, row: IndexRow, what: str, extent: Extent) -> bytes:
        place = resolve(self.directory, row.shard)
        state = _state(place, extent)  # before reading: a file that changes meanwhile is checked again
        content = self.storage.read(place, extent)
        if len(content) < extent.size:
            do = f"Fetch or build {row.shard} again."
            got = f"{len(content)} bytes at {extent.offset}"
            raise ClipError(f"shard {row.shard} is cut in clip {row.key}", got=got, expected=extent.size, do=do)
        if state not in self._verified:
            check_digest(content, extent.sha256, f"{what} of clip {row.key} in {row.shard}")
        if state is not None:
            self._verified.add(state)
        return content

    def _check_shards(self) -> None:
        names = sorted(self.manifest.shards)
        for name, num_bytes in zip(names, self._sizes(names), strict=True):
            if num_bytes is not None and num_bytes < self.manifest.shards[name].num_bytes:
                raise self._cut(name, num_bytes)

    def _sizes(self, names: list[str]) -> Iterator[int | None]:
        places = [resolve(self.directory, name) for name in names]
        if any(isinstance(place, Url) for place in places):
            with ThreadPoolExecutor(_NUM_SIZE_THREADS) as pool:
                yield from pool.map(self._size, names, places)
        else:
            yield from map(self._size, names, places)

    def _size(self, name: str, place: Location) -> int | None:
        if isinstance(place, Path) and not place.is_file():
            do = "Fetch it, or run gi shard again; for a view, run again the command that made it."
            raise CorpusError(f"shard {name} is missing", got=self.directory, do=do)
        return file_size(place)

    def _cut(self, shard: str, num_bytes: int) -> ClipError:
        """The error of a shard that is shorter than it was written, naming the first clip that is lost."""
        rows = [
            row for row in map(self.row, self._in_shard(shard)) if row.metadata_offset + row.metadata_size > num_bytes
        ]
        loss = f": {len(rows)} clips are lost, the first is {rows[0].key}" if rows else " after its last clip"
        what = f"shard {shard} is cut{loss}"
        expected = f"{self.manifest.shards[shard].num_bytes} bytes"
        do = f"Fetch it again, or delete {shard} and its .index.parquet and run gi shard again."
        return ClipError(what, got=f"{num_bytes} bytes", expected=expected, do=do)

    def _in_shard(self, shard: str) -> list[int]:
        """Clips of a shard, in the order of their bytes."""
        ids = np.flatnonzero(pc.equal(self._table["shard"].cast(pa.string()), shard).to_numpy()).tolist()
        return sorted(ids, key=lambda clip_id: self.row(clip_id).metadata_offset)


def _state(place: Location, extent: Extent) -> int | None:
    """What changes with a file; None for a URL, and for a file that cannot be read."""
    if isinstance(place, Url):
        return None
    try:
        stat = place.stat()
    except OSError:
        return None
    return hash((str(place), extent.offset, extent.size, stat.st_ino, stat.st_size, stat.st_mtime_ns))


def _bytes_of(column: pa.ChunkedArray) -> Iterator[bytes]:
    """What a column of integers or strings holds, however it is cut into chunks or encoded."""
    if pa.types.is_integer(column.type):
        yield np.asarray(column.to_numpy(), dtype="<i8").tobytes()
        return
    texts = column.cast(pa.string())
    yield np.asarray(pc.binary_length(texts).to_numpy(), dtype="<i4").tobytes()
    for chunk in texts.chunks:
        yield "".join(chunk.to_pylist()).encode()
