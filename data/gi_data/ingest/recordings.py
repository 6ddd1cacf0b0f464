"""`RecordingsImporter`: recordings of ours, to store them at another size or rate, or with other bindings.

A tick is a step of the game, whatever the clock said: ticks are laid on an even grid, so that at its own size and rate
every label of a recording comes out as it went in. Times that skip at least half a tick more than one are a gap (a
cut, a pause) and stay one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gi_data.ingest.events import Event, state_events
from gi_data.ingest.source import Found, SourceRecording
from gi_data.ingest.timeline import TimedFrame
from gi_data.inputs_table import Labels
from gi_data.metadata import ClipMetadata, JsonScalar, clip_key
from gi_data.parts import PartPaths
from gi_data.recording import is_finished
from gi_data.storage import digest_file
from gi_data.video import read_pictures
from gi_model.actions import NEUTRAL, InputState
from gi_model.errors import ClipError


class RecordingsImporter:
    """See the module."""

    name = "recording"
    summary = "recordings of `gi record` or `gi ingest`, to another size, rate, or bindings"
    offset = "a label is what was held from its frame until the next one; kept exactly"

    def find(self, source: Path) -> Sequence[Found]:
        """Finished recordings in the folder `source`."""
        names = sorted(path.stem.removesuffix("-0000") for path in source.glob("*-0000.json"))
        return [
            Found(name, source, sum(path.stat().st_size for path in source.glob(f"{name}-[0-9][0-9][0-9][0-9].mp4")))
            for name in names
            if is_finished(source, name)
        ]

    def read(self, found: Found) -> SourceRecording:
        """Open one. Raises ClipError if a part is missing or damaged."""
        parts = _read_parts(found)
        info, grid = parts[0].metadata.info, _Grid.of(parts)
        rows = [row for part, ticks in zip(parts, grid.ticks, strict=True) for row in grid.rows(part, ticks)]
        return SourceRecording(
            game=info.game,
            fps=info.fps,
            start_ns=grid.time(0),
            end_ns=grid.time(int(grid.ticks[-1][-1]) + 1) + 1,  # times are rounded: the last tick is a whole one
            frames=lambda: _frames(parts, grid),
            events=lambda: _events(rows, grid),
            bindings=info.bindings,
            license=info.license,
            demonstrator=info.demonstrator,
            consent=info.consent,
            extra=_extra(parts[0].metadata),
            cuts=grid.gaps(),
        )


@dataclass(frozen=True)
class _Part:
    metadata: ClipMetadata
    paths: PartPaths
    labels: Labels


@dataclass(frozen=True)
class _Grid:
    """Tick numbers of every part on an even grid that starts with the recording."""

    t0_ns: int
    rate: Fraction
    ticks: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, parts: Sequence[_Part]) -> "_Grid":
        rate = Fraction(parts[0].metadata.info.fps).limit_denominator(1001)
        t_ns = np.concatenate([part.labels.t_ns for part in parts])
        steps = np.diff(t_ns) * float(rate) / 1e9
        numbers = np.concatenate([[0], np.cumsum(np.maximum(1, np.round(steps)))]).astype(np.int64)
        ends = np.cumsum([len(part.labels) for part in parts])[:-1]
        return cls(int(t_ns[0]), rate, tuple(np.split(numbers, ends)))

    def time(self, tick: int) -> int:
        """When a tick begins, rounded as `tick_edges` does."""
        return self.t0_ns + round(Fraction(tick * 10**9) / self.rate)

    def rows(self, part: _Part, ticks: NDArray[np.int64]) -> Iterator[tuple[int, InputState, bool]]:
        """Times and labels of a part."""
        for tick, state, known in zip(ticks.tolist(), part.labels.inputs, part.labels.known.tolist(), strict=True):
            yield self.time(tick), state, known

    def gaps(self) -> list[tuple[int, int]]:
        """Stretches without ticks."""
        numbers = np.concatenate(self.ticks)
        return [
            (self.time(int(numbers[index]) + 1), self.time(int(numbers[index + 1])))
            for index in np.flatnonzero(np.diff(numbers) > 1)
        ]


def _events(rows: Sequence[tuple[int, InputState, bool]], grid: _Grid) -> Iterator[Event]:
    """States as events; in a gap nothing is held."""
    released = [(start, NEUTRAL, True) for start, _ in grid.gaps()]
    last_ns = grid.time(int(grid.ticks[-1][-1]) + 1)
    return state_events(sorted([*rows, *released], key=lambda row: row[0]), end_ns=last_ns)


def _frames(parts: Sequence[_Part], grid: _Grid) -> Iterator[TimedFrame]:
    """Picture k of a part is its tick k, whatever time the video gives it."""
    for part, ticks in zip(parts, grid.ticks, strict=True):
        count = 0
        for tick, (_, rgb) in zip(ticks.tolist(), read_pictures(part.paths.video), strict=False):
            count += 1
            yield TimedFrame(grid.time(tick), rgb)
        if count < len(ticks):
            raise ClipError(f"video of clip {part.paths.key} ends early", got=f"{count} frames", expected=len(ticks))


def _read_parts(found: Found) -> list[_Part]:
    first = PartPaths(found.path, clip_key(found.recording_id, 0))
    num_parts = ClipMetadata.from_json(first.metadata.read_bytes(), first.key).num_parts
    if num_parts is None:
        raise ClipError(f"recording {found.recording_id} is not finished", do="Run gi shard --recover on its folder.")
    return [_read_part(PartPaths(found.path, clip_key(found.recording_id, part))) for part in range(num_parts)]


def _read_part(paths: PartPaths) -> _Part:
    for path in (paths.metadata, paths.labels, paths.video):
        if not path.is_file():
            raise ClipError(f"clip {paths.key} is incomplete", got=f"no {path.name}", do="Record it again.")
    metadata = ClipMetadata.from_json(paths.metadata.read_bytes(), paths.key)
    labels = Labels.from_lines(paths.labels.read_bytes(), paths.key)
    if len(labels) != metadata.num_ticks or not len(labels):
        raise ClipError(f"clip {paths.key} is incomplete", got=f"{len(labels)} labels", expected=metadata.num_ticks)
    if digest_file(paths.labels) != metadata.sha256.get("inputs"):
        raise ClipError(f"labels of clip {paths.key} are not those that were recorded", do="Record it again.")
    return _Part(metadata, paths, labels)


def _extra(metadata: ClipMetadata) -> dict[str, JsonScalar]:
    """What the new recording says of the old one."""
    info = metadata.info
    return {**info.extra, "recorded_by": info.source, "seed": info.seed, "score": metadata.score}
