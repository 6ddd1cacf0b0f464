"""Signals on disk: `signals/*.parquet` in the view that is made, a file for every few clips, by their hashes.

Each file appears whole, as soon as it is measured, so that a killed run loses a few clips' work, and a run with another
configuration decodes nothing. It is a cache: a file that cannot be read is measured again; clips that left the corpus
(above all revoked ones) leave the cache.
"""

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gi_data.curation.signals import SCHEMA, VERSION, StoredClip, clip_signals
from gi_data.engines import EngineName, map_on
from gi_data.storage import digest, write_atomic
from gi_model.errors import ClipError

CLIPS_PER_FILE = 32

Chunk = tuple[StoredClip, ...]


@dataclass(frozen=True)
class Measured:
    """Rows of signals of a chunk, and its clips that are damaged: key and why."""

    chunk: Chunk
    table: pa.Table
    damaged: tuple[tuple[str, str], ...]


Engine = Callable[[Sequence[Chunk]], Iterator[Measured]]


def measure(chunk: Chunk) -> Measured:
    """Measure a few clips. Pure: what a process, or a machine of a cluster, is given."""
    rows, damaged = [], []
    for clip in chunk:
        try:
            rows.append(clip_signals(clip))
        except ClipError as error:
            damaged.append((clip.key, str(error)))
    return Measured(chunk, pa.Table.from_pylist(rows, schema=SCHEMA), tuple(damaged))


def engine(name: EngineName = "local", *, workers: int = 1) -> Engine:
    """Measure in processes here, in this one if there is but one of either; or on a cluster (`gi_data.engines`)."""

    def run(chunks: Sequence[Chunk]) -> Iterator[Measured]:
        processes = workers if name == "ray" or min(workers, len(chunks)) > 1 else 0
        return map_on(name, measure, chunks, workers=processes, on_death=_lost)

    return run


def _lost(chunk: Chunk, why: str) -> Measured:
    """A chunk whose process died: which clip it died of is not known."""
    return Measured(chunk, SCHEMA.empty_table(), tuple((clip.key, why) for clip in chunk))


class SignalCache:
    """The signals of one view, pictures hashed once in `hash_ticks`."""

    def __init__(self, directory: Path, *, hash_ticks: int) -> None:
        self._directory, self._version = directory, f"{VERSION}.{hash_ticks}"

    def fill(self, clips: Iterable[StoredClip], engine: Engine, advance: Callable[[int], object]) -> dict[str, str]:
        """Measure clips that are missing; `advance` gets how many are done. Returns damaged ones: key and why."""
        wanted = {_name(clip): clip for clip in clips}
        self._directory.mkdir(parents=True, exist_ok=True)
        done = self._prune(wanted.keys())
        advance(len(done))
        missing = [clip for name, clip in wanted.items() if name not in done]
        damaged: dict[str, str] = {}
        for measured in engine(_chunks(missing)):
            if len(measured.table):
                self._write(self._directory / _file_name(measured.chunk), measured.table)
            damaged |= dict(measured.damaged)
            advance(len(measured.chunk))
        return damaged

    def load(self) -> pa.Table:
        """All signals, a row a clip."""
        tables = [table for path in self._paths() if (table := self._read(path)) is not None]
        return pa.concat_tables([SCHEMA.empty_table(), *tables])

    def _prune(self, wanted: Iterable[str]) -> set[str]:
        """Names of the wanted clips that are there; whatever else is there goes."""
        names = pa.array(sorted(wanted), pa.string())
        done: set[str] = set()
        for path in self._paths():
            table = self._read(path)
            kept = table.filter(pc.is_in(identities(table), names)) if table is not None else SCHEMA.empty_table()
            if table is None or not len(kept):
                path.unlink()
            elif len(kept) < len(table):
                self._write(path, kept)
            done |= set(identities(kept).to_pylist())
        return done

    def _paths(self) -> list[Path]:
        return sorted(self._directory.glob("*.parquet"))

    def _write(self, path: Path, table: pa.Table) -> None:
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({"version": self._version}), sink, compression="zstd")
        write_atomic(path, sink.getvalue())

    def _read(self, path: Path) -> pa.Table | None:
        """A file of the cache; None if it is damaged, or of another version."""
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError):
            return None
        if (table.schema.metadata or {}).get(b"version") != self._version.encode():
            return None
        return table.replace_schema_metadata(None)


def _chunks(clips: Sequence[StoredClip]) -> list[Chunk]:
    by_shard = itertools.groupby(sorted(clips, key=lambda clip: (clip.shard, clip.video)), key=lambda clip: clip.shard)
    shards = [tuple(members) for _, members in by_shard]
    return [
        members[first : first + CLIPS_PER_FILE]
        for members in shards
        for first in range(0, len(members), CLIPS_PER_FILE)
    ]


def identities(table: pa.Table) -> pa.ChunkedArray:
    """What tells stored clips apart: the hashes of video and labels."""
    return pc.binary_join_element_wise(table["video_sha256"], table["inputs_sha256"], "")


def _name(clip: StoredClip) -> str:
    return clip.video[2] + clip.inputs[2]


def _file_name(chunk: Chunk) -> str:
    return digest("".join(map(_name, chunk)).encode())[:24] + ".parquet"
