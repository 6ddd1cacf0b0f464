"""VPT's contractor data: NAME.jsonl (a line for each of 20 ticks a second) beside NAME.mp4, Minecraft played by people.

Line k belongs to frame k, whatever the video's time stamps say: it holds what the player did while frame k was on the
screen, as the published loader reads it. Where one is longer, its surplus is dropped and counted. Idle ticks,
which the published loader skips, stay: a reader can filter, but what was dropped is gone.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from gi_data.ingest.cursor_mark import draw_cursor
from gi_data.ingest.events import state_events
from gi_data.ingest.limits import MAX_RECORDING_S, check_file
from gi_data.ingest.paired_video import Picture, count_pictures, paired_frames, tick_times
from gi_data.ingest.recording_ids import recording_ids
from gi_data.ingest.source import Found, SourceRecording
from gi_data.ingest.vpt_states import VptTick, read_states
from gi_model.actions import AxisBinding, Bindings
from gi_model.errors import ClipError, CorpusError
from gi_model.frames import Frame

FPS: Final = 20
_DEGREES: Final = 360 / 2400  # of the camera, for each count of the mouse
_LONGEST_LINE: Final = 2**20
_MOST_BROKEN: Final = 0.1  # of the lines; more is another format
_VERSION: Final = re.compile(r"\d{1,2}\.\d{1,2}")

BINDINGS: Final = Bindings(
    {
        "move_forward": "KeyW",
        "move_left": "KeyA",
        "move_back": "KeyS",
        "move_right": "KeyD",
        "jump": "Space",
        "sneak": "ShiftLeft",
        "sprint": "ControlLeft",
        "attack": "MouseLeft",
        "use": "MouseRight",
        "pick_item": "MouseMiddle",
        "drop": "KeyQ",
        "inventory": "KeyE",
        "swap_hands": "KeyF",
        "menu": "Escape",
        **{f"hotbar_{slot}": f"Digit{slot}" for slot in range(1, 10)},
    },
    {
        "turn": AxisBinding("motion.x", _DEGREES),
        "look": AxisBinding("motion.y", _DEGREES),
        "scroll": AxisBinding("wheel.y", 1.0, "notch"),
    },
    cursor=True,
)


class VptImporter:
    """Reads what OpenAI's recorder of Minecraft wrote."""

    name: ClassVar = "vpt"
    summary: ClassVar = "VPT contractor data (OpenAI): jsonl + mp4, Minecraft, 20 ticks a second"
    offset: ClassVar = "line k happened while frame k was on the screen; nothing is shifted"

    def find(self, source: Path) -> Sequence[Found]:
        """NAME.jsonl files that have a NAME.mp4 beside them, anywhere below `source`. Raises CorpusError if none."""
        labels = [source] if source.is_file() else sorted(source.rglob("*.jsonl"))
        labels = [path for path in labels if path.suffix == ".jsonl" and path.with_suffix(".mp4").is_file()]
        if not labels:
            raise CorpusError("no VPT recordings", got=source, expected="NAME.jsonl beside NAME.mp4")
        sizes = [path.stat().st_size + path.with_suffix(".mp4").stat().st_size for path in labels]
        ids = recording_ids([path.stem for path in labels], labels, source)
        return [Found(*fields) for fields in zip(ids, labels, sizes, strict=True)]

    def read(self, found: Found) -> SourceRecording:
        """Read the labels and count the frames. Raises ClipError."""
        video, unknown = found.path.with_suffix(".mp4"), Counter[str]()
        version = _version(found.path)
        states = list(read_states(_lines(check_file(found.path, "VPT labels")), unknown, version=version))
        num_broken = sum(not tick.known for tick in states)
        if num_broken > max(1, _MOST_BROKEN * len(states)):
            got = f"{found.path.name}: {num_broken} of {len(states)} lines cannot be read"
            raise ClipError("not VPT labels", got=got, expected="a JSON object a line, with keyboard and mouse")
        num_frames = count_pictures(video)
        ticks = states[: min(len(states), num_frames)]
        if not ticks:
            raise ClipError("VPT recording without ticks", got=f"{len(states)} lines, {num_frames} frames")
        _count_surplus(unknown, lines=len(states) - len(ticks), frames=num_frames - len(ticks))
        times_ns = tick_times(len(ticks), FPS)
        rows = [(t_ns, tick.state, tick.known) for t_ns, tick in zip(times_ns, ticks, strict=False)]
        return SourceRecording(
            game="minecraft",
            fps=float(FPS),
            start_ns=0,
            end_ns=times_ns[-1],
            frames=partial(paired_frames, video, times_ns, partial(_with_cursor, ticks)),
            events=partial(state_events, rows, end_ns=times_ns[-1]),
            bindings=BINDINGS,
            license="MIT",
            consent="paid contractors",
            extra={"recorder_version": version},
            unknown=unknown,
        )


def _version(path: Path) -> str | None:
    """The recorder's: the folder that OpenAI's index files put recordings in, as in data/6.10/NAME.jsonl."""
    names = [path.parent.name, path.parent.parent.name]
    return next((name for name in names if _VERSION.fullmatch(name)), None)


def _lines(path: Path) -> Iterator[bytes]:
    """Lines that are not empty. Raises ClipError if one is absurdly long, or there are absurdly many."""
    most, number = MAX_RECORDING_S * FPS, 0
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE + 1):
            number += 1
            if len(line) > _LONGEST_LINE or number > most:
                got = f"{path.name}: line {number} of {len(line)} bytes or more"
                raise ClipError("absurd VPT labels", got=got, expected=f"{most} lines of {_LONGEST_LINE} bytes at most")
            if line.strip():
                yield line


def _count_surplus(unknown: Counter[str], **surplus: int) -> None:
    for what, count in surplus.items():
        if count:
            unknown[f"surplus {what}"] += count


def _with_cursor(ticks: Sequence[VptTick], number: int, picture: Picture) -> Picture:
    """The recorder leaves the cursor out of the picture: without it, clicks in windows make no sense."""
    cursor = ticks[number].state.cursor
    return picture if cursor is None else partial(_marked, picture, cursor)


def _marked(picture: Picture, cursor: tuple[float, float]) -> Frame:
    return draw_cursor(picture(), cursor)
