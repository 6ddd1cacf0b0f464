"""`relabel`: a corpus like another, with other labels: videos are copied byte for byte, shard by shard.

A label lies beside its video in a shard and is hashed with it, so new labels mean new shards; they cost the bytes of
the videos once more, and every reader, view, and export understands the result without knowing how it came about.
Rejected: labels in files beside an old corpus (each reader would have to join two places, and no hash could say that a
clip is whole). Shards are planned from the source's index alone: any process can write any of them, in any order, and a
call that was killed is continued by the same call, to the same bytes.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from gi_data.corpus import Corpus
from gi_data.index import IndexRow, index_shard, read_shard_indexes, write_shard_index
from gi_data.inputs_table import Labels
from gi_data.metadata import JsonScalar
from gi_data.storage import UNFINISHED_SUFFIX, digest, write_atomic
from gi_data.tars import INPUTS, METADATA, VIDEO, TarWriter
from gi_model.actions import NEUTRAL
from gi_model.errors import ConfigError, CorpusError

PLAN_NAME = "relabelling.json"


@dataclass(frozen=True)
class ShardPlan:
    """A shard to write. clips: for each stored clip the ids of the corpus's rows that are stretches of it."""

    name: str
    split: str
    clips: tuple[tuple[int, ...], ...]

    @property
    def num_rows(self) -> int:
        """Stretches in it."""
        return sum(map(len, self.clips))


@dataclass(frozen=True)
class NewLabels:
    """What a clip gets. demonstrator: who made the labels, None: as before. extra: more of its provenance."""

    labels: Labels
    demonstrator: str | None = None
    extra: Mapping[str, JsonScalar] = field(default_factory=dict)


Labelling = Callable[[Labels, tuple[int, ...]], NewLabels]  # labels of a stored clip, and the ids of its stretches


def plan_shards(corpus: Corpus, *, shard_mb: float) -> tuple[ShardPlan, ...]:
    """The shards of a corpus with other labels: its clips in their order, cut where `shard_mb` is reached."""
    if not shard_mb > 0:
        raise ConfigError("shards need a size", got=shard_mb, expected="above 0 MB")
    plans: list[ShardPlan] = []
    for split, clips in sorted(_clips_by_split(corpus).items()):
        groups = _cut([(ids, corpus.row(ids[0]).video_size) for ids in clips.values()], shard_mb * 1e6)
        plans += [ShardPlan(f"{split}-{number:06d}.tar", split, group) for number, group in enumerate(groups)]
    return tuple(plans)


def begin(destination: Path, facts: Mapping[str, JsonScalar]) -> frozenset[str]:
    """Open `destination` for shards made as `facts` say; return the names of those that are finished.

    Raises ConfigError if the folder holds shards that were made another way: half of each would be neither.
    """
    destination.mkdir(parents=True, exist_ok=True)
    path = destination / PLAN_NAME
    if path.is_file():
        before = json.loads(path.read_bytes())
        if odd := sorted(name for name in {*facts, *before} if facts.get(name) != before.get(name)):
            got, expected = ({name: each.get(name) for name in odd} for each in (facts, before))
            do = "Name a new folder, or give the same corpus, model, and settings as before."
            raise ConfigError(f"{destination} holds labels made another way", got=got, expected=expected, do=do)
    elif any(destination.glob("*.tar")) or (destination / "manifest.json").exists():
        raise CorpusError("this folder holds a corpus of another kind", got=destination, do="Name a new folder.")
    else:
        write_atomic(path, json.dumps(dict(facts), indent=1, sort_keys=True).encode())
    for leftover in destination.glob(f"*.tar{UNFINISHED_SUFFIX}"):
        leftover.unlink()
    return frozenset(shard.shard for shard in read_shard_indexes(destination))


def write_shard(
    corpus: Corpus,
    plan: ShardPlan,
    destination: Path,
    labelling: Labelling,
    *,
    seal: Callable[[], object] = lambda: None,
) -> None:
    """Write one planned shard and its index. Raises ClipError on a damaged clip; then nothing appears.

    seal: called after the last clip, before the shard counts as finished.
    """
    path = destination / plan.name
    with TarWriter(path) as tar:
        for ids in plan.clips:
            row = corpus.row(ids[0])
            tar.add(row.key, _members(corpus, row, labelling(corpus.read_labels(row), ids)))
        seal()
    write_shard_index(destination, index_shard(path, plan.split))


def strip_labels(corpus: Corpus, destination: Path, keep: Callable[[IndexRow], bool]) -> tuple[ShardPlan, ...]:
    """Make `destination` the same corpus without the labels of those training clips that `keep` refuses.

    What is stripped is gone from the bytes: neutral inputs, nothing known. Held-out clips keep theirs, to measure with.
    """
    plans = plan_shards(corpus, shard_mb=64.0)
    rows = {ids[0]: corpus.row(ids[0]) for plan in plans for ids in plan.clips}
    kept = {number for number, row in rows.items() if row.split != "train" or keep(row)}

    def stripped(labels: Labels, ids: tuple[int, ...]) -> NewLabels:
        if ids[0] in kept:
            return NewLabels(labels)
        nothing = replace(labels, inputs=(NEUTRAL,) * len(labels), known=labels.known & False)
        return NewLabels(nothing, demonstrator="unknown", extra={"labels": "stripped"})

    facts = {"corpus": corpus.fingerprint, "labels": "stripped", "kept": digest(json.dumps(sorted(kept)).encode())}
    finished = begin(destination, facts)
    for plan in plans:
        if plan.name not in finished:
            write_shard(corpus, plan, destination, stripped)
    return plans


def _members(corpus: Corpus, row: IndexRow, new: NewLabels) -> dict[str, bytes]:
    before = corpus.read_metadata(row)
    video, table = corpus.read_video(row), new.labels.to_parquet()
    info = replace(
        before.info,
        demonstrator=before.info.demonstrator if new.demonstrator is None else new.demonstrator,
        extra={**before.info.extra, **new.extra},
    )
    metadata = replace(before, info=info, sha256={VIDEO: row.video_sha256, INPUTS: digest(table)})
    return {VIDEO: video, INPUTS: table, METADATA: metadata.to_json()}


def _clips_by_split(corpus: Corpus) -> dict[str, dict[tuple[str, str], tuple[int, ...]]]:
    """Ids of the rows of each stored clip, by split; stored clips in the order of the corpus."""
    found: dict[str, dict[tuple[str, str], tuple[int, ...]]] = defaultdict(dict)
    for clip_id in range(corpus.num_clips):
        row = corpus.row(clip_id)
        stored, clips = (row.shard, row.key), found[row.split]
        clips[stored] = (*clips.get(stored, ()), clip_id)
    return found


def _cut(clips: list[tuple[tuple[int, ...], int]], num_bytes: float) -> Iterator[tuple[tuple[int, ...], ...]]:
    group: list[tuple[int, ...]] = []
    size = 0
    for ids, video_size in clips:
        group.append(ids)
        size += video_size
        if size >= num_bytes:
            yield tuple(group)
            group, size = [], 0
    if group:
        yield tuple(group)
