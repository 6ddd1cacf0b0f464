"""`manifest.json`: what a corpus is, at a glance: counts, hours, licences, bindings, and the hash of every shard.

Derived from the index and the shards' own facts, so it can always be rebuilt (`gi index`; a view: the command that made
it); written last, so a corpus without one is unfinished. A view names the corpora it is made of.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from gi_data.index import ShardIndex
from gi_data.storage import Location, write_atomic
from gi_model.errors import CorpusError

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class ShardFacts:
    """One shard: size in bytes, hash, rows of the index that lie in it."""

    num_bytes: int
    sha256: str
    num_clips: int


@dataclass(frozen=True)
class Manifest:
    """Totals over a corpus; hours and key_ticks are over both splits; num_clips counts rows of the index."""

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
    bases: tuple[str, ...] = ()  # of a view: the corpora it points into, as their shards are named
    schema: int = SCHEMA_VERSION

    @property
    def is_view(self) -> bool:
        """Whether the shards belong to other corpora."""
        return bool(self.bases)

    @classmethod
    def of(cls, table: pa.Table, shards: Mapping[str, ShardFacts], *, bases: tuple[str, ...] = ()) -> Self:
        """Sum up the rows of an index; `shards` holds size and hash of each shard that they name, and maybe more."""
        games = sorted(table["game"].unique().to_pylist())
        num_rows = {count["values"]: count["counts"] for count in pc.value_counts(table["shard"]).to_pylist()}
        return cls(
            num_clips=len(table),
            num_recordings=len(table["recording_id"].unique()),
            num_ticks=pc.sum(table["num_ticks"]).as_py() or 0,
            hours=(pc.sum(table["seconds"]).as_py() or 0) / 3600,
            hours_by_game=_hours_by(table, "game"),
            hours_by_license=_hours_by(table, "license"),
            hours_by_split=_hours_by(table, "split"),
            key_ticks=held_ticks(table),
            bindings={game: _distinct_bindings(table, game) for game in games},
            shards={
                name: ShardFacts(shards[name].num_bytes, shards[name].sha256, num_rows[name])
                for name in sorted(num_rows)
            },
            bases=bases,
        )

    def write(self, directory: Path) -> None:
        """Write `manifest.json`: the corpus is finished."""
        write_atomic(directory / MANIFEST_NAME, json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def read(cls, directory: Location) -> Self:
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
            data["bases"] = tuple(data["bases"])
            return cls(**data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            do = f"Rebuild it: gi index {directory}"
            raise CorpusError(f"manifest {path} cannot be read", got=str(error)[:200], do=do) from error


def facts_of(shards: list[ShardIndex]) -> dict[str, ShardFacts]:
    """Facts of the shards, by name."""
    return {shard.shard: ShardFacts(shard.num_bytes, shard.sha256, len(shard.table)) for shard in shards}


def held_ticks(table: pa.Table) -> dict[str, int]:
    """Ticks each control is held over all rows of an index, most held first."""
    pairs = pa.list_(pa.struct([("key", pa.string()), ("value", pa.int64())]))
    flat = pc.list_flatten(table["held"].cast(pairs))
    if not len(flat):
        return {}
    columns = pa.table({"key": pc.struct_field(flat, "key"), "value": pc.struct_field(flat, "value")})
    sums = columns.group_by("key").aggregate([("value", "sum")])
    return dict(sorted(zip(sums["key"].to_pylist(), sums["value_sum"].to_pylist(), strict=True), key=_most_first))


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _hours_by(table: pa.Table, column: str) -> dict[str, float]:
    sums = table.group_by(column).aggregate([("seconds", "sum")]).sort_by(column)
    return {name: seconds / 3600 for name, seconds in zip(*sums.to_pydict().values(), strict=True)}


def _distinct_bindings(table: pa.Table, game: str) -> list[dict[str, Any]]:
    texts = table.filter(pc.equal(table["game"], game))["bindings"].unique().to_pylist()
    return [json.loads(text) for text in sorted(texts)]
