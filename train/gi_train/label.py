"""`label`: a corpus whose unlabelled ticks an inverse dynamics model has labelled, as a new corpus.

Only frames are read to label; true labels stay, byte for byte, unless they are to be replaced. A tick whose answer is
not sure enough, or whose effect no frame shows, stays unknown: readers never learn from it. Beside each shard lies
`SHARD.confidence.parquet`, a row a tick: who labelled it and how sure, by factor. Shards are jobs: in processes or on a
Ray cluster; finished ones are kept, and a call that was killed is continued by the same call to the same bytes.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gi_data.clip_loader import ClipLoader
from gi_data.confidence_table import (
    AUTHORS,
    Author,
    confidence_rows,
    count_authors,
    mean_confidence,
    read_confidence,
    write_confidence,
)
from gi_data.corpus import Corpus
from gi_data.engines import EngineName, map_on
from gi_data.inputs_table import Labels
from gi_data.manifest import Manifest
from gi_data.metadata import JsonScalar
from gi_data.relabel import NewLabels, ShardPlan, begin, plan_shards, write_shard
from gi_data.shards import refresh
from gi_model.actions import NEUTRAL, InputState
from gi_model.checkpoint import read_fingerprint
from gi_model.errors import ConfigError, CorpusError, GiError
from gi_train.labeller import Labeller, TickLabels, load_labeller


@dataclass(frozen=True)
class LabelPlan:
    """What to label with what. workers: processes, 0: in this one; replace_known: answer also where a label is."""

    corpus: str
    checkpoint: Path
    destination: Path
    min_confidence: float = 0.0
    replace_known: bool = False
    shard_mb: float = 64.0
    device: str = "cpu"
    workers: int = 0
    engine: EngineName = "local"

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise ConfigError("min-confidence is a probability", got=self.min_confidence, expected="0 to 1")


@dataclass(frozen=True)
class LabelReport:
    """ticks: how many were labelled by whom; `confidence`: mean over the model's."""

    manifest: Manifest
    ticks: dict[Author, int]
    confidence: float


@dataclass(frozen=True)
class _Job:
    plan: LabelPlan
    fingerprint: str
    shard: ShardPlan


@dataclass(frozen=True)
class _Done:
    shard: str
    num_rows: int
    failure: str = ""


def label(plan: LabelPlan, advance: Callable[[int], object] = lambda _: None) -> LabelReport:
    """Run `plan`; `advance` is told how many clips were done. Raises ConfigError, CheckpointError, CorpusError."""
    load_labeller(plan.checkpoint, device=plan.device)  # what cannot label is refused before anything is written
    corpus, fingerprint = Corpus(plan.corpus), read_fingerprint(plan.checkpoint)
    shards = plan_shards(corpus, shard_mb=plan.shard_mb)
    finished = begin(plan.destination, _facts(plan, corpus, fingerprint))
    jobs = [_Job(plan, fingerprint, shard) for shard in shards if shard.name not in finished]
    advance(sum(shard.num_rows for shard in shards if shard.name in finished))
    failures = []
    for done in map_on(plan.engine, label_shard, jobs, workers=plan.workers, on_death=_died):
        advance(done.num_rows)
        failures += [f"{done.shard}: {done.failure}"] if done.failure else []
    if failures:
        do = "Finished shards are kept. Leave damaged clips out (gi subset), and run the same command again."
        raise CorpusError(f"{len(failures)} of {len(shards)} shards could not be labelled", got=failures[0], do=do)
    return _report(plan.destination, refresh(plan.destination), shards)


def label_shard(job: _Job) -> _Done:
    """Label one shard; what goes wrong is part of the answer."""
    try:
        _write(job)
    except (GiError, RuntimeError) as error:  # RuntimeError: torch's, out of memory above all
        return _Done(job.shard.name, job.shard.num_rows, str(error)[:500])
    return _Done(job.shard.name, job.shard.num_rows)


