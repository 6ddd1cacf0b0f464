"""`gi bench reader`: frames a CPU-second of our reader beside the decode floor and other people's readers, in one run.

Every contestant delivers the same frames of the same corpus as batches of windows; the floor decodes them and does
nothing else (`bench_reader_floor`). Repetitions are interleaved, so that a slow minute of the machine hits all alike.
Inside the clock: opening files, decoding, hashes and labels where a reader has them, batches, worker processes.
Outside: imports, the index, other packages' opening of a dataset, and warm-up: an epoch of ours, a batch of theirs.
"In order": one pass over every clip, each window once. "Random": one epoch of shuffled windows.

`frames` of ours are planes (YUV 4:2:0) where the corpus is stored at the size that is read, RGB otherwise; "as RGB"
adds the conversion, which training leaves to the device. The peers give RGB.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from gi_data import bench_reader_floor as floor
from gi_data import shuffle_quality
from gi_data.bench_reader_meter import Sample, Score, measure, paired
from gi_data.bench_reader_naive import NaiveConfig, read_naively
from gi_data.bench_reader_peers import PeerMissingError, PeerRun
from gi_data.corpus import Corpus
from gi_data.lerobot_export import export_lerobot
from gi_data.reader import Reader, ReaderConfig
from gi_data.reader_config import TRAIN
from gi_data.shuffle_quality import ShuffleQuality
from gi_data.storage import resolve
from gi_data.views import seen_from, write_view
from gi_model.batch import PADDING, Batch
from gi_model.errors import ConfigError

ORDERED, RANDOM = "in order", "random"
FLOOR, PACKETS, OURS = "floor: PyAV decode, mp4 in memory", "floor: packets in memory", "gi reader"
NAIVE, LEROBOT, TORCHCODEC = "webdataset + PyAV, a decode a window", "lerobot", "torchcodec, decoders kept open"
_MOSTLY: Final = 0.75  # an epoch begins and ends with some clips decoded ahead, not always as many
# What the project promises: (our order, the other's name and order, at least so many times its frames a CPU-second).
BARS: Final = (
    ("share of the decode floor, in order", ORDERED, FLOOR, ORDERED, 0.85),
    ("times naive webdataset, random windows", RANDOM, NAIVE, RANDOM, 2.0),
    ("times lerobot, random windows", RANDOM, LEROBOT, RANDOM, 1.5),
)


@dataclass(frozen=True)
class ReaderBench:
    """window_ticks: T. size: pixels a side. peer_python: of an environment with torchcodec, lerobot, or both."""

    window_ticks: int = 16
    batch_size: int = 16
    size: int = 192
    repetitions: int = 5
    peer_python: Path | None = None

    def __post_init__(self) -> None:
        for name in ("window_ticks", "batch_size", "size", "repetitions"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} out of range", got=getattr(self, name), expected="1 or more")

    @property
    def reader(self) -> ReaderConfig:
        """Our reader's configuration, for training."""
        return ReaderConfig(self.size, self.size, window_ticks=self.window_ticks, batch_size=self.batch_size)


@dataclass(frozen=True)
class Bar:
    """A promise: `value` is our best speed over the other's, `paired` the median over pairs; None: it did not run."""

    name: str
    value: float | None
    paired: float | None
    at_least: float


@dataclass(frozen=True)
class ReaderReport:
    """scores: a row a contestant. mixture: how fair batches are, by kind. notes: who did not run and why."""

    frames: int
    clips: int
    bytes_per_hour: float
    scores: tuple[Score, ...]
    bars: tuple[Bar, ...]
    mixture: dict[str, ShuffleQuality]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)  # a key of `samples`, by identity
class Contestant:
    """Somebody who reads the corpus once."""

    name: str
    order: str
    read: Callable[[], Sample]


