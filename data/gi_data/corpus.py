"""`Corpus`: shards + manifest + index in one directory, opened for reading by byte offset.

Opening checks that index, manifest, and sizes of the shards agree; reading checks the hash of every member.
Nothing is read before it is asked for.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gi_data.index import INDEX_NAME, IndexRow, check_digest, read_index
from gi_data.inputs_table import Labels
from gi_data.manifest import Manifest
from gi_data.storage import digest, read_range
from gi_model.errors import ClipError, CorpusError


class Corpus:
    """The corpus in `directory`; clips are numbered 0 to num_clips - 1. Raises CorpusError if it is none or damaged."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest = Manifest.read(directory)
        self._table = read_index(directory / INDEX_NAME)
        self._check()

    @property
    def num_clips(self) -> int:
        """Clips of both splits."""
        return len(self._table)

    @cached_property
    def games(self) -> tuple[str, ...]:
        """Names of the games, sorted; a batch's game_id is an index into them."""
        return tuple(sorted(set(self._table["game"].to_pylist())))

    @cached_property
    def num_ticks(self) -> NDArray[np.int64]:
        """int64 (num_clips,): length of each clip."""
        return np.asarray(self._table["num_ticks"].to_numpy(), dtype=np.int64)

    @cached_property
    def game_ids(self) -> NDArray[np.int64]:
        """int64 (num_clips,): game of each clip."""
        return np.searchsorted(np.array(self.games), np.array(self._table["game"].to_pylist())).astype(np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Changes when the clips, or their order, change."""
        return digest(
            "".join(self._table["video_sha256"].to_pylist() + self._table["inputs_sha256"].to_pylist()).encode()
        )

    @cached_property
    def _splits(self) -> NDArray[np.str_]:
        return np.array(self._table["split"].to_pylist())

    def select(self, split: str) -> NDArray[np.int64]:
        """Ids of the clips of one split, ascending."""
        return np.flatnonzero(self._splits == split).astype(np.int64)

    def row(self, clip_id: int) -> IndexRow:
        """The index row of a clip."""
        return IndexRow.from_table(self._table.slice(clip_id, 1).to_pylist()[0])

    def read_video(self, row: IndexRow) -> bytes:
        """The mp4 of a clip. Raises ClipError if its bytes are not those that were written."""
        video = self._read(row, row.video_offset, row.video_size)
        check_digest(video, row.video_sha256, f"video of clip {row.key} in {row.shard}")
        return video

    def read_labels(self, row: IndexRow) -> Labels:
        """The input states of a clip. Raises ClipError if its bytes are not those that were written."""
        table = self._read(row, row.inputs_offset, row.inputs_size)
        check_digest(table, row.inputs_sha256, f"labels of clip {row.key} in {row.shard}")
        return Labels.from_parquet(table, row.key)

    def _read(self, row: IndexRow, offset: int, size: int) -> bytes:
        content = read_range(self.directory / row.shard, offset, size)
        if len(content) < size:
            do = f"Fetch or build {row.shard} again."
            what = f"shard {row.shard} is cut in clip {row.key}"
            raise ClipError(what, got=f"{len(content)} bytes at {offset}", expected=size, do=do)
        return content

    def _check(self) -> None:
        do = f"Rebuild what describes the shards: gi index {self.directory}"
        indexed, listed = set(self._table["shard"].to_pylist()), set(self.manifest.shards)
        if self.num_clips != self.manifest.num_clips or indexed != listed:
            got, expected = f"{self.num_clips} clips in the index", f"{self.manifest.num_clips} of the manifest"
            raise CorpusError("index and manifest disagree", got=got, expected=expected, do=do)
        for name in sorted(listed):
            path = self.directory / name
            if not path.is_file():
                raise CorpusError(f"shard {name} is missing", got=self.directory, do="Fetch it, or run gi shard again.")
            if (num_bytes := path.stat().st_size) < self.manifest.shards[name].num_bytes:
                raise self._cut(name, num_bytes)

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
        ids = [clip_id for clip_id, name in enumerate(self._table["shard"].to_pylist()) if name == shard]
        return sorted(ids, key=lambda clip_id: self.row(clip_id).metadata_offset)
