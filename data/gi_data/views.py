"""Views: corpora without shards of their own, whose rows point into the shards of others: merged, subset, or curated.

Nothing is copied, so a view costs an index. Running again the command that made a view refreshes it. Rejected: copying
clips (a curated corpus would cost as many bytes as its source, and every change of a threshold again).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gi_data.catalog import Catalog
from gi_data.index import IndexRow
from gi_data.manifest import Manifest, ShardFacts
from gi_data.storage import Location, resolve
from gi_model.errors import CorpusError


@dataclass(frozen=True)
class ViewReport:
    """doubled: rows left out because an earlier corpus holds their clip. moved: recordings that had to go to train."""

    manifest: Manifest
    num_doubled: int
    moved: tuple[str, ...]


def merge(sources: Sequence[Location], destination: Path) -> ViewReport:
    """Make `destination` a view of several corpora, in their order.

    Raises CorpusError if two corpora use one key for different clips.
    """
    catalogs = [seen_from(destination, source) for source in sources]
    tables: list[pa.Table] = []
    for source, catalog in zip(sources, catalogs, strict=True):
        tables.append(_unseen(catalog.table, tables, source))
    table, moved = together(pa.concat_tables(tables))
    num_doubled = sum(len(catalog.table) for catalog in catalogs) - len(table)
    return ViewReport(write_view(destination, table, catalogs), num_doubled, moved)


def subset(source: Location, destination: Path, *, where: str) -> Manifest:
    """Make `destination` a view of the rows of a corpus for which an SQL condition over the index holds."""
    from gi_data.query import matching_rows

    catalog = seen_from(destination, source)
    rows = matching_rows(Catalog.open(source).table, where)
    if not len(rows):
        do = "Look at what there is: gi query 'select distinct game from clips' --corpus CORPUS"
        raise CorpusError("no clip matches", got=where, do=do)
    chosen = np.zeros(len(catalog.table), dtype=bool)
    chosen[rows] = True
    return write_view(destination, catalog.table.filter(pa.array(chosen)), [catalog])


def seen_from(destination: Path, source: Location) -> Catalog:
    """The catalogue of `source`, its shards and bases named as a view in `destination` must name them."""
    _check_apart(destination, source)
    catalog = Catalog.open(source)
    names = {name: _rename(name, source, destination) for name in catalog.manifest.shards}
    renamed = catalog.table["shard"].combine_chunks().dictionary_encode()
    values = pa.array([names[name] for name in renamed.dictionary.to_pylist()], pa.string())
    shards = pa.DictionaryArray.from_arrays(renamed.indices, values).cast(pa.string())
    table = catalog.table.set_column(catalog.table.schema.get_field_index("shard"), "shard", shards)
    bases = (".", *catalog.manifest.bases)
    facts = {names[name]: facts for name, facts in catalog.manifest.shards.items()}
    return Catalog(Manifest.of(table, facts, bases=tuple(_rename(base, source, destination) for base in bases)), table)


def write_view(destination: Path, table: pa.Table, catalogs: Sequence[Catalog]) -> Manifest:
    """Write a view of rows that come from `catalogs`."""
    destination.mkdir(parents=True, exist_ok=True)
    facts: dict[str, ShardFacts] = {}
    for catalog in catalogs:
        facts |= catalog.manifest.shards
    bases = tuple(dict.fromkeys(base for catalog in catalogs for base in catalog.manifest.bases))
    Catalog(Manifest.of(table, facts, bases=bases), table).write(destination)
    return Manifest.read(destination)


def together(table: pa.Table, groups: Sequence[Sequence[str]] = ()) -> tuple[pa.Table, tuple[str, ...]]:
    """Put each recording, and recordings of one group, on one side: train, where they disagree, so val stays clean.

    Returns the table and the recordings of which a row had to move.
    """
    recordings = table["recording_id"].combine_chunks().dictionary_encode()
    names, ids = recordings.dictionary.to_pylist(), recordings.indices.to_numpy()
    in_train = np.asarray(pc.not_equal(table["split"], "val").to_numpy(), dtype=bool)
    goes = np.zeros(len(names), dtype=bool)
    np.logical_or.at(goes, ids, in_train)
    places = {name: place for place, name in enumerate(names)}
    for group in groups:
        members = [places[name] for name in group if name in places]
        goes[members] = goes[members].any() if members else False
    moved = np.unique(ids[goes[ids] & ~in_train])
    if not len(moved):
        return table, ()
    splits = pc.if_else(pa.array(goes[ids]), "train", table["split"].combine_chunks())
    column = IndexRow.schema().get_field_index("split")
    return table.set_column(column, "split", splits), tuple(sorted(names[place] for place in moved))


def _unseen(table: pa.Table, earlier: Sequence[pa.Table], source: Location) -> pa.Table:
    """Rows whose clip is in no earlier table."""
    for other in earlier:
        taken = pc.is_in(table["key"], other["key"].combine_chunks())
        same = pc.is_in(_identities(table), _identities(other))
        if pc.any(clashes := pc.and_(taken, pc.invert(same))).as_py():
            key = table["key"].filter(clashes)[0]
            do = "Recordings need ids of their own: ingest or record one of them under another id."
            raise CorpusError(f"clip {key} of {source} is another one in an earlier corpus", do=do)
        table = table.filter(pc.invert(taken))
    return table


def _identities(table: pa.Table) -> pa.Array:
    """A stored clip's key with the hashes of its video and labels."""
    columns = (table[name] for name in ("key", "video_sha256", "inputs_sha256"))
    return pc.binary_join_element_wise(*columns, " ").combine_chunks()


def _rename(name: str, source: Location, destination: Path) -> str:
    """What `source` calls `name`, as `destination` must call it: relative where they share more than the root."""
    place = str(resolve(source, name))
    if "://" in place:
        return place
    place, folder = os.path.realpath(place), os.path.realpath(destination)
    if os.path.commonpath([place, folder]) == os.sep:
        return place
    return os.path.relpath(place, folder)


def _check_apart(destination: Path, source: Location) -> None:
    if any(destination.glob("*.tar")):
        do = "Name a new folder for the view."
        raise CorpusError("a corpus with shards of its own cannot become a view", got=destination, do=do)
    if isinstance(source, Path) and destination.resolve() == source.resolve():
        raise CorpusError("a view cannot be made of itself", got=destination, do="Name another folder for the view.")
