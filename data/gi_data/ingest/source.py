"""`Importer`: what reads one public format; `SourceRecording`: what it hands over, on the format's own clock.

An importer only says which recordings lie under a path and what each holds: frames with their times, and input events
with theirs, on one clock. Everything that must be alike for all formats happens behind it, once (`ingest.py`): the
ticks, the picture's size, bindings, privacy, resuming, reports. Importers treat every file as hostile.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gi_data.ingest.events import Event
from gi_data.ingest.timeline import TimedFrame
from gi_data.metadata import JsonScalar
from gi_model.actions import Bindings


@dataclass(frozen=True, slots=True)
class Found:
    """One recording under a source: where it is, and the id it will have (letters, digits, _ and -; at most 100)."""

    recording_id: str
    path: Path
    num_bytes: int  # roughly, for progress


@dataclass(frozen=True)
class SourceRecording:
    """One recording as its format holds it. frames and events can be iterated anew by calling them again.

    start_ns, end_ns: the time in which both frames and inputs are there. Labels are already where the format's offset
    puts them: an event at t happened while the frame of time t was on the screen. fps: the format's own rate, None
    where it has none (event logs). cuts: stretches (from, until) in between that are no play and are left out. unknown:
    counts of what the file holds and we have no name for.
    """

    game: str
    fps: float | None
    start_ns: int
    end_ns: int
    frames: Callable[[], Iterator[TimedFrame]]
    events: Callable[[], Iterable[Event]]
    bindings: Bindings
    license: str
    demonstrator: str = "human"
    consent: str = "see source"
    extra: Mapping[str, JsonScalar] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    cuts: Sequence[tuple[int, int]] = ()


class Importer(Protocol):
    """A public format. Stateless and picklable: it is sent to worker processes."""

    name: str  # as in `gi ingest NAME`
    summary: str  # one line: what it is and who publishes it
    offset: str  # how its labels lie in time against its frames, and what the importer does about it

    def find(self, source: Path) -> Sequence[Found]:
        """Recordings under `source`, in a fixed order, without reading them. Raises CorpusError if there is none."""

    def read(self, found: Found) -> SourceRecording:
        """Open one. Raises ClipError naming it, what was got, and what the format demands."""
