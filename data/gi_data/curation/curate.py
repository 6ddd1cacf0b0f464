"""`curate`: a corpus, and filters -> a view of what is worth training on, and a report of what went and why.

    signals of each clip (measured once, cached) -> filters over ticks -> stretches -> splits -> view, curation.json

Filters are arithmetic on arrays, so trying other limits costs seconds. Killed at any moment, the same command goes on.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gi_data.catalog import Catalog, without
from gi_data.curation.config import Step
from gi_data.curation.filters import FILTERS
from gi_data.curation.material import DENSE, HASH_TICKS, Material
from gi_data.curation.signal_cache import Engine, SignalCache, engine
from gi_data.curation.signals import StoredClip
from gi_data.curation.stretches import in_order_of, rows_of
from gi_data.curation.ticks import Mask, Ticks, runs
from gi_data.revocation import read_revoked
from gi_data.storage import Location, digest, locate, write_atomic
from gi_data.views import seen_from, together, write_view
from gi_model.errors import ConfigError, CorpusError

REPORT_NAME = "curation.json"
SIGNALS_NAME = "signals"


@dataclass(frozen=True)
class StepReport:
    """What one filter took away; stretches: pieces that are left after it."""

    filter: str
    options: dict[str, Any]
    hours_in: float
    hours_out: float
    stretches: int
    hours_removed_by_game: dict[str, float]
    notes: dict[str, Any]


@dataclass(frozen=True)
class CurationReport:
    """hours are over both splits; damaged: clips that could not be read, and why."""

    source: str
    hours_in: float
    hours_out: float
    clips_in: int
    clips_out: int
    hours_by_game: dict[str, tuple[float, float]]  # in, out
    val_hours: tuple[float, float]
    moved_to_train: tuple[str, ...]
    filters: tuple[StepReport, ...]
    damaged: dict[str, str]


@dataclass(frozen=True)
class CurationRun:
    """How to work: engine: who measures; skip_damaged: clips that may be left out unread; progress: see `Progress`."""

    engine: Engine = field(default_factory=engine)
    skip_damaged: int = 0
    started: Callable[[str, int], Callable[[int], object]] = lambda _what, _total: lambda _done: None


def curate(
    source: Location, destination: Path, steps: Sequence[Step], run: CurationRun | None = None
) -> CurationReport:
    """Make `destination` a view of what the filters leave of `source`.

    Raises CorpusError if nothing is left, or more clips are damaged than may be; ClipError where none may be.
    """
    run = run or CurationRun()
    catalog = seen_from(destination, source)
    table = without(catalog.table, frozenset(read_revoked(destination)))
    ticks, damaged = _signals(table, destination, destination / SIGNALS_NAME, HASH_TICKS, run)

    def load(name: str) -> Ticks:
        folder = destination / SIGNALS_NAME / f"against-{digest(name.encode())[:16]}"
        place = locate(name)
        return _signals(Catalog.open(place).table, place, folder, DENSE, run)[0]

    material = Material(ticks, load)
    before = ticks.rows_in(table)
    keep, reports = _filter(material, before, steps)
    if not keep.any():
        most = max(reports, key=lambda report: report.hours_in - report.hours_out).filter
        do = "Loosen its limits, or leave it out; signals are kept, so another try is quick."
        raise CorpusError("the filters leave nothing", got=f"most went by {most}", do=do)
    rows = in_order_of(rows_of(ticks, keep, material.duplicate_group), table["key"])
    rows, moved = together(rows, _groups(material))
    manifest = write_view(destination, rows, [catalog])
    report = CurationReport(
        source=str(source),
        hours_in=_hours(table),
        hours_out=manifest.hours,
        clips_in=len(table),
        clips_out=manifest.num_clips,
        hours_by_game=_by_game(table, manifest.hours_by_game),
        val_hours=(_hours(table.filter(pc.equal(table["split"], "val"))), manifest.hours_by_split.get("val", 0.0)),
        moved_to_train=moved,
        filters=tuple(reports),
        damaged=damaged,
    )
    write_atomic(destination / REPORT_NAME, json.dumps(asdict(report), indent=1).encode())
    return report


def _signals(
    table: pa.Table, directory: Location, cache: Path, hash_ticks: int, run: CurationRun
) -> tuple[Ticks, dict[str, str]]:
    """Signals of all clips of an index whose shards are named as seen from `directory`."""
    clips = stored_clips(table, directory, hash_ticks=hash_ticks)
    signals = SignalCache(cache, hash_ticks=hash_ticks)
    damaged = signals.fill(clips, run.engine, run.started("measuring", len(clips)))
    if len(damaged) > run.skip_damaged:
        key, why = next(iter(damaged.items()))
        do = "Look at them with gi verify; leave them out with --skip-damaged N only if losing them is right."
        got = f"{len(damaged)}; the first: {why}"
        raise CorpusError(f"clip {key} cannot be measured", got=got, expected=f"at most {run.skip_damaged}", do=do)
    return Ticks.of(table, signals.load()), damaged


def stored_clips(table: pa.Table, directory: Location, *, hash_ticks: int) -> list[StoredClip]:
    """The clips that rows of an index are stretches of, each once."""
    members = [f"{kind}_{part}" for kind in ("video", "inputs") for part in ("offset", "size", "sha256")]
    columns = table.select(["shard", "key", "height", "width", *members]).to_pydict()
    place = str(directory.resolve() if isinstance(directory, Path) else directory)
    found: dict[str, StoredClip] = {}
    for shard, key, height, width, *rest in zip(*columns.values(), strict=True):
        video, inputs = (rest[0], rest[1], rest[2]), (rest[3], rest[4], rest[5])
        found.setdefault(key, StoredClip(place, shard, key, height, width, video, inputs, hash_ticks))
    return list(found.values())


def _filter(material: Material, keep: Mask, steps: Sequence[Step]) -> tuple[Mask, list[StepReport]]:
    if len({step.name for step in steps}) < len(steps):
        raise ConfigError("a filter runs once", got=[step.name for step in steps])
    ticks, reports = material.ticks, []
    for step in steps:
        after = keep & ~FILTERS[step.name][1](material, keep, step.options)
        removed = keep & ~after
        reports.append(
            StepReport(
                filter=step.name,
                options=asdict(step.options),
                hours_in=ticks.hours(keep),
                hours_out=ticks.hours(after),
                stretches=len(runs(after, ticks.clip)[0]),
                hours_removed_by_game=_removed(material, removed),
                notes=material.notes.get(step.name, {}),
            )
        )
        keep = after
    return keep, reports


def _removed(material: Material, removed: Mask) -> dict[str, float]:
    ticks = material.ticks
    seconds = np.bincount(ticks.clip[removed], minlength=len(ticks.fps)) / ticks.fps
    names = np.unique(material.clips["game"].to_pylist())
    hours = np.bincount(material.games, weights=seconds, minlength=len(names)) / 3600
    return {str(name): float(spent) for name, spent in zip(names, hours, strict=True) if spent}


def _groups(material: Material) -> list[list[str]]:
    """Recordings of each group of near-duplicates; groups that share a recording are one."""
    from gi_data.curation.near_duplicates import connected

    grouped = np.flatnonzero(material.duplicate_group >= 0)
    names, ids = np.unique(material.clips["recording_id"].to_pylist(), return_inverse=True)
    groups = material.duplicate_group[grouped]
    _, first = np.unique(groups, return_index=True)
    joined = connected(len(names), ids[grouped][first][groups], ids[grouped])
    return [names[joined == group].tolist() for group in range(joined.max(initial=-1) + 1)]


def _by_game(table: pa.Table, after: dict[str, float]) -> dict[str, tuple[float, float]]:
    games = sorted(table["game"].unique().to_pylist())
    return {game: (_hours(table.filter(pc.equal(table["game"], game))), after.get(game, 0.0)) for game in games}


def _hours(table: pa.Table) -> float:
    return float(pc.sum(table["seconds"]).as_py() or 0) / 3600
