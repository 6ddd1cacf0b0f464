"""`record`: many episodes at once, each game in a process of its own, whatever happens to any of them.

Episodes that are finished in the output folder are skipped, so the same command again does the rest; those that were
cut off are recovered first (`recovery`). A worker that dies takes one episode with it, which is reported; the third
such loss ends the run, since then the game is at fault. Rejected: a process pool (one crash breaks it), an episode a
process (start-up).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Final

from gi_data.envs import make_environment
from gi_data.metadata import ClipMetadata
from gi_data.record import Recorded, RecordPlan
from gi_data.record_worker import Worker
from gi_data.recording import is_finished
from gi_data.recovery import Recovery, recover
from gi_data.recovery import locked as locked  # the same name here: whoever records holds it
from gi_data.seeds import check_seed
from gi_model.errors import GameError, GiError

MAX_LOSSES: Final = 3


@dataclass
class Tally:
    """A run so far. found: finished by an earlier call; lost: seed, reason; ticks: of this call, open ones too."""

    recorded: list[Recorded] = field(default_factory=list)
    found: list[Recorded] = field(default_factory=list)
    lost: dict[int, str] = field(default_factory=dict)
    recovered: Recovery = field(default_factory=lambda: Recovery({}, ()))
    ticks: int = 0

    @property
    def finished(self) -> list[Recorded]:
        """All finished episodes of the plan."""
        return self.found + self.recorded

    @property
    def mean_score(self) -> float | None:
        """Over the finished episodes that have a score (one that was cut off has none)."""
        scores = [episode.score for episode in self.finished if episode.score is not None]
        return sum(scores) / len(scores) if scores else None


def record(plan: RecordPlan, on_change: Callable[[Tally], None] = lambda _: None) -> Tally:
    """Record `plan`. Raises GiError on a failure that is not one episode's own, or when too many episodes are lost."""
    with locked(plan.out):
        tally = Tally(recovered=recover(plan.out))
        seeds = Seeds(plan, tally)
        workers: list[Worker] = []
        try:
            while _employ(workers, plan, seeds):
                on_change(tally)
                for worker in _reporting(workers):
                    _hear(worker, tally)
                workers[:] = [worker for worker in workers if worker.is_usable]
        finally:
            for worker in workers:
                worker.stop()
        on_change(tally)
    return tally


class Seeds:
    """The seeds to play, in order, while the plan wants more. Finished ones are counted, not played."""

    def __init__(self, plan: RecordPlan, tally: Tally) -> None:
        self._plan, self._tally, self._next = plan, tally, plan.seed
        env = make_environment(plan.game)  # also says at once that there is no such game
        self._ticks_wanted = (plan.hours or 0.0) * 3600 * env.fps
        env.close()

    def take(self) -> int | None:
        """The next seed, or None when the plan is done."""
        while self._wants_more():
            seed, self._next = self._next, self._next + 1
            check_seed(seed)
            if not is_finished(self._plan.out, self._plan.recording_id(seed)):
                return seed
            self._tally.found.append(read_recorded(self._plan, seed))
        return None

    def _wants_more(self) -> bool:
        if self._plan.episodes is not None:
            return self._next < self._plan.seed + self._plan.episodes
        return self._tally.ticks + sum(episode.ticks for episode in self._tally.found) < self._ticks_wanted


def read_recorded(plan: RecordPlan, seed: int) -> Recorded:
    """What the finished recording of episode `seed` holds."""
    paths = sorted(plan.out.glob(f"{plan.recording_id(seed)}-[0-9][0-9][0-9][0-9].json"))
    parts = [ClipMetadata.from_json(path.read_bytes(), path.stem) for path in paths]
    return Recorded(seed, sum(part.num_ticks for part in parts), parts[0].score)


def _employ(workers: list[Worker], plan: RecordPlan, seeds: Seeds) -> bool:
    """Give every free hand an episode; whether anyone is at work."""
    for worker in [worker for worker in workers if worker.seed is None]:
        if (seed := seeds.take()) is None:
            break
        worker.give(seed)
    while len(workers) < plan.jobs and (seed := seeds.take()) is not None:
        workers.append(Worker(plan))
        workers[-1].give(seed)
    return any(worker.seed is not None for worker in workers)


def _reporting(workers: list[Worker]) -> list[Worker]:
    ready = wait([worker.pipe for worker in workers if worker.seed is not None])
    return [worker for worker in workers if worker.pipe in ready]


def _hear(worker: Worker, tally: Tally) -> None:
    """Take a worker's report. Raises what it reports, unless it is the loss of an episode."""
    seed, report = worker.seed, worker.hear()
    if isinstance(report, int):
        tally.ticks += report
        return
    worker.seed = None
    if isinstance(report, Recorded):
        tally.recorded.append(report)
    elif isinstance(report, GameError) and len(tally.lost) + 1 < MAX_LOSSES:
        tally.lost[seed or 0] = str(report)
    else:
        raise _with_count(report, tally)


def _with_count(error: GiError, tally: Tally) -> GiError:
    """`error`, and how much is safe."""
    if not tally.recorded:
        return error
    do = f"{error.do} {len(tally.recorded)} episodes of this call are finished and kept; run it again for the rest."
    return type(error)(error.what, got=error.got, expected=error.expected, do=do.strip())
