"""`LerobotImporter`: datasets of LeRobot, version 3.0: our own exports, games of others, robots with a map.

    SOURCE/meta/info.json, meta/episodes/..., data/..., videos/...       (or a folder of such folders)
    SOURCE/gi-map.toml                                                   what the dataset does not say (`lerobot_map`)

An episode becomes a recording. Of our own exports, the clips that follow each other in one recording become one again,
so that no split parts them; what is missing between them is cut out. An action stands in the row of the picture that
it answers, as in our clips. Times are a steady grid from the first row's time: LeRobot has no others.

With an embodiment, a robot's dataset needs no map: its commands, by the actuators' names, become the inputs that give
them (`lerobot_commands`). Of our own exports of that very body the inputs themselves are taken.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

from gi_data.embodied import check_rate, embodied, read_embodied
from gi_data.ingest.lerobot_commands import command_labels, without_pictures
from gi_data.ingest.lerobot_dataset import Dataset, Episode, open_dataset, own_clip
from gi_data.ingest.lerobot_labels import Labels, own_labels, vector_labels
from gi_data.ingest.lerobot_map import read_map
from gi_data.ingest.limits import MAX_VIDEO_BYTES, check_file
from gi_data.ingest.recording_ids import recording_ids
from gi_data.ingest.source import Found, SourceRecording
from gi_data.ingest.timeline import TimedFrame
from gi_data.lerobot_format import INFO_PATH, INPUT
from gi_data.video import read_pictures
from gi_model.actions import Bindings
from gi_model.embodiment import Embodiment
from gi_model.errors import ClipError, ConfigError, CorpusError
from gi_model.frames import Frame

_SECOND_NS: Final = 1_000_000_000
_LONGEST_GAP_NS: Final = 3600 * _SECOND_NS  # further apart, clips of one recording become two
_OFF_GRID: Final = 0.05  # ticks by which a picture may miss its row's time and still be its picture
_LICENSE: Final = re.compile(r"^license:\s*[\"']?([\w.+-]{1,60})", re.MULTILINE)


class LerobotImporter:
    """Reads LeRobot datasets v3.0; those of a robot by its embodiment."""

    name = "lerobot"
    summary = "LeRobot datasets v3.0: exports of ours, gaming-style ones, others with a gi-map.toml, robots"
    offset = "0: the action in a picture's row is what was done after it was seen, as in our clips"

    def __init__(self, embodiment: Embodiment | None = None) -> None:
        self.embodiment = embodiment

    def find(self, source: Path) -> Sequence[Found]:
        """Recordings of all datasets under `source`. Raises CorpusError if there is none, or one cannot be read."""
        roots = sorted({path.parent.parent for depth in ("", "*/", "*/*/") for path in source.glob(depth + INFO_PATH)})
        runs = [(root, run) for root in roots for run in _runs(open_dataset(root))]
        if not runs:
            raise CorpusError(f"no LeRobot dataset in {source}", expected=f"{INFO_PATH} and episodes")
        paths = [_path_of(root, run) for root, run in runs]
        names = recording_ids([_name(root, run) for root, run in runs], paths, source)
        sizes = [1000 * sum(episode.length for episode in run) for _, run in runs]
        return [Found(name, path, size) for name, path, size in zip(names, paths, sizes, strict=True)]

    def read(self, found: Found) -> SourceRecording:
        """Open one. Raises ClipError."""
        root = found.path.parent
        dataset = open_dataset(root)
        run = _runs_by_path(dataset).get(found.path)
        if run is None:
            raise ClipError(f"{root} has no {found.path.name}", do="The dataset changed: ingest it again.")
        for episode in run:
            dataset.check(episode)
        return _recording(dataset, run, self.embodiment)


def _recording(dataset: Dataset, run: Sequence[Episode], body: Embodiment | None) -> SourceRecording:
    facts, options = run[0].facts, read_map(dataset.root)
    played = read_embodied(facts, f"episode {run[0].index}")
    if body is not None:
        check_rate(dataset.fps, body, _name(dataset.root, run))
    camera = dataset.camera(options.camera)
    clock = _Clock(_own_start(run[0]), dataset.fps)
    places = _places(run, dataset.fps)
    if body is not None and (played is None or played.fingerprint != body.fingerprint):
        seen = partial(_seen, dataset, camera=camera)
        parts = [without_pictures(command_labels(dataset, episode, body), seen(episode)) for episode in run]
    elif INPUT in dataset.features:
        parts = [own_labels(dataset, episode) for episode in run]
    else:
        parts = [vector_labels(dataset, episode, options.entries) for episode in run]
    labels = Labels.joined(parts)
    num_ticks = places[-1] + run[-1].length
    unlabelled = [
        (a + episode.length, b)
        for a, b, episode in zip(places, places[1:], run, strict=False)
        if a + episode.length < b
    ]
    return SourceRecording(
        game=options.game or str(facts.get("game") or run[0].task)[:100],
        fps=dataset.fps,
        start_ns=clock.at(0),
        end_ns=clock.start_ns + math.ceil(Fraction(num_ticks * _SECOND_NS) / clock.rate),
        frames=partial(_frames, dataset, run, clock, camera=camera),
        events=partial(labels.events, places, clock.at, end=num_ticks),
        bindings=body.bindings if body is not None else _own_bindings(facts) or labels.bindings,
        license=options.license or str(facts.get("license") or _license(dataset.root)),
        demonstrator=str(facts.get("demonstrator") or "human"),
        consent=str(facts.get("consent") or "see source"),
        extra={"camera": camera}
        | embodied(body or played)
        | {name: str(facts[name])[:200] for name in ("source", "recording_id") if name in facts},
        unknown=labels.unknown,
        cuts=[(clock.at(start), clock.at(end)) for start, end in unlabelled],
    )


class _Clock:
    """Times of a recording's ticks, rounded as `tick_edges` rounds them."""

    def __init__(self, start_ns: int, fps: float) -> None:
        self.start_ns, self.rate = start_ns, Fraction(fps).limit_denominator(1001)

    def at(self, tick: int) -> int:
        return self.start_ns + round(Fraction(tick * _SECOND_NS) / self.rate)


