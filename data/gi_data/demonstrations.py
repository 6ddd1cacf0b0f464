"""`take_demonstrations`: the few recordings that a policy is adapted to, as a view, some of them held out.

All that is known of a few-shot run is in its view: which recordings, and which of them only judge. Draws of one seed
are nested (the first 5 are among the first 10), so that a study of sizes compares like with like. Held out by
recording, never by clip: two halves of one episode look alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gi_data.catalog import Catalog
from gi_data.corpus import Corpus
from gi_data.embodied import RATE_TOLERANCE, check_commands, check_rate, read_embodied
from gi_data.index import IndexRow
from gi_data.manifest import MANIFEST_NAME
from gi_data.storage import Location, digest
from gi_data.views import seen_from, write_view
from gi_model.embodiment import Embodiment
from gi_model.errors import CorpusError

HELD_OUT: Final = 0.2  # share of the demonstrations, at least one
MAX_HELD_OUT: Final = 10


@dataclass(frozen=True)
class Demonstrations:
    """train, held_out: recordings. num_ticks: of both. fps: their common rate. games: what was played."""

    folder: Path
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    num_ticks: int
    fps: float
    games: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.train) + len(self.held_out)


def take_demonstrations(
    source: Location, destination: Path, *, episodes: int | None = None, seed: int = 0
) -> Demonstrations:
    """Make `destination` a view of demonstrations in `source`; the same arguments, the same view.

    episodes: draw as many recordings by `seed` from the training split, and hold a fifth of them out. None: all, held
    out what the corpus holds out, or a fifth where it holds out nothing. Raises CorpusError if there are too few, or
    if they tick at different rates.
    """
    catalog = seen_from(destination, source)
    table = catalog.table.filter(pc.greater(catalog.table["known_ratio"], 0.0))
    train, held_out = (_recordings(table, split, seed) for split in ("train", "val"))
    if episodes is not None or not held_out:
        train, held_out = _divide(train, episodes, source)
    if not train:
        do = "Record more (gi record, gi shard): one to learn from and one held out at least."
        raise CorpusError(f"too few demonstrations in {source}", got=f"{len(held_out)}, all held out", do=do)
    chosen = pc.is_in(table["recording_id"], pa.array((*train, *held_out), pa.string()))
    table = _with_splits(table.filter(chosen), held_out)
    _check_same(destination, table)
    write_view(destination, table, [catalog])
    games = tuple(sorted(table["game"].unique().to_pylist()))
    num_ticks = int(pc.sum(table["num_ticks"]).as_py())
    return Demonstrations(destination, train, held_out, num_ticks, _common_rate(table), games)


def _check_same(destination: Path, table: pa.Table) -> None:
    """Raise CorpusError if `destination` holds other demonstrations: something may have learned from them."""
    if not (destination / MANIFEST_NAME).exists():
        return
    there = Catalog.open(destination).table
    if not there.select(["key", "split"]).equals(table.select(["key", "split"])):
        do = "Give the settings that it was made with, or another --out."
        raise CorpusError(f"{destination} holds other demonstrations", got=f"{len(there)} clips", do=do)


def body_of(demonstrations: Demonstrations, given: Embodiment | None = None) -> Embodiment | None:
    """The body that demonstrations are of: `given`, or the one that their clips were recorded with; None for a game.

    Raises CorpusError, naming the clip, for demonstrations that cannot be of that body: recorded with another map from
    inputs to actuators, at another rate, with controls that drive nothing, without the commands of its direct actuators
    or with others, or with commands outside its range.
    """
    corpus = Corpus(demonstrations.folder)
    rows = list(_rows(corpus))
    owns = [read_embodied(corpus.read_metadata(row).info.extra, row.key) for row in rows]
    body = given or next((own for own in owns if own is not None), None)
    if body is None:
        return None
    for row, own in zip(rows, owns, strict=True):
        if own is not None and _map_of(own) != _map_of(body):
            do = "Give the embodiment that it was recorded with; limits may differ, what an input commands may not."
            what = f"clip {row.key} was recorded with another body than {body.name}"
            raise CorpusError(what, got=own.name, expected=f"the map of {body.name}", do=do)
        check_rate(row.fps, body, row.key)
        _check_controls(corpus, row, body)
    return body


def _map_of(body: Embodiment) -> list[tuple[object, ...]]:
    """What an input means; into how many levels a command is put is resolution, no meaning."""
    return [(one.name, one.unit, one.neutral, one.sources, one.is_direct) for one in body.actuators]


def _check_controls(corpus: Corpus, row: IndexRow, body: Embodiment) -> None:
    controls = {source.control for actuator in body.actuators for source in actuator.sources}
    labels = corpus.read_labels(row)
    states = [state for state, known in zip(labels.inputs, labels.known, strict=True) if known]
    if strange := sorted(set().union(*(state.held for state in states)) - controls):
        do = "Give the embodiment that it was recorded with."
        expected = ", ".join(sorted(controls))
        raise CorpusError(f"clip {row.key} holds what drives no {body.name}", got=strange[0], expected=expected, do=do)
    wanted = len(body.command_space)
    if odd := {len(state.commands) for state in states} - {wanted}:
        do = "Record it with this body, or give the embodiment that it was recorded with."
        got, expected = f"{min(odd)} commands in a tick", f"{wanted}: one for each actuator without sources"
        raise CorpusError(f"clip {row.key} does not say what {body.name} was told", got=got, expected=expected, do=do)
    if states:
        check_commands(np.stack([body.command(state) for state in states]), body, row.key)


def _divide(recordings: tuple[str, ...], episodes: int | None, source: Location) -> tuple[tuple[str, ...], ...]:
    """The first `episodes` in two parts: to learn from, and held out."""
    taken = recordings if episodes is None else recordings[: max(0, episodes)]
    if len(taken) < max(2, episodes or 0):
        do = "Record more (gi record, gi shard), or ask for fewer: one to learn from and one held out at least."
        got, expected = f"{len(recordings)} recordings with labels", f"{max(2, episodes or 0)}"
        raise CorpusError(f"too few demonstrations in {source}", got=got, expected=expected, do=do)
    num_held_out = min(MAX_HELD_OUT, max(1, round(HELD_OUT * len(taken))))
    return taken[num_held_out:], taken[:num_held_out]


def _recordings(table: pa.Table, split: str, seed: int) -> tuple[str, ...]:
    """Of one split, in the order of the draw."""
    names = set(table.filter(pc.equal(table["split"], split))["recording_id"].to_pylist())
    return tuple(sorted(names, key=lambda name: digest(f"{seed}/{name}".encode())))


def _with_splits(table: pa.Table, held_out: tuple[str, ...]) -> pa.Table:
    is_held_out = pc.is_in(table["recording_id"], pa.array(held_out, pa.string()))
    splits = pc.if_else(is_held_out, "val", "train").cast(pa.string())
    return table.set_column(IndexRow.schema().get_field_index("split"), "split", splits)


def _common_rate(table: pa.Table) -> float:
    rates = table["fps"].to_pylist()
    if not np.allclose(rates, rates[0], rtol=RATE_TOLERANCE):
        slow, fast = int(np.argmin(rates)), int(np.argmax(rates))
        keys = table["key"]
        got = f"{rates[slow]:g} ({keys[slow]}) and {rates[fast]:g} ({keys[fast]}) ticks a second"
        do = "Choose those of one rate: gi subset CORPUS OUT --where 'fps = 20'."
        raise CorpusError("demonstrations of different rates", got=got, expected="one rate", do=do)
    return float(np.mean(rates))


def _rows(corpus: Corpus) -> Iterator[IndexRow]:
    return (corpus.row(clip_id) for clip_id in range(corpus.num_clips))
