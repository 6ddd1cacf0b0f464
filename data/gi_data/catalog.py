"""`Catalog`: index and manifest of a corpus, read together, without what was revoked.

A corpus has shards of its own; a view has none: its rows point into the shards of other corpora. Both are opened the
same way. What a downloaded index claims is checked before it is believed: places inside the shards, stretches inside
clips. A row may name any file, but no byte reaches anyone unless its sha256 is the one the row already knew.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gi_data.index import INDEX_NAME, ShardIndex, read_index, write_index
from gi_data.manifest import Manifest
from gi_data.revocation import read_revoked, revoked_anywhere
from gi_data.storage import Location
from gi_model.errors import CorpusError
from gi_model.frames import MAX_SIDE


@dataclass(frozen=True, eq=False)
class Catalog:
    """table: one row a stretch, columns of `IndexRow`; manifest: their sums."""

    manifest: Manifest
    table: pa.Table

    @classmethod
    def open(cls, directory: Location, *, lean: bool = False) -> Self:
        """Read what describes a corpus (lean: see `read_index`).

        Raises CorpusError if there is none, or if its parts contradict each other.
        """
        manifest = Manifest.read(directory)
        table = read_index(directory / INDEX_NAME, lean=lean)
        _check(manifest, table, directory)
        kept = without(table, revoked_anywhere(directory, manifest))
        if len(kept) == len(table):
            return cls(manifest, table)
        if lean:
            return cls(cls.open(directory).manifest, kept)
        return cls(Manifest.of(kept, manifest.shards, bases=manifest.bases), kept)

    def write(self, directory: Path) -> None:
        """Write index, then manifest: the corpus is complete. Drops what was revoked in `directory`."""
        table = without(self.table, frozenset(read_revoked(directory)))
        write_index(directory, table)
        Manifest.of(table, self.manifest.shards, bases=self.manifest.bases).write(directory)

    def shards(self) -> Iterator[ShardIndex]:
        """The rows of each shard."""
        for name, facts in self.manifest.shards.items():
            rows = self.table.filter(pc.equal(self.table["shard"], name))
            yield ShardIndex(name, facts.num_bytes, facts.sha256, rows)


def without(table: pa.Table, revoked: frozenset[str]) -> pa.Table:
    """The rows of other recordings than the revoked ones."""
    if not revoked:
        return table
    return table.filter(pc.invert(pc.is_in(table["recording_id"], pa.array(sorted(revoked), pa.string()))))


def _check(manifest: Manifest, table: pa.Table, directory: Location) -> None:
    again = "Run again the command that made this view." if manifest.is_view else f"Run: gi index {directory}"
    indexed = set(table["shard"].unique().to_pylist())
    if len(table) != manifest.num_clips or indexed != set(manifest.shards):
        got, expected = f"{len(table)} clips in the index", f"{manifest.num_clips} of the manifest"
        raise CorpusError("index and manifest disagree", got=got, expected=expected, do=again)
    if table.num_rows and (damaged := _first_impossible(manifest, table)):
        raise CorpusError(f"index of {directory} holds an impossible row", got=damaged, do=again)


def _first_impossible(manifest: Manifest, table: pa.Table) -> str:
    """Key of a row whose bytes do not lie in its shard, or that is no stretch of ticks; "": all can be."""
    ends = np.array([facts.num_bytes for facts in manifest.shards.values()])
    ids = pc.index_in(table["shard"], pa.array(list(manifest.shards))).to_numpy()
    wrong = _numbers(table, "first_tick") < 0
    wrong |= _numbers(table, "num_ticks") < 1
    for side in ("height", "width"):
        wrong |= (_numbers(table, side) < 1) | (_numbers(table, side) > MAX_SIDE)
    for member in ("video", "inputs", "metadata"):
        offset, size = _numbers(table, f"{member}_offset"), _numbers(table, f"{member}_size")
        wrong |= (offset < 0) | (size < 0) | (size > ends[ids]) | (offset > ends[ids] - size)
    return str(table["key"][int(np.flatnonzero(wrong)[0])]) if wrong.any() else ""


def _numbers(table: pa.Table, column: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.asarray(pc.fill_null(table[column], -1).to_numpy(), dtype=np.int64)