@lru_cache(maxsize=8)
def _runs(dataset: Dataset) -> list[list[Episode]]:
    """Episodes that belong together, each run in order of time."""
    runs: list[list[Episode]] = []
    order = sorted(dataset.episodes, key=lambda e: (own_clip(e) is None, own_clip(e) or ("", 0), e.index))
    for episode in order:
        if runs and _follows(episode, runs[-1][-1], dataset.fps):
            runs[-1].append(episode)
        else:
            runs.append([episode])
    return runs


@lru_cache(maxsize=8)
def _runs_by_path(dataset: Dataset) -> dict[Path, list[Episode]]:
    return {_path_of(dataset.root, run): run for run in _runs(dataset)}


def _follows(episode: Episode, before: Episode, fps: float) -> bool:
    """Whether an episode goes on in the recording in which `before` ended."""
    clip, last = own_clip(episode), own_clip(before)
    if clip is None or last is None or clip[0] != last[0]:
        return False
    gap_ns = clip[1] - last[1] - before.length * _SECOND_NS / fps
    same = all(episode.facts.get(name) == before.facts.get(name) for name in ("game", "bindings", "license"))
    return same and -_SECOND_NS / fps / 2 <= gap_ns <= _LONGEST_GAP_NS


def _places(run: Sequence[Episode], fps: float) -> list[int]:
    """Tick at which each episode begins: where its time says, and not before the one before it has ended."""
    places: list[int] = []
    for number, episode in enumerate(run):
        tick = round((_own_start(episode) - _own_start(run[0])) * fps / _SECOND_NS)
        places.append(max(tick, places[-1] + run[number - 1].length) if places else 0)
    return places


def _frames(dataset: Dataset, run: Sequence[Episode], clock: _Clock, *, camera: str) -> Iterator[TimedFrame]:
    for episode, place in zip(run, _places(run, dataset.fps), strict=True):
        path = check_file(dataset.video_path(episode, camera), "video", max_bytes=MAX_VIDEO_BYTES)
        for number, rgb in _pictures(path, episode, camera=camera, fps=dataset.fps):
            yield TimedFrame(clock.at(place + number), rgb)


def _seen(dataset: Dataset, episode: Episode, *, camera: str) -> set[int]:
    """Numbers of the rows that have a picture of their own; decodes the video once more, converting nothing."""
    path = check_file(dataset.video_path(episode, camera), "video", max_bytes=MAX_VIDEO_BYTES)
    return {number for number, _ in _pictures(path, episode, camera=camera, fps=dataset.fps)}


def _pictures(path: Path, episode: Episode, *, camera: str, fps: float) -> Iterator[tuple[int, Callable[[], Frame]]]:
    """Row's number and picture of each picture of an episode; of several that fall on one row, the last."""
    span = episode.videos[camera]
    for t_ns, rgb in _from(path, round(span.from_s * _SECOND_NS)):
        number = (t_ns / _SECOND_NS - span.from_s) * fps
        if number >= episode.length - 0.5:
            return
        if number > -_OFF_GRID:
            yield max(0, math.ceil(number - _OFF_GRID)), rgb


def _from(path: Path, start_ns: int) -> Iterator[tuple[int, Callable[[], Frame]]]:
    """Pictures from the keyframe before a time on; from the beginning where the keyframes lie."""
    pictures = read_pictures(path, start_ns=start_ns)
    first = next(pictures, None)
    if first is not None and first[0] > start_ns + _SECOND_NS // 1000:
        yield from read_pictures(path)
        return
    if first is not None:
        yield first
        yield from pictures


def _name(root: Path, run: Sequence[Episode]) -> str:
    clip = own_clip(run[0])
    return clip[0] if clip else f"{root.name}-{run[0].index:06d}"


def _path_of(root: Path, run: Sequence[Episode]) -> Path:
    """A name for a run, as a path: there is no such file."""
    return root / f"episode-{run[0].index:06d}"


def _own_start(episode: Episode) -> int:
    clip = own_clip(episode)
    return clip[1] if clip else 0


def _own_bindings(facts: dict[str, Any]) -> Bindings | None:
    try:
        return Bindings.from_dict(json.loads(facts["bindings"]))
    except (KeyError, TypeError, ValueError, RecursionError, ConfigError):
        return None


def _license(root: Path) -> str:
    """What the dataset's card says."""
    card = root / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace")[:20_000] if card.is_file() else ""
    said = _LICENSE.search(text)
    return said[1] if said else "unknown"
