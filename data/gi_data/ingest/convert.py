"""`ingest_one`: one recording of any format becomes one of ours; a pure function of its job, run alike by every engine.

On the way: the format's clock to ours, the picture to the size asked for (the one resize; pictures that are not square
are stretched), bindings, and typed text cut out. Never raises what is one recording's fault: the report says why there
is none, and nothing of it is left on disk.
"""

import dataclasses
import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gi_data.ingest.events import Event
from gi_data.ingest.limits import check_span
from gi_data.ingest.privacy import Typed, find_typed, ticks_within
from gi_data.ingest.screen import Screen
from gi_data.ingest.source import Found, Importer, SourceRecording
from gi_data.ingest.timeline import frames_at, tick_edges, ticks
from gi_data.recording import RecordingInfo, RecordingWriter
from gi_model.actions import ActionSpace, Bindings
from gi_model.errors import ActionError, ClipError, ConfigError, CorpusError, FrameError, GiError
from gi_model.frames import MAX_SIDE, resize

DEFAULT_FPS: Final = 20.0
FASTEST_OWN_FPS: Final = 30.0  # a format's own rate is kept up to here
SHORTEST_S: Final = 1.0


@dataclass(frozen=True)
class IngestConfig:
    """How recordings are stored. fps None: the format's own up to 30, else 20. The rest None: what the importer says.

    offset_ms is added to the times of all inputs. keep_unbound also stores controls that the game does not use.
    """

    height: int = 192
    width: int = 192
    fps: float | None = None
    clip_ticks: int = 350
    offset_ms: float = 0.0
    bindings: Bindings | None = None
    keep_unbound: bool = False
    game: str | None = None
    license: str | None = None
    consent: str | None = None

    def __post_init__(self) -> None:
        if not all(16 <= side <= MAX_SIDE and side % 2 == 0 for side in (self.height, self.width)):
            expected = f"even numbers from 16 to {MAX_SIDE}"
            raise ConfigError("size cannot be stored", got=f"{self.width}x{self.height}", expected=expected)
        if self.fps is not None and not 1 <= self.fps <= 240:
            raise ConfigError("rate out of range", got=self.fps, expected="1 to 240 ticks a second")
        if not 1 <= self.clip_ticks <= 100_000:
            raise ConfigError("clip length out of range", got=self.clip_ticks, expected="1 to 100000 ticks")
        if not abs(self.offset_ms) <= 60_000:
            raise ConfigError("offset out of range", got=self.offset_ms, expected="a minute at most, in ms")


@dataclass(frozen=True)
class IngestJob:
    """One recording to make in the folder `destination`."""

    importer: Importer
    found: Found
    destination: Path
    config: IngestConfig


@dataclass(frozen=True)
class Ingested:
    """What became of one recording. failure: why there is none; is_fatal: and none of the others can be made either.

    typed_s: cut out because text was typed; cut_s: because the importer says so; lost_s: for want of pictures.
    inexpressible, unknown: counts of what our actions cannot express, and of what the importer has no name for.
    """

    recording_id: str
    num_bytes: int
    ticks: int = 0
    fps: float = 0.0
    typed_s: float = 0.0
    cut_s: float = 0.0
    lost_s: float = 0.0
    unlabelled_ticks: int = 0
    unbound_presses: int = 0
    inexpressible: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    failure: str = ""
    is_fatal: bool = False
    was_finished: bool = False

    @property
    def seconds(self) -> float:
        """Of play that were stored."""
        return self.ticks / self.fps if self.fps else 0.0


def ingest_one(job: IngestJob) -> Ingested:
    """Make one recording; what an earlier attempt left of it is deleted first."""
    try:
        clear(job.destination, job.found.recording_id)
        return _convert(job)
    except (ClipError, ActionError, ConfigError, FrameError) as error:
        return failed(job, str(error))
    except (GiError, MemoryError) as error:
        return failed(job, str(error) or "out of memory", is_fatal=True)
    except Exception as error:  # a stranger's file must not end the run, whatever it does to its importer
        is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        return failed(job, f"{type(error).__name__}: {str(error)[:300]}", is_fatal=is_full)


def failed(job: IngestJob, why: str, *, is_fatal: bool = False) -> Ingested:
    """The report of a recording that cannot be made; nothing of it stays."""
    clear(job.destination, job.found.recording_id)
    return Ingested(job.found.recording_id, job.found.num_bytes, failure=why, is_fatal=is_fatal)


def clear(directory: Path, recording_id: str) -> None:
    """Delete every file of a recording."""
    for path in directory.glob(f"{recording_id}-[0-9][0-9][0-9][0-9].*"):
        path.unlink(missing_ok=True)