@dataclass
class ShardLabeller:
    """Answers for the clips of one shard, and remembers who labelled what. Called once a stored clip."""

    corpus: Corpus
    labeller: Labeller
    plan: LabelPlan
    name: str  # of the model, for provenance
    rows: list[Any] = field(default_factory=list)  # of the table of confidences, a pyarrow.Table a clip

    def __post_init__(self) -> None:
        labeller = self.labeller
        self._loader = ClipLoader(self.corpus, labeller.space, height=labeller.height, width=labeller.width)

    def __call__(self, labels: Labels, ids: tuple[int, ...]) -> NewLabels:
        """The labels of a stored clip of which the rows `ids` are stretches."""
        authors = np.full(len(labels), AUTHORS.index("outside"), dtype=np.int8)
        factors = np.full((len(labels), len(self.labeller.space.factors)), np.nan, dtype=np.float32)
        inputs = [NEUTRAL] * len(labels)
        for clip_id in ids:
            row = self.corpus.row(clip_id)
            ticks = range(row.first_tick, row.first_tick + row.num_ticks)
            wanted = np.array([self.plan.replace_known or not labels.known[tick] for tick in ticks])
            found = self._answer(clip_id) if wanted.any() else None
            for offset, tick in enumerate(ticks):
                if not wanted[offset]:
                    authors[tick], inputs[tick] = AUTHORS.index("player"), labels.inputs[tick]
                elif found is not None:
                    factors[tick] = found.factors[offset]
                    author = self._author(found, offset)
                    authors[tick] = AUTHORS.index(author)
                    if author == "idm":
                        inputs[tick] = self.labeller.space.decode(found.tokens[offset])
        columns = dict(zip(self.labeller.space.factors, factors.T, strict=True))
        self.rows.append(confidence_rows(self.corpus.row(ids[0]).key, authors, columns))
        return self._provenance(labels, tuple(inputs), authors)

    def _answer(self, clip_id: int) -> TickLabels:
        frames = self._loader.load(clip_id).frames
        assert frames is not None, "`load` keeps the frames"
        return self.labeller(frames)

    def _author(self, found: TickLabels, offset: int) -> Author:
        if not found.answered[offset]:
            return "unseen"
        return "idm" if found.confidence[offset] >= self.plan.min_confidence else "unsure"

    def _provenance(self, labels: Labels, inputs: tuple[InputState, ...], authors: NDArray[np.int8]) -> NewLabels:
        by_model = authors == AUTHORS.index("idm")
        known = by_model | ((authors == AUTHORS.index("player")) & labels.known)
        new = Labels(inputs, labels.t_ns, known)
        if not by_model.any():
            return NewLabels(new)
        extra: dict[str, JsonScalar] = {
            "labels_by": f"idm:{self.name}",
            "labels_by_idm": int(by_model.sum()),
            "labels_min_confidence": self.plan.min_confidence,
        }
        return NewLabels(new, demonstrator=None if (known & ~by_model).any() else f"idm:{self.name[:12]}", extra=extra)


def _write(job: _Job) -> None:
    torch.set_num_threads(1)  # a process a core
    corpus = Corpus(job.plan.corpus)
    answers = ShardLabeller(corpus, _labeller(job.plan.checkpoint, job.plan.device), job.plan, job.fingerprint)

    def seal() -> None:
        write_confidence(job.plan.destination, job.shard.name, answers.rows)

    write_shard(corpus, job.shard, job.plan.destination, answers, seal=seal)


@lru_cache(maxsize=1)
def _labeller(checkpoint: Path, device: str) -> Labeller:
    """Loaded once a process."""
    return load_labeller(checkpoint, device=device)


def _report(destination: Path, manifest: Manifest, shards: Sequence[ShardPlan]) -> LabelReport:
    table = read_confidence(destination, [shard.name for shard in shards])
    return LabelReport(manifest, count_authors(table), mean_confidence(table))


def _facts(plan: LabelPlan, corpus: Corpus, fingerprint: str) -> dict[str, str | float | bool]:
    return {
        "corpus": corpus.fingerprint,
        "idm": fingerprint,
        "min_confidence": plan.min_confidence,
        "replace_known": plan.replace_known,
        "shard_mb": plan.shard_mb,
    }


def _died(job: _Job, why: str) -> _Done:
    return _Done(job.shard.name, job.shard.num_rows, why)


def default_workers() -> int:
    """A process a core; in this process where there is one core only."""
    cores = os.cpu_count() or 1
    return cores if cores > 1 else 0
