"""`manifest.json`: what a corpus is, at a glance: counts, hours, licences, bindings, and the hash of every shard.

Derived from the shards' indexes and from nothing else, so it can always be rebuilt (`gi index`); written last, so a
corpus without one is unfinished.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from gi_data.index import ShardIndex
from gi_data.storage import write_atomic
from gi_model.errors import CorpusError

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class ShardFacts:
    """One shard: size in bytes, hash, clips."""

    num_bytes: int
    sha256: str
    num_clips: int


@dataclass(frozen=True)
class Manifest:
    """Totals over a corpus; hours and key_ticks are over both splits."""

    num_clips: int
    num_recordings: int
    num_ticks: int
    hours: float
    hours_by_game: dict[str, float]
    hours_by_license: dict[str, float]
    hours_by_split: dict[str, float]
    key_ticks: dict[str, int]  # ticks each control is held
    bindings: dict[str, list[dict[str, Any]]]  # distinct ones of each game
    shards: dict[str, ShardFacts]
    schema: int = SCHEMA_VERSION

    @classmethod
    def of(cls, shards: Sequence[ShardIndex]) -> Self:
        """Sum up the shards of a corpus."""
        rows = [row for shard in shards for row in shard.rows]
        hours: dict[str, Counter[str]] = defaultdict(Counter)
        key_ticks: Counter[str] = Counter()
        bindings: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            for column in ("game", "license", "split"):
                hours[column][getattr(row, column)] += row.seconds / 3600  # type: ignore[assignment]
            key_ticks.update(row.held)
            bindings[row.game].add(row.bindings)
        return cls(
            num_clips=len(rows),
            num_recordings=len({row.recording_id for row in rows}),
            num_ticks=sum(row.num_ticks for row in rows),
            hours=sum(row.seconds for row in rows) / 3600,
            hours_by_game=dict(sorted(hours["game"].items())),
            hours_by_license=dict(sorted(hours["license"].items())),
            hours_by_split=dict(sorted(hours["split"].items())),
            key_ticks=dict(key_ticks.most_common()),
            bindings={game: [json.loads(text) for text in sorted(texts)] for game, texts in sorted(bindings.items())},
            shards={shard.shard: ShardFacts(shard.num_bytes, shard.sha256, len(shard.rows)) for shard in shards},
        )

    def write(self, directory: Path) -> None:
        """Write `manifest.json`: the corpus is finished."""
        write_atomic(directory / MANIFEST_NAME, json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Inverse of `write`. Raises CorpusError if there is none, or one of another schema version."""
        path = directory / MANIFEST_NAME
        if not path.is_file():
            do = "Make one: gi shard RECORDINGS CORPUS. An interrupted one is finished by the same command."
            raise CorpusError("no corpus here", got=directory, expected=f"a directory with {MANIFEST_NAME}", do=do)
        try:
            data = json.loads(path.read_bytes())
            if data.get("schema") != SCHEMA_VERSION:
                raise ValueError(f"schema version {data.get('schema')}, not {SCHEMA_VERSION}")
            data["shards"] = {name: ShardFacts(**facts) for name, facts in data["shards"].items()}
            return cls(**data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            do = f"Rebuild it: gi index {directory}"
            raise CorpusError(f"manifest {path} cannot be read", got=str(error)[:200], do=do) from error
