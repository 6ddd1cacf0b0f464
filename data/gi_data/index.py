"""The index: one row a clip (or a stretch of one), columnar, queryable in place (DuckDB, pyarrow): what is where.

Each shard has its own `SHARD.index.parquet`, written right after the shard: together they mark it finished.
`index.parquet` is their concatenation, so building it never reads a tar twice. Statistics add up: held controls and
motion are counts, from which any grouping can be summed. A million rows are ordinary: whatever looks at all of them
works on the Arrow table; `IndexRow` is for one at a time.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gi_data.inputs_table import Labels
from gi_data.metadata import ClipMetadata
from gi_data.storage import Location, digest, digest_file, read_range, write_atomic
from gi_data.tars import INPUTS, METADATA, VIDEO, Extent, scan_tar
from gi_model.actions import NEUTRAL
from gi_model.errors import ClipError, CorpusError

SHARD_INDEX_SUFFIX = ".index.parquet"
INDEX_NAME = "index.parquet"
# Buckets of |motion| in counts: bucket i holds [MOTION_EDGES[i], MOTION_EDGES[i + 1]).
MOTION_EDGES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2**31 - 1)
# A third of the memory and of the time when a million rows are opened for reading.
_STATISTICS = ("held", "motion_counts")
_REPEATED = ("shard", "split", "game", "source", "license", "consent", "demonstrator", "recording_id", "bindings")
_EDITION = re.compile(r"(.+)-r([1-9]\d{0,8})\.tar")

_TYPES: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64()}


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One clip: where it lies, where it comes from, what happens in it."""

    key: str  # of the stored clip: in a view, several rows may be stretches of one
    shard: str  # where it lies: a path relative to the corpus's folder, or (in views) an absolute one, or a URL
    split: str  # "train" | "val"
    game: str
    source: str
    license: str
    consent: str
    demonstrator: str
    recording_id: str
    part: int
    first_tick: int  # of the stored clip: a row is a stretch of it, the whole unless somebody curated
    num_ticks: int
    seconds: float
    fps: float
    height: int
    width: int
    score: float | None  # of the whole recording
    quality: float | None  # in [0, 1]; None until somebody curated
    duplicate_group: int  # rows of one group look alike; -1: nobody looked, or like no other
    bindings: str  # JSON
    video_offset: int
    video_size: int
    video_sha256: str
    inputs_offset: int
    inputs_size: int
    inputs_sha256: str
    metadata_offset: int
    metadata_size: int
    metadata_sha256: str
    known_ratio: float
    null_ratio: float
    presses: int  # controls that went down, the first tick's included
    mean_motion: float  # |dx| + |dy| a tick, in counts
    held: dict[str, int]  # ticks each control is held
    motion_counts: list[int]  # ticks in each bucket of MOTION_EDGES

    @classmethod
    def schema(cls) -> pa.Schema:
        """Arrow types of the columns."""
        special = {
            "score": pa.float64(),
            "quality": pa.float64(),
            "held": pa.map_(pa.string(), pa.int64()),
            "motion_counts": pa.list_(pa.int64()),
        }
        return pa.schema([(field.name, special.get(field.name) or _TYPES[field.type]) for field in fields(cls)])  # type: ignore[index]

    @classmethod
    def from_table(cls, row: dict[str, Any]) -> Self:
        """A row as pyarrow gives it; of a lean table, with empty statistics."""
        return cls(**(row | {"held": dict(row.get("held", ())), "motion_counts": row.get("motion_counts", [])}))


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The rows of one shard as a table, and the shard's own size in bytes and hash."""

    shard: str
    num_bytes: int
    sha256: str
    table: pa.Table

    @property
    def rows(self) -> tuple[IndexRow, ...]:
        """The rows as objects."""
        return tuple(IndexRow.from_table(row) for row in self.table.to_pylist())


def index_shard(path: Path, split: str) -> ShardIndex:
    """Read a whole shard and describe its clips. Raises ClipError naming the clip that is damaged or cut."""
    table = to_table([_read_row(path, split, key, extents) for key, extents in scan_tar(path)])
    return ShardIndex(path.name, path.stat().st_size, digest_file(path), table)


def write_shard_index(directory: Path, index: ShardIndex) -> None:
    """Write `SHARD.index.parquet`: the shard is finished."""
    facts = {"shard": index.shard, "num_bytes": str(index.num_bytes), "sha256": index.sha256}
    content = _to_parquet(index.table.replace_schema_metadata(facts))
    write_atomic(directory / (Path(index.shard).stem + SHARD_INDEX_SUFFIX), content)


def read_shard_indexes(directory: Path, *, also_replaced: bool = False) -> list[ShardIndex]:
    """Indexes of the finished shards, by name; those that a compaction replaced only if asked. Raises CorpusError."""
    paths = sorted(directory.glob(f"*{SHARD_INDEX_SUFFIX}"))
    finished = [path for path in paths if path.with_name(_shard_name(path)).exists()]
    replaced = set() if also_replaced else {replaced_by(_shard_name(path)) for path in finished}
    return [_read_shard_index(path) for path in finished if _shard_name(path) not in replaced]


def replaced_by(shard: str) -> str:
    """The shard whose clips `shard` took over when a revoked recording was cut out; "" if it is a first edition."""
    if not (found := _EDITION.fullmatch(shard)):
        return ""
    stem, edition = found[1], int(found[2])
    return f"{stem}.tar" if edition == 1 else f"{stem}-r{edition - 1}.tar"


