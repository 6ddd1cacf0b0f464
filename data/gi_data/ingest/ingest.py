"""`ingest`: all recordings under a path become ours, many at a time, in a folder that `gi shard` reads.

The same plan again does what is missing: finished recordings are skipped, others begun anew. A recording that cannot be
made is reported, and ends nothing; a full disk ends everything. The folder is locked as recorders do.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gi_data.engines import EngineName, Result, map_on
from gi_data.ingest.calibration import Calibration, calibrate_one, doubtful
from gi_data.ingest.convert import IngestConfig, Ingested, IngestJob, failed, ingest_one
from gi_data.ingest.source import Found, Importer
from gi_data.metadata import ClipMetadata, check_recording_id, clip_key
from gi_data.parts import PartPaths
from gi_data.recording import is_finished
from gi_data.recovery import locked
from gi_model.errors import ConfigError, CorpusError


@dataclass(frozen=True)
class IngestPlan:
    """What to make of what. limit: the first so many recordings; part (i, n): of these, every n-th from the i-th on.

    workers: processes, 0: in this one; with engine "ray": tasks at a time, 0: as many as the cluster has cores.
    """

    importer: Importer
    source: Path
    destination: Path
    config: IngestConfig = field(default_factory=IngestConfig)
    limit: int | None = None
    workers: int = 0
    engine: EngineName = "local"
    part: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        index, count = self.part
        if not 0 <= index < count:
            do = "Parts of 8 are --part 0/8 to --part 7/8."
            raise ConfigError("no such part", got=f"{index}/{count}", expected="I/N with 0 <= I < N", do=do)

    def find(self) -> Sequence[Found]:
        """Its recordings; none where there are fewer than parts. Raises CorpusError like `find`."""
        index, count = self.part
        return find(self.importer, self.source, limit=self.limit)[index::count]


@dataclass(frozen=True)
class IngestReport:
    """One report for each recording, in order of id."""

    recordings: tuple[Ingested, ...]

    @property
    def made(self) -> tuple[Ingested, ...]:
        """Recordings of this call."""
        return tuple(one for one in self.recordings if not one.failure and not one.was_finished)

    @property
    def failures(self) -> tuple[Ingested, ...]:
        """Recordings that could not be made."""
        return tuple(one for one in self.recordings if one.failure)

    @property
    def num_finished_before(self) -> int:
        """Recordings that an earlier call had made."""
        return sum(one.was_finished for one in self.recordings)

    def total(self, name: str) -> float:
        """Sum of a number over the recordings of this call."""
        return float(sum(getattr(one, name) for one in self.made))

    def counts(self, name: str) -> Counter[str]:
        """Sum of `inexpressible` or `unknown` over the recordings of this call."""
        return sum((Counter(getattr(one, name)) for one in self.made), Counter[str]())


def ingest(plan: IngestPlan, advance: Callable[[Ingested], None] = lambda _: None) -> IngestReport:
    """Run `plan`. Raises CorpusError if there is nothing to read, or nothing more can be written."""
    found = plan.find()
    if plan.destination.resolve() == plan.source.resolve():
        raise CorpusError("source and destination are one folder", got=plan.source, do="Name another destination.")
    with locked(plan.destination):
        reports = [_finished(plan, one) for one in found if is_finished(plan.destination, one.recording_id)]
        for report in reports:
            advance(report)
        done = {report.recording_id for report in reports}
        jobs = [
            IngestJob(plan.importer, one, plan.destination, plan.config)
            for one in found
            if one.recording_id not in done
        ]
        for report in _map(plan, ingest_one, jobs, failed):
            _check_not_fatal(report, reports)
            reports.append(report)
            advance(report)
    return IngestReport(tuple(sorted(reports, key=lambda one: one.recording_id)))


def calibrate(plan: IngestPlan, advance: Callable[[Calibration], None] = lambda _: None) -> tuple[Calibration, ...]:
    """Measure how labels lie against pictures in the recordings of `plan`; nothing is written."""
    found = plan.find()
    jobs = [IngestJob(plan.importer, one, plan.destination, plan.config) for one in found]
    results = []
    for result in _map(plan, calibrate_one, jobs, doubtful):
        results.append(result)
        advance(result)
    return tuple(sorted(results, key=lambda one: one.recording_id))


def _map(
    plan: IngestPlan,
    function: Callable[[IngestJob], Result],
    jobs: Sequence[IngestJob],
    on_death: Callable[[IngestJob, str], Result],
) -> Iterator[Result]:
    """A function over jobs, on the plan's engine."""
    return map_on(plan.engine, function, jobs, workers=plan.workers, on_death=on_death)


def find(importer: Importer, source: Path, *, limit: int | None = None) -> Sequence[Found]:
    """Recordings under `source`. Raises CorpusError if there are none, or two would be one of ours."""
    if not source.exists():
        raise CorpusError("there is nothing to ingest", got=source, expected="a file or folder that exists")
    found = importer.find(source)[:limit]
    if not found:
        raise CorpusError(f"no recordings of format {importer.name} here", got=source, expected=importer.summary)
    ids = Counter(check_recording_id(one.recording_id) for one in found)
    if twice := [name for name, count in ids.items() if count > 1]:
        paths = [str(one.path) for one in found if one.recording_id == twice[0]]
        do = "Ingest them into folders of their own."
        raise CorpusError(f"recordings share the id {twice[0]}", got=", ".join(paths), do=do)
    return found


def _finished(plan: IngestPlan, found: Found) -> Ingested:
    """The report of a recording that is there. Raises CorpusError if it was made with other settings."""
    paths = PartPaths(plan.destination, clip_key(found.recording_id, 0))
    info = ClipMetadata.from_json(paths.metadata.read_bytes(), paths.key).info
    config = plan.config
    got = (info.source, info.height, info.width, info.extra.get("offset_ms"), config.fps and info.fps)
    expected = (plan.importer.name, config.height, config.width, config.offset_ms, config.fps)
    if got != expected:
        do = "Ingest into another folder, or delete this one."
        what = f"{plan.destination} holds recording {found.recording_id} made with other settings"
        raise CorpusError(what, got=got, expected=f"{expected} (format, height, width, offset in ms, rate)", do=do)
    return Ingested(found.recording_id, found.num_bytes, was_finished=True)


def _check_not_fatal(report: Ingested, before: Iterable[Ingested]) -> None:
    if report.is_fatal:
        num_made = sum(not one.failure for one in before)
        do = f"{num_made} recordings are finished and kept; run the same command again for the rest."
        raise CorpusError(f"ingest stopped at recording {report.recording_id}", got=report.failure, do=do)
