"""`plan`: compare recordings with the shards that exist: which clips are new, and on which side of the split each goes.

The split is by recording, a fixed share of each game's: neighbouring clips of one recording are near-duplicates and
must not face each other across it. A recording keeps its side when more are added. Clips go in the order of their
keys' hashes, so that each shard is a fair mixture and an interrupted build continues to the same shards. What was
revoked in the corpus stays out.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gi_data.index import IndexRow, read_shard_indexes
from gi_data.metadata import ClipMetadata
from gi_data.parts import PartPaths
from gi_data.recovery import scan
from gi_data.revocation import read_revoked
from gi_data.storage import digest
from gi_model.errors import ClipError, CorpusError

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Part:
    """A finished part of a recording, on its way into a shard."""

    paths: PartPaths
    metadata: ClipMetadata


@dataclass(frozen=True)
class Plan:
    """New parts of each split in order, clips already in shards; parts not finished, revoked, and damaged ones."""

    destination: Path
    new: dict[str, list[Part]]
    num_placed: int
    unfinished: tuple[str, ...]
    unreadable: tuple[ClipError, ...]
    revoked: tuple[str, ...] = ()

    @property
    def num_new(self) -> int:
        """Clips to write."""
        return sum(map(len, self.new.values()))


def plan(sources: Sequence[Path], destination: Path, *, val_fraction: float) -> Plan:
    """Plan a build into `destination`. Raises CorpusError where recordings and shards contradict each other."""
    placed = {row.key: row for shard in read_shard_indexes(destination) for row in shard.rows}
    found, unfinished, unreadable = _read_sources(sources)
    withdrawn = read_revoked(destination).keys()
    parts = [part for part in found if part.metadata.recording_id not in withdrawn]
    for part in parts:
        _check_unchanged(part, placed.get(part.paths.key))
    sides = _split(parts, placed, val_fraction)
    new: dict[str, list[Part]] = {split: [] for split in SPLITS}
    for part in sorted(parts, key=lambda part: digest(part.paths.key.encode())):
        if part.paths.key not in placed:
            new[sides[part.metadata.recording_id]].append(part)
    revoked = tuple(part.paths.key for part in found if part.metadata.recording_id in withdrawn)
    return Plan(destination, new, len(placed), tuple(unfinished), tuple(unreadable), revoked)


def _read_sources(sources: Sequence[Path]) -> tuple[list[Part], list[str], list[ClipError]]:
    """Parts of ended recordings, keys of the others, and errors of those whose metadata cannot be read."""
    parts: dict[str, Part] = {}
    unfinished: list[str] = []
    unreadable: list[ClipError] = []
    for directory in sources:
        found = scan(directory)
        unfinished += found.unfinished
        for key in found.finished:
            paths = PartPaths(directory, key)
            try:
                metadata = ClipMetadata.from_json(paths.metadata.read_bytes(), key)
            except ClipError as error:
                unreadable.append(error)
                continue
            if key in parts:
                do = "Give recordings ids of their own."
                raise CorpusError(f"clip {key} comes twice", got=[parts[key].paths.metadata, paths.metadata], do=do)
            if metadata.num_parts is None:
                unfinished.append(key)
            else:
                parts[key] = Part(paths, metadata)
    return list(parts.values()), unfinished, unreadable


def _check_unchanged(part: Part, row: IndexRow | None) -> None:
    if row is not None and row.video_sha256 != part.metadata.sha256.get("mp4"):
        do = "Give the new recording an id of its own, or make the corpus anew in another directory."
        raise CorpusError(f"clip {row.key} is not the one already in shard {row.shard}", do=do)


def _split(parts: Sequence[Part], placed: dict[str, IndexRow], val_fraction: float) -> dict[str, str]:
    """Side of every recording: placed ones keep theirs, then each game's val share is filled in order of hash."""
    sides = {row.recording_id: row.split for row in placed.values()}
    by_game: dict[str, set[str]] = defaultdict(set)
    for row in placed.values():
        by_game[row.game].add(row.recording_id)
    for part in parts:
        by_game[part.metadata.info.game].add(part.metadata.recording_id)
    for recordings in by_game.values():
        wanted = _num_val(len(recordings), val_fraction) - sum(sides.get(name) == "val" for name in recordings)
        undecided = sorted(recordings - sides.keys(), key=lambda name: digest(name.encode()))
        sides |= {name: "val" if rank < wanted else "train" for rank, name in enumerate(undecided)}
    return sides


def _num_val(num_recordings: int, fraction: float) -> int:
    """Val recordings of a game: the share asked for, but at least one of two, and never all."""
    if not fraction or num_recordings < 2:
        return 0
    return min(max(1, round(fraction * num_recordings)), num_recordings - 1)
