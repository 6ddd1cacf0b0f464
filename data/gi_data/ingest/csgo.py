"""CS:GO death matches by Pearce and Zhu (arXiv 2104.04258): HDF5 files of 1,000 frames, 16 a second, with actions.

Actions were inferred from the game's memory, by the authors. Their recorder reads memory, then takes the picture that
it files under the next number: so the turn of frame i, the difference of the memories i and i - 1, happened while that
picture was on the screen. The published loaders pair x and y of one number, and so do we. Half of a file's keys have an
offset of their own (crouching, weapons: inferred up to two ticks early or late), which cannot be undone.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from math import degrees
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from gi_data.ingest.archives import Place, check_archive, is_archive, members, reach
from gi_data.ingest.csgo_actions import decode
from gi_data.ingest.csgo_file import FPS, CsgoFile
from gi_data.ingest.events import state_events
from gi_data.ingest.recording_ids import recording_ids
from gi_data.ingest.source import Found, SourceRecording
from gi_data.ingest.timeline import TimedFrame
from gi_model.actions import AxisBinding, Bindings
from gi_model.errors import ClipError, CorpusError

_TICK_NS: Final = 10**9 // FPS  # 62.5 ms, exactly
_DEGREES: Final = degrees(0.00096)  # of the view, for each count: the authors' constant, at their sensitivity
_SUFFIXES: Final = (".hdf5", ".h5")
LICENSE: Final = "research only, no commercial use (TeaPearce/Counter-Strike_Behavioural_Cloning)"

BINDINGS: Final = Bindings(
    {
        "move_forward": "KeyW",
        "move_left": "KeyA",
        "move_back": "KeyS",
        "move_right": "KeyD",
        "jump": "Space",
        "crouch": "ControlLeft",
        "walk": "ShiftLeft",
        "primary_weapon": "Digit1",
        "pistol": "Digit2",
        "knife": "Digit3",
        "reload": "KeyR",
        "attack": "MouseLeft",
        "scope": "MouseRight",
    },
    {"turn": AxisBinding("motion.x", _DEGREES), "look": AxisBinding("motion.y", _DEGREES)},
)


class CsgoImporter:
    """Reads the HDF5 files of the CS:GO behavioural-cloning data set."""

    name: ClassVar = "csgo"
    summary: ClassVar = "CS:GO death matches (Pearce & Zhu): HDF5, 150x280, 16 ticks a second, actions inferred"
    offset: ClassVar = "frame_I_y happened while frame_I_x was on the screen; nothing is shifted"

    def find(self, source: Path) -> Sequence[Found]:
        """HDF5 files below `source`, loose or in the .tar files they are published in. Raises CorpusError if none."""
        paths = [source] if source.is_file() else sorted(source.rglob("*"))
        spots = [spot for path in paths if path.is_file() for spot in _spots(path)]
        if not spots:
            raise CorpusError("no CS:GO files", got=source, expected="*.hdf5, or *.tar with such")
        ids = recording_ids([path.stem for path, _ in spots], [path for path, _ in spots], source)
        return [Found(name, path, size) for name, (path, size) in zip(ids, spots, strict=True)]

    def read(self, found: Found) -> SourceRecording:
        """Check all frames' headers and read the actions; pictures are read when asked for. Raises ClipError."""
        check_archive(found.path)
        place = reach(found.path.parent, (found.path.name,), enough=(found.path.name,))
        file = CsgoFile(place.folder / found.path.name)
        states = decode(file.read_actions())
        end_ns = len(states) * _TICK_NS
        rows = [(number * _TICK_NS, state, known) for number, (state, known) in enumerate(states)]
        num_unknown = sum(not known for _, known in states)
        return SourceRecording(
            game="csgo",
            fps=float(FPS),
            start_ns=0,
            end_ns=end_ns,
            frames=partial(_frames, file, place),
            events=partial(state_events, rows, end_ns=end_ns),
            bindings=BINDINGS,
            license=LICENSE,
            consent="recorded as a spectator on public servers, or by the authors: see source",
            extra={"labels": "inferred from the game's memory"},
            unknown=Counter({"vector that is no action": num_unknown} if num_unknown else {}),
        )


def _spots(path: Path) -> Iterator[tuple[Path, int]]:
    """Path and size of each HDF5 file that `path` is or packs; of a damaged archive itself, too."""
    if path.suffix in _SUFFIXES:
        yield path, path.stat().st_size
    elif is_archive(path):
        try:
            for member in members(path):
                if member.name.endswith(_SUFFIXES):
                    yield path / member.name, member.size
        except ClipError:
            yield path, path.stat().st_size


def _frames(file: CsgoFile, _place: Place) -> Iterator[TimedFrame]:
    """Frames in order; the place is held on to, for it goes when nobody does."""
    for number, picture in enumerate(file.pictures()):
        yield TimedFrame(number * _TICK_NS, partial(np.asarray, picture))