def _convert(job: IngestJob) -> Ingested:
    source, config = job.importer.read(job.found), job.config
    check_span(source.start_ns, source.end_ns, job.found.recording_id)
    fps = config.fps or own_fps(source)
    edges = tick_edges(source.start_ns, source.end_ns, fps)
    bindings = config.bindings or source.bindings
    typed = find_typed(shifted(source.events(), config.offset_ms), bindings)
    is_typed = ticks_within(typed.stretches, edges)
    is_cut = ticks_within(source.cuts, edges)
    info = _info(job, source, fps=fps, typed=typed)
    writer = RecordingWriter(
        job.destination,
        job.found.recording_id,
        info,
        clip_ticks=config.clip_ticks,
        keep_unbound=config.keep_unbound,
    )
    try:
        tally = _write(writer, source, edges, is_typed | is_cut, config)
        if tally.ticks < SHORTEST_S * fps:
            raise _too_short(job, tally.ticks / fps, tally.note)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    return Ingested(
        job.found.recording_id,
        job.found.num_bytes,
        ticks=tally.ticks,
        fps=fps,
        typed_s=float(is_typed.sum()) / fps,
        cut_s=float((is_cut & ~is_typed).sum()) / fps,
        lost_s=tally.lost_ticks / fps,
        unlabelled_ticks=tally.unlabelled_ticks,
        unbound_presses=typed.unbound_presses,
        inexpressible=dict(+tally.inexpressible),
        unknown=dict(source.unknown),
        note=tally.note,
    )


@dataclass
class _Tally:
    ticks: int = 0
    lost_ticks: int = 0
    unlabelled_ticks: int = 0
    inexpressible: Counter[str] = field(default_factory=Counter)
    note: str = ""


def _write(
    writer: RecordingWriter,
    source: SourceRecording,
    edges: NDArray[np.int64],
    is_cut: NDArray[np.bool_],
    config: IngestConfig,
) -> _Tally:
    """Append every tick that has a picture and is not cut out."""
    screen, tally, space = Screen(source.frames()), _Tally(), ActionSpace()
    bindings = config.bindings or source.bindings
    states = ticks(shifted(source.events(), config.offset_ms), edges)
    for number, (frame, tick) in enumerate(zip(frames_at(screen, edges[:-1].tolist()), states, strict=False)):
        if screen.is_over_at(tick.t_ns):
            break
        if is_cut[number] or screen.is_before(int(edges[number + 1])):
            writer.cut()
            continue
        writer.append(resize(frame, config.height, config.width), tick.state, t_ns=tick.t_ns, known=tick.known)
        space.encode(bindings.restrict(tick.state), tally.inexpressible)
        tally.ticks += 1
        tally.unlabelled_ticks += not tick.known
    tally.lost_ticks = int((~is_cut).sum()) - tally.ticks
    tally.note = screen.complaint
    return tally


def own_fps(source: SourceRecording) -> float:
    """The rate a source is stored at unless the user says otherwise."""
    return source.fps if source.fps is not None and 1 <= source.fps <= FASTEST_OWN_FPS else DEFAULT_FPS


def shifted(events: Iterable[Event], offset_ms: float) -> Iterator[Event]:
    """The events, so much later."""
    offset_ns = round(offset_ms * 1e6)
    if not offset_ns:
        return iter(events)
    return (dataclasses.replace(event, t_ns=event.t_ns + offset_ns) for event in events)


def _info(job: IngestJob, source: SourceRecording, *, fps: float, typed: Typed) -> RecordingInfo:
    config = job.config
    notes: dict[str, str | float | bool] = {"label_offset": job.importer.offset, "offset_ms": config.offset_ms}
    if config.keep_unbound:
        notes["keep_unbound"] = True
    if typed.stretches:
        notes["typed_stretches_cut"] = len(typed.stretches)
    return RecordingInfo(
        game=config.game or source.game,
        fps=fps,
        bindings=config.bindings or source.bindings,
        demonstrator=source.demonstrator,
        seed=0,
        source=job.importer.name,
        license=config.license or source.license,
        consent=config.consent or source.consent,
        height=config.height,
        width=config.width,
        extra={**source.extra, **notes},
    )


def _too_short(job: IngestJob, seconds: float, note: str) -> CorpusError:
    got = f"{seconds:.2f} s" + (f" ({note})" if note else "")
    return ClipError(f"recording {job.found.recording_id} is too short", got=got, expected=f"at least {SHORTEST_S} s")