def next_edition(shard: str) -> str:
    """Inverse of `replaced_by`: what the shard is called once something was cut out of it."""
    found = _EDITION.fullmatch(shard)
    return f"{found[1]}-r{int(found[2]) + 1}.tar" if found else f"{shard.removesuffix('.tar')}-r1.tar"


def to_table(rows: Sequence[IndexRow]) -> pa.Table:
    """Rows as a table of `IndexRow.schema()`."""
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(IndexRow)}
    columns["held"] = [list(held.items()) for held in columns["held"]]
    return pa.table(columns, schema=IndexRow.schema())


def write_index(directory: Path, table: pa.Table) -> None:
    """Write `index.parquet`."""
    write_atomic(directory / INDEX_NAME, _to_parquet(table.replace_schema_metadata({})))


def read_index(path: Location, *, lean: bool = False) -> pa.Table:
    """Read `index.parquet`; if `lean`, without `held` and `motion_counts`, and what repeats itself as dictionaries.

    Raises CorpusError if it is not one.
    """
    try:
        source = pa.BufferReader(path.read_bytes())
        if not lean:
            return pq.read_table(source, schema=IndexRow.schema())
        schema = _lean_schema()
        table = pq.read_table(source, columns=schema.names, read_dictionary=list(_REPEATED))
        return table.select(schema.names).cast(schema)
    except (pa.ArrowException, OSError, KeyError) as error:
        do = f"Rebuild it: gi index {path.parent}"
        raise CorpusError(f"index {path} cannot be read", got=str(error)[:200], do=do) from error


def _lean_schema() -> pa.Schema:
    repeated = pa.dictionary(pa.int32(), pa.string())
    kept = [field for field in IndexRow.schema() if field.name not in _STATISTICS]
    return pa.schema([field.with_type(repeated) if field.name in _REPEATED else field for field in kept])


def _read_row(path: Path, split: str, key: str, extents: dict[str, Extent]) -> IndexRow:
    members = {kind: read_range(path, extent.offset, extent.size) for kind, extent in extents.items()}
    metadata = ClipMetadata.from_json(members[METADATA], key)
    for kind in (VIDEO, INPUTS):
        check_digest(members[kind], metadata.sha256.get(kind, ""), f"{kind} of clip {key} in {path.name}")
    return describe(metadata, Labels.from_parquet(members[INPUTS], key), extents, shard=path.name, split=split)


def check_digest(content: bytes, expected: str, what: str) -> None:
    """Raise ClipError if `content` is not what was written."""
    if (got := digest(content)) != expected:
        do = "Its bytes changed since they were written: delete the shard and run gi shard again."
        raise ClipError(f"{what} is damaged", got=f"sha256 {got[:12]}", expected=expected[:12], do=do)


def describe(metadata: ClipMetadata, labels: Labels, extents: dict[str, Extent], *, shard: str, split: str) -> IndexRow:
    """The index row of a clip. Raises ClipError if labels and metadata count different ticks."""
    if len(labels) != metadata.num_ticks:
        do = "Record the clip again, or leave it out with --skip-damaged."
        what = f"clip {metadata.key} has {metadata.num_ticks} frames but {len(labels)} labels"
        raise ClipError(what, expected="one input state a frame", do=do)
    info, states = metadata.info, labels.inputs
    moved = np.array([abs(state.motion[0]) + abs(state.motion[1]) for state in states], dtype=np.int64)
    held = Counter(control for state in states for control in state.held)
    before = (NEUTRAL, *states[:-1])
    return IndexRow(
        key=metadata.key,
        shard=shard,
        split=split,
        game=info.game,
        source=info.source,
        license=info.license,
        consent=info.consent,
        demonstrator=info.demonstrator,
        recording_id=metadata.recording_id,
        part=metadata.part,
        first_tick=0,
        num_ticks=metadata.num_ticks,
        seconds=metadata.num_ticks / info.fps,
        fps=info.fps,
        height=info.height,
        width=info.width,
        score=metadata.score,
        quality=None,
        duplicate_group=-1,
        bindings=json.dumps(info.bindings.to_dict(), sort_keys=True),
        video_offset=extents[VIDEO].offset,
        video_size=extents[VIDEO].size,
        video_sha256=metadata.sha256[VIDEO],
        inputs_offset=extents[INPUTS].offset,
        inputs_size=extents[INPUTS].size,
        inputs_sha256=metadata.sha256[INPUTS],
        metadata_offset=extents[METADATA].offset,
        metadata_size=extents[METADATA].size,
        metadata_sha256=digest(metadata.to_json()),
        known_ratio=float(labels.known.mean()),
        null_ratio=sum(state.is_null for state in states) / len(states),
        presses=sum(len(state.presses(last)) for last, state in zip(before, states, strict=True)),
        mean_motion=float(moved.mean()),
        held=dict(sorted(held.items())),
        motion_counts=np.histogram(moved, bins=MOTION_EDGES)[0].tolist(),
    )


def _to_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _read_shard_index(path: Path) -> ShardIndex:
    try:
        table = pq.read_table(path)
        facts = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
        table = table.select(IndexRow.schema().names).cast(IndexRow.schema())
        return ShardIndex(facts["shard"], int(facts["num_bytes"]), facts["sha256"], table)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        do = f"Delete {path.name} and {_shard_name(path)}, then run gi shard again."
        raise CorpusError(f"index {path} cannot be read", got=str(error)[:200], do=do) from error


def _shard_name(path: Path) -> str:
    return path.name.removesuffix(SHARD_INDEX_SUFFIX) + ".tar"
