"""`build`: recordings -> shards, index, and manifest. Videos are copied byte for byte; labels become tables.

Finished shards are never rewritten: the same command resumes after an interruption, and with more recordings it
appends. Index and manifest come last and replace the old ones, so a corpus can be read all the while.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import pyarrow as pa

from gi_data.catalog import Catalog
from gi_data.index import IndexRow, check_digest, index_shard, read_shard_indexes, write_shard_index
from gi_data.inputs_table import Labels
from gi_data.manifest import MANIFEST_NAME, Manifest, facts_of
from gi_data.planning import Part, Plan
from gi_data.storage import UNFINISHED_SUFFIX, digest
from gi_data.tars import INPUTS, METADATA, VIDEO, TarWriter
from gi_data.video import count_frames
from gi_model.errors import ClipError, ConfigError, CorpusError

Members = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class ShardConfig:
    """shard_mb: size at which a shard is closed. skip_damaged: leave out damaged clips, but not more than so many."""

    shard_mb: float = 256.0
    skip_damaged: int = 0

    def __post_init__(self) -> None:
        if not self.shard_mb > 0:
            raise ConfigError("shards need a size", got=self.shard_mb, expected="above 0 MB")
        if self.skip_damaged < 0:
            raise ConfigError("skip-damaged is a number of clips", got=self.skip_damaged, expected="0 or more")


@dataclass(frozen=True)
class BuildReport:
    """What `build` did; damaged: one message for each clip that was left out."""

    manifest: Manifest
    num_new: int
    damaged: tuple[str, ...]


def build(plan: Plan, config: ShardConfig, advance: Callable[[], object] = lambda: None) -> BuildReport:
    """Write the shards of `plan`, then index and manifest; `advance` is called after each clip.

    Raises ClipError on a damaged clip, CorpusError on more of them than may be skipped or on a disk that refuses.
    """
    directory = plan.destination
    refuse_view(directory, "gi shard adds tars to a corpus")
    directory.mkdir(parents=True, exist_ok=True)
    for leftover in directory.glob(f"*{UNFINISHED_SUFFIX}"):
        leftover.unlink()
    damaged = Damaged(config.skip_damaged)
    for error in plan.unreadable:
        damaged.add(error)
    num_written = 0
    for split, parts in plan.new.items():
        num_written += _write_split(directory, split, _load_all(parts, damaged, advance), config)
    return BuildReport(refresh(directory), num_written, tuple(damaged.messages))


def refresh(directory: Path, *, may_be_empty: bool = False) -> Manifest:
    """Write index and manifest from the shards' own indexes. Raises CorpusError if there is no clip."""
    shards = read_shard_indexes(directory)
    if not may_be_empty and not any(len(shard.table) for shard in shards):
        do = "Record something first: gi record --help"
        raise CorpusError("a corpus needs at least one clip", got=f"none for {directory}", do=do)
    table = pa.concat_tables([IndexRow.schema().empty_table(), *(shard.table for shard in shards)])
    Catalog(Manifest.of(table, facts_of(shards)), table).write(directory)
    return Manifest.read(directory)


def reindex(directory: Path, advance: Callable[[], object] = lambda: None) -> Manifest:
    """Rebuild everything but the tars, from the tars. Raises ClipError naming a clip that is damaged or cut."""
    refuse_view(directory, "gi index rebuilds from the tars of a corpus")
    for path in sorted(directory.glob("*.tar")):
        write_shard_index(directory, index_shard(path, _split_of(path)))
        advance()
    return refresh(directory)


def refuse_view(directory: Path, what: str) -> None:
    """Raise CorpusError if `directory` is a view: it has no shards of its own."""
    if (directory / MANIFEST_NAME).is_file() and not any(directory.glob("*.tar")):
        bases = Manifest.read(directory).bases
        if bases:
            got = f"{directory}, a view over {', '.join(bases)}"
            do = "Do this to the corpora it is made of, then run again the command that made the view."
            raise CorpusError(f"{what}, and a view has none", got=got, do=do)


class Damaged:
    """Counts damaged clips up to a ceiling: skipping must not turn into losing a corpus silently."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self.messages: list[str] = []

    def add(self, error: ClipError) -> None:
        """Count one. Raises the error itself where none may be skipped, CorpusError where it is one too many."""
        if not self._ceiling:
            raise error
        self.messages.append(str(error))
        if len(self.messages) > self._ceiling:
            do = "Look at the clips first; raise the ceiling only if losing them is right."
            got = f"{len(self.messages)}; the last: {error}"
            raise CorpusError("too many damaged clips", got=got, expected=f"at most {self._ceiling}", do=do)


def _load_all(parts: Sequence[Part], damaged: Damaged, advance: Callable[[], object]) -> Iterator[tuple[str, Members]]:
    for part in parts:
        try:
            yield part.paths.key, _load(part)
        except ClipError as error:
            damaged.add(error)
        advance()


def _load(part: Part) -> Members:
    """The members of a clip, checked. Raises ClipError."""
    key, metadata = part.paths.key, part.metadata
    try:
        video, lines = part.paths.video.read_bytes(), part.paths.labels.read_bytes()
    except OSError as error:
        do = "Record it again, or leave it out with --skip-damaged."
        raise ClipError(f"clip {key} lacks a file", got=str(error), do=do) from error
    labels = Labels.from_lines(lines, key)
    counts = {"frames": count_frames(video, key), "labels": len(labels), "ticks": metadata.num_ticks}
    if len(set(counts.values())) > 1 or not len(labels):
        do = "Record it again, or leave it out with --skip-damaged."
        raise ClipError(f"clip {key} has parts of different lengths", got=counts, expected="one length", do=do)
    check_digest(video, metadata.sha256.get("mp4", ""), f"video of clip {key}")
    check_digest(lines, metadata.sha256.get("inputs", ""), f"labels of clip {key}")
    table = labels.to_parquet()
    hashes = {VIDEO: metadata.sha256["mp4"], INPUTS: digest(table)}
    return {VIDEO: video, INPUTS: table, METADATA: dataclasses.replace(metadata, sha256=hashes).to_json()}


def _write_split(directory: Path, split: str, clips: Iterator[tuple[str, Members]], config: ShardConfig) -> int:
    """Write shards of one split after those that exist; return how many clips."""
    taken = {shard.shard.partition("-r")[0].removesuffix(".tar") for shard in read_shard_indexes(directory)}
    names = (f"{name}.tar" for name in (f"{split}-{number:06d}" for number in count()) if name not in taken)
    num_written = 0
    for first in clips:
        path = directory / next(names)
        with TarWriter(path) as tar:
            for key, members in chain([first], clips):
                tar.add(key, members)
                num_written += 1
                if tar.num_bytes >= config.shard_mb * 1e6:
                    break
        write_shard_index(directory, index_shard(path, split))
    return num_written


def _split_of(path: Path) -> str:
    return path.name.partition("-")[0]