@dataclass
class _Table:
    """Samples so far, and who dropped out."""

    samples: dict[Contestant, list[Sample]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def run(
    corpus: Corpus, config: ReaderBench, folder: Path, advance: Callable[[], object] = lambda: None
) -> ReaderReport:
    """Measure everyone on `corpus`; `folder` takes the peers' files, `advance` is called after every reading.

    Raises ConfigError where the clips' videos are not at hand or no clip is as long as a window.
    """
    contestants = make_contestants(corpus, config, folder)
    table = _Table({contestant: [] for contestant in contestants})
    for _, contestant in itertools.product(range(config.repetitions), contestants):
        if contestant.name not in table.missing:
            try:
                table.samples[contestant].append(contestant.read())
            except PeerMissingError as error:
                table.missing[contestant.name] = str(error)
        advance()
    scores = [Score.of(who.name, who.order, samples) for who, samples in table.samples.items() if samples]
    seconds = sum(corpus.row(clip_id).seconds for clip_id in range(corpus.num_clips))
    num_bytes = sum(shard.num_bytes for shard in corpus.manifest.shards.values())
    return ReaderReport(
        frames=int(corpus.num_ticks.sum()),
        clips=corpus.num_clips,
        bytes_per_hour=num_bytes / seconds * 3600,
        scores=tuple(scores),
        bars=tuple(_bars(scores)),
        mixture=_mixture(corpus, config, folder),
        notes=(*(f"did not run: {name}: {why}" for name, why in table.missing.items()), *_too_small(scores)),
    )


def num_readings(config: ReaderBench) -> int:
    """How often `advance` will be called."""
    return config.repetitions * (10 if config.peer_python is None else 14)


# ---------------------------------------------------------------------- who runs


def make_contestants(corpus: Corpus, config: ReaderBench, folder: Path) -> list[Contestant]:
    """Everyone that this configuration names."""
    rows = [corpus.row(clip_id) for clip_id in range(corpus.num_clips)]
    videos = [corpus.read_video(row) for row in rows]
    return [
        Contestant(PACKETS, ORDERED, lambda: floor.decode_packets(videos)),
        Contestant("floor: mp4 in memory, to RGB", ORDERED, lambda: floor.decode_videos_to_rgb(videos)),
        Contestant(FLOOR, ORDERED, lambda: floor.decode_videos(videos)),  # ours in order comes next: they are a pair
        *_ours(corpus, config, folder),
        *_naive(corpus, config),
        *_peers(corpus, config, folder, videos),
    ]


def _ours(corpus: Corpus, config: ReaderBench, folder: Path) -> list[Contestant]:
    views = {RANDOM: all_in(TRAIN, corpus, folder), ORDERED: all_in("val", corpus, folder)}

    def contestant(name: str, order: str, threads: int, use: Callable[[Batch], object] = len) -> Contestant:
        reader = replace(config.reader, split=TRAIN if order == RANDOM else "val", decode_threads=threads)
        return Contestant(name, order, lambda: read_ours(views[order], reader, use))

    return [
        contestant(OURS, ORDERED, 1),
        contestant(OURS, RANDOM, 1),
        contestant(f"{OURS}, two decode threads", RANDOM, 2),
        contestant(f"{OURS}, as RGB", RANDOM, 1, Batch.rgb),
    ]


def read_ours(corpus: Corpus, config: ReaderConfig, use: Callable[[Batch], object]) -> Sample:
    """Read the second epoch of a running reader, every batch handed to `use`: so look weeks of a run, but its start.

    Its cache holds half of the corpus, so every clip is decoded again, into memory that the process has already.
    """
    with Reader(corpus, _with_small_cache(corpus, config)) as reader:
        num_batches = -(-reader.num_windows // config.batch_size)
        batches = iter(reader)
        _read(itertools.islice(batches, num_batches), len)
        before = reader.stats()
        if config.split != TRAIN:
            batches = iter(reader)  # one pass only: start another
        sample = measure(lambda: config.window_ticks * _read(itertools.islice(batches, num_batches), use))
        return replace(sample, decoded=reader.stats().since(before).num_frames)


def _read(batches: Iterator[Batch], use: Callable[[Batch], object]) -> int:
    """Read all; return the number of windows."""
    num_windows = 0
    for batch in batches:
        use(batch)
        num_windows += sum(window != PADDING for window in batch.windows)
    return num_windows


def _with_small_cache(corpus: Corpus, config: ReaderConfig) -> ReaderConfig:
    """Room for half of the corpus, or what the configuration has if that is less."""
    planes = corpus.is_stored_at(config.height, config.width)
    frame_bytes = config.height * config.width * 3 // (2 if planes else 1)
    cache_mb = max(2, min(config.cache_mb, int(corpus.num_ticks.sum()) * frame_bytes // 2 // 10**6))
    return replace(config, cache_mb=cache_mb, block_mb=min(config.block_mb, cache_mb // 2))


def all_in(split: str, corpus: Corpus, folder: Path) -> Corpus:
    """A view of `corpus`, made in `folder`, whose clips all belong to `split`: a benchmark reads all there is."""
    catalog = seen_from(folder / split, Path(str(corpus.directory)))
    table = catalog.table
    splits = pa.array([split] * len(table), pa.string())
    write_view(folder / split, table.set_column(table.schema.get_field_index("split"), "split", splits), [catalog])
    return Corpus(folder / split)


def _naive(corpus: Corpus, config: ReaderBench) -> list[Contestant]:
    shards = [Path(str(resolve(corpus.directory, name))) for name in sorted(corpus.manifest.shards)]

    def contestant(name: str, order: str, num_workers: int) -> Contestant:
        seed = 0 if order == RANDOM else None
        naive = NaiveConfig(config.window_ticks, config.batch_size, num_workers=num_workers, seed=seed)
        return Contestant(name, order, lambda: measure(lambda: read_naively(shards, naive)))

    return [
        contestant(NAIVE, ORDERED, 0),
        contestant(NAIVE, RANDOM, 0),
        contestant(f"{NAIVE}, one worker process", RANDOM, 1),
    ]


def _peers(corpus: Corpus, config: ReaderBench, folder: Path, videos: Sequence[bytes]) -> list[Contestant]:
    if config.peer_python is None:
        return []
    shape = {"window_ticks": config.window_ticks, "batch_size": config.batch_size}
    jobs: dict[str, tuple[str, Mapping[str, Any]]] = {
        TORCHCODEC: ("torchcodec_reader", {"videos": _unpack(videos, folder), **shape}),
        LEROBOT: ("lerobot_reader", {"dataset": str(_export(corpus, folder)), **shape}),
    }
    return [
        Contestant(name, order, PeerRun(config.peer_python, script, {**job, "is_random": order == RANDOM}, folder))
        for name, (script, job) in jobs.items()
        for order in (ORDERED, RANDOM)
    ]


def _export(corpus: Corpus, folder: Path) -> Path:
    """The corpus as a LeRobot dataset, pictures copied. Raises ConfigError if it does not make one."""
    exported = export_lerobot(Path(str(corpus.directory)), folder / "lerobot")
    if len(exported) > 1:
        got = f"{len(exported)} kinds of clips"
        raise ConfigError("peers read clips of one size and rate", got=got, do="Leave out --peer-python.")
    return exported[0].path


def _unpack(videos: Sequence[bytes], folder: Path) -> list[str]:
    paths = [folder / f"{index:06d}.mp4" for index in range(len(videos))]
    for path, video in zip(paths, videos, strict=True):
        path.write_bytes(video)
    return [str(path) for path in paths]


# ---------------------------------------------------------------------- what it means


def _mixture(corpus: Corpus, config: ReaderBench, folder: Path) -> dict[str, ShuffleQuality]:
    """Of the batches of one epoch, with the reader's own defaults."""
    with Reader(all_in(TRAIN, corpus, folder), config.reader) as reader:
        return shuffle_quality.measure(reader, num_batches=max(1, reader.num_windows // config.batch_size))


def _too_small(scores: Sequence[Score]) -> list[str]:
    cached = [score for score in scores if score.name.startswith(OURS) and score.decoded < _MOSTLY * score.frames]
    why = "the corpus is so small that clips stayed in memory, so this is no decoding speed"
    return [f"{score.name}, {score.order}: {why}" for score in cached]


def _bars(scores: Sequence[Score]) -> list[Bar]:
    by_name = {(score.name, score.order): score for score in scores}
    bars = []
    for name, order, other, other_order, at_least in BARS:
        ours, theirs = by_name[OURS, order], by_name.get((other, other_order))
        value, pairs = (ours.best / theirs.best, paired(ours, theirs)) if theirs else (None, None)
        bars.append(Bar(name, value, pairs, at_least))
    return bars
