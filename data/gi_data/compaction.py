"""`revoke` and `compact`: a withdrawn recording disappears at once, its bytes when the shards are rewritten.

A shard is rewritten under a new name (`train-000003.tar` -> `train-000003-r1.tar`), so that nobody who still has the
old index open reads at offsets that moved; views over it say that they must be made again. Every step can be repeated:
new shards first, then index and manifest, then the old shards go.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gi_data.catalog import Catalog, without
from gi_data.index import (
    SHARD_INDEX_SUFFIX,
    ShardIndex,
    index_shard,
    next_edition,
    read_shard_indexes,
    replaced_by,
    write_shard_index,
)
from gi_data.manifest import Manifest
from gi_data.revocation import add_tombstones, read_revoked
from gi_data.shards import refresh, refuse_view
from gi_data.storage import UNFINISHED_SUFFIX, read_range
from gi_data.tars import INPUTS, METADATA, VIDEO, TarWriter
from gi_model.errors import CorpusError


@dataclass(frozen=True)
class Revocation:
    """revoked: ids that were not revoked before; num_clips, hours: what they took with them."""

    revoked: tuple[str, ...]
    num_clips: int
    hours: float


@dataclass(frozen=True)
class Compaction:
    """Shards that were rewritten or removed, and the bytes that are gone."""

    shards: tuple[str, ...]
    num_bytes: int


def revoke(directory: Path, recording_ids: Sequence[str], *, reason: str = "", ahead: bool = False) -> Revocation:
    """Withdraw recordings from a corpus or a view: nobody who opens it from now on sees them.

    ahead: also ids that are not there (yet). Otherwise raises CorpusError on them: a misspelt request must not pass.
    """
    before = Catalog.open(directory).manifest
    if not ahead:
        _check_known(directory, recording_ids)
    new = add_tombstones(directory, recording_ids, reason=reason)
    after = _forget(directory)
    return Revocation(tuple(new), before.num_clips - after.num_clips, before.hours - after.hours)


def compact(directory: Path, advance: Callable[[], object] = lambda: None) -> Compaction:
    """Rewrite the shards that hold revoked recordings without them; `advance` is called after each shard.

    Killed at any moment, the same command goes on. Raises CorpusError on a view: its bytes are elsewhere.
    """
    refuse_view(directory, "gi compact rewrites the tars of a corpus")
    for leftover in directory.glob(f"*{UNFINISHED_SUFFIX}"):
        leftover.unlink()
    revoked = frozenset(read_revoked(directory))
    replaced: list[str] = []
    for shard in read_shard_indexes(directory):
        if len(without(shard.table, revoked)) < len(shard.table):
            _rewrite(directory, shard, revoked)
            replaced.append(shard.shard)
        advance()
    refresh(directory, may_be_empty=True)
    return _remove(directory, replaced)


def _check_known(directory: Path, recording_ids: Sequence[str]) -> None:
    known = set(Catalog.open(directory).table["recording_id"].unique().to_pylist()) | read_revoked(directory).keys()
    for name in recording_ids:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {close[0]}? " if close else ""
            do = f"{hint}For a recording that may still come: --ahead. Nothing was revoked."
            raise CorpusError(f"no recording {name} in {directory}", do=do)


def _forget(directory: Path) -> Manifest:
    """Write index and manifest without what is revoked."""
    catalog = Catalog.open(directory)
    catalog.write(directory)
    return Manifest.read(directory)


def _rewrite(directory: Path, shard: ShardIndex, revoked: frozenset[str]) -> None:
    """Copy what stays into the shard's next edition, byte for byte; nothing is written if nothing stays."""
    if not len(kept := without(shard.table, revoked)):
        return
    path = directory / next_edition(shard.shard)
    with TarWriter(path) as tar:
        for row in ShardIndex(shard.shard, 0, "", kept).rows:
            places = {
                VIDEO: (row.video_offset, row.video_size),
                INPUTS: (row.inputs_offset, row.inputs_size),
                METADATA: (row.metadata_offset, row.metadata_size),
            }
            tar.add(row.key, {kind: read_range(directory / shard.shard, *place) for kind, place in places.items()})
    write_shard_index(directory, index_shard(path, str(kept["split"][0])))


def _remove(directory: Path, replaced: Sequence[str]) -> Compaction:
    """Delete shards that a later edition replaces (also for an interrupted run), or of which nothing stays."""
    old = set(replaced) | {replaced_by(path.name) for path in directory.glob("*.tar")} - {""}
    removed, num_bytes = [], 0
    for name in sorted(old):
        path, successor = directory / name, directory / next_edition(name)
        if path.is_file():
            num_bytes += path.stat().st_size - (successor.stat().st_size if successor.is_file() else 0)
            removed.append(name)
            path.unlink()
        path.with_name(path.stem + SHARD_INDEX_SUFFIX).unlink(missing_ok=True)
    return Compaction(tuple(removed), num_bytes)
