"""`verify`: every byte of a corpus against what was written: the hashes of shards and clips.

It reads the shards' indexes, not the merged index, so it works on a corpus that `Corpus` refuses to open, and it
names every damaged clip instead of stopping at the first. A view has its own index only; all its shards are read,
wherever they lie.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gi_data.catalog import Catalog
from gi_data.index import IndexRow, ShardIndex, check_digest, read_shard_indexes
from gi_data.manifest import Manifest
from gi_data.storage import Location, digest_file, read_range, resolve
from gi_data.tars import scan_tar
from gi_data.urls import Url
from gi_model.errors import ClipError, CorpusError


@dataclass(frozen=True)
class Verification:
    """problems: one message for each shard or clip that is not what was written, clips by key."""

    num_shards: int
    num_clips: int
    problems: dict[str, str]


def verify(directory: Location, advance: Callable[[], object] = lambda: None) -> Verification:
    """Read everything; `advance` is called after each shard. Raises CorpusError if there is no manifest."""
    manifest = Manifest.read(directory)
    shards = {shard.shard: shard for shard in _shards(directory, manifest)}
    problems: dict[str, str] = {}
    for name, facts in manifest.shards.items():
        if not resolve(directory, name).is_file():
            problems[name] = "the shard is missing"
        elif name not in shards:
            problems[name] = f"its index is missing; run gi index {directory}"
        elif digest_file(resolve(directory, name)) != facts.sha256:
            problems[name] = _broken_tar(resolve(directory, name)) or "its bytes are not those that were written"
            problems |= dict(_damaged_clips(directory, shards[name]))
        advance()
    return Verification(len(manifest.shards), manifest.num_clips, problems)


def _shards(directory: Location, manifest: Manifest) -> Iterable[ShardIndex]:
    if manifest.is_view or isinstance(directory, Url):
        return Catalog.open(directory).shards()
    return read_shard_indexes(directory, also_replaced=True)


def _broken_tar(path: Location) -> str:
    """Where the tar itself stops being readable: headers are in no clip's hash. Looked for on disk only."""
    if isinstance(path, Url):
        return ""
    try:
        deque(scan_tar(path), maxlen=0)
    except CorpusError as error:
        return str(error)
    return ""


def _damaged_clips(directory: Location, shard: ShardIndex) -> Iterator[tuple[str, str]]:
    for row in shard.rows:
        try:
            _check_clip(resolve(directory, shard.shard), row)
        except ClipError as error:
            yield row.key, str(error)


def _check_clip(path: Location, row: IndexRow) -> None:
    members = {
        "video": (row.video_offset, row.video_size, row.video_sha256),
        "labels": (row.inputs_offset, row.inputs_size, row.inputs_sha256),
        "metadata": (row.metadata_offset, row.metadata_size, row.metadata_sha256),
    }
    for name, (offset, size, sha256) in members.items():
        check_digest(read_range(path, offset, size), sha256, f"{name} of clip {row.key}")
