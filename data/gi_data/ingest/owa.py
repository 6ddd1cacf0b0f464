"""OWAMcap: desktop recordings of open-world-agents (`ocap`): an MCAP container of inputs, a Matroska video beside it.

Versions 0.3.0 to 0.6 are read alike (`owa_fields.py`, `owa_desktop.py` know what drifted). Nothing of windows is kept
but where they lay: their titles name what a person read and wrote.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final

from gi_data.ingest.default_bindings import KEYBOARD_MOUSE
from gi_data.ingest.events import Event
from gi_data.ingest.owa_container import messages
from gi_data.ingest.owa_desktop import Desktop, survey
from gi_data.ingest.owa_inputs import tell
from gi_data.ingest.owa_screens import Screens
from gi_data.ingest.recording_ids import recording_ids
from gi_data.ingest.source import Found, SourceRecording
from gi_model.errors import CorpusError

GAME: Final = "desktop"
STILL_NS: Final = 1_000_000_000  # after its last message the screen may stand still so long


class OwaImporter:
    """Reads what `ocap` and its forerunners wrote."""

    name: ClassVar = "owa"
    summary: ClassVar = "OWAMcap 0.3 to 0.6 (open-world-agents): .mcap beside .mkv, any desktop game, event log"
    offset: ClassVar = "inputs and screen messages share a clock; a picture counts from its message on, nothing shifted"

    def find(self, source: Path) -> Sequence[Found]:
        """Containers (.mcap) anywhere below `source`. Raises CorpusError if there is none."""
        paths = [source] if source.is_file() else sorted(source.rglob("*.mcap"))
        paths = [path for path in paths if path.suffix == ".mcap" and path.is_file()]
        if not paths:
            raise CorpusError("no OWAMcap recordings", got=source, expected="NAME.mcap beside its video")
        ids = recording_ids([path.stem for path in paths], paths, source)
        return [Found(name, path, _num_bytes(path)) for name, path in zip(ids, paths, strict=True)]

    def read(self, found: Found) -> SourceRecording:
        """Survey one recording. Raises ClipError."""
        screens, unknown = Screens(found.path.parent), Counter[str]()
        desktop = survey(messages(found.path), screens)
        if screens.num_embedded:
            unknown["embedded picture"] = screens.num_embedded

        def events() -> Iterator[Event]:
            return _told(found.path, desktop, unknown)

        return SourceRecording(
            game=GAME,
            fps=None,
            start_ns=max(screens.first_ns, desktop.first_ns),
            end_ns=min(screens.last_ns + STILL_NS, desktop.last_ns),
            frames=screens.frames,
            events=events,
            bindings=KEYBOARD_MOUSE,
            license="see source",
            unknown=unknown,
        )


def _told(path: Path, desktop: Desktop, unknown: Counter[str]) -> Iterator[Event]:
    """The events; what was unknown is counted once, however often they are told."""
    counts = Counter[str]()
    yield from tell(messages(path), desktop, counts)
    unknown.update({name: count - unknown[name] for name, count in counts.items()})


def _num_bytes(path: Path) -> int:
    video = path.with_suffix(".mkv")
    return path.stat().st_size + (video.stat().st_size if video.is_file() else 0)
