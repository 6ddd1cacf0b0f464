"""`record_window`: a person plays any game in its window, and the play is recorded as it happens, or just after.

A tick's frame is what the window showed at its start, its label what was held until the next. Only bound controls are
kept, and nothing at all while another window has the focus: what is typed there is nobody's business. What the desktop
draws over the game (a notification) is in the picture. With `last_s` nothing reaches the disk until the save key (or
SIGUSR1) asks for the last seconds: the best clips are known only afterwards.
"""

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from gi_data.desktop.person import Person
from gi_data.desktop.protocol import Desktop
from gi_data.desktop.replay_buffer import PlayedTick, ReplayBuffer, write
from gi_data.desktop.window_game import WindowPlan
from gi_data.ingest.default_bindings import KEYBOARD_MOUSE
from gi_data.metadata import RecordingInfo
from gi_data.record_jobs import locked
from gi_data.recording import RecordingWriter
from gi_data.recovery import recover
from gi_model.errors import GameError
from gi_model.frames import resize

CONSENT: Final = "given: the player started the recorder"
SAVE_KEY: Final = "F9"
_LATE_SHARE: Final = 0.5  # of a tick: a picture taken later than that shows what its label has done


@dataclass
class WindowTally:
    """What was recorded so far. is_paused: the window has not the focus."""

    ticks: int = 0
    saved: list[str] = field(default_factory=list)  # ids of recordings
    late: int = 0
    is_paused: bool = False
    ended: str = ""  # why, if not by the player


@dataclass(frozen=True)
class WindowRecording:
    """Where to, by whom. last_s: keep so many seconds in memory, and save them on `save_key`; None: record all."""

    plan: WindowPlan
    out: Path
    license: str = "LicenseRef-game"
    last_s: float | None = None
    save_key: str = SAVE_KEY


def record_window(
    recording: WindowRecording,
    desktop: Desktop,
    *,
    stop: threading.Event,
    on_change: Callable[[WindowTally], None] = lambda _: None,
) -> WindowTally:
    """Record until `stop` is set or the window closes. Raises GameError without it, CorpusError if the disk refuses."""
    recording.out.mkdir(parents=True, exist_ok=True)
    with locked(recording.out):
        recover(recording.out)
        return _Recorder(recording, desktop, on_change).run(stop)


class _Recorder:
    def __init__(self, recording: WindowRecording, desktop: Desktop, on_change: Callable[[WindowTally], None]) -> None:
        self._recording, self._plan, self._on_change = recording, recording.plan, on_change
        self._bindings = self._plan.bindings or KEYBOARD_MOUSE
        self._window = desktop.find(self._plan.title)
        self._size = (self._plan.height, self._plan.width_of(self._window.grab()))
        self._wanted = threading.Event()  # a save
        self._ear = desktop.listen(self._heard)
        self.tally = WindowTally()

    def run(self, stop: threading.Event) -> WindowTally:
        try:
            if self._recording.last_s is None:
                self._record_all(stop)
            else:
                self._record_last(stop, ReplayBuffer(max(1, round(self._recording.last_s * self._plan.fps))))
        finally:
            self._ear.close()
        return self.tally

    def _record_all(self, stop: threading.Event) -> None:
        writer: RecordingWriter | None = None
        try:
            for tick in self._ticks(stop):
                writer = writer or self._open_writer()
                write(writer, tick)
        except BaseException:
            if writer is not None:
                writer.abandon()
            raise
        if writer is not None:
            writer.finish()

    def _record_last(self, stop: threading.Event, buffer: ReplayBuffer) -> None:
        with _signal_sets(self._wanted):
            for tick in self._ticks(stop):
                buffer.append(tick)
                if self._wanted.is_set():
                    self._wanted.clear()
                    buffer.save(self._open_writer)

    def _ticks(self, stop: threading.Event) -> Iterator[PlayedTick]:
        """Ticks while the window has the focus; they end with the window, or `stop`."""
        try:
            yield from self._watch(stop)
        except GameError as error:
            self.tally.ended = str(error)

    def _watch(self, stop: threading.Event) -> Iterator[PlayedTick]:
        person, began_ns, period_ns = Person(self._ear), time.monotonic_ns(), round(1e9 / self._plan.fps)
        number, is_cut = 0, True
        while not stop.is_set():
            due_ns = began_ns + number * period_ns
            frame = self._window.grab() if self._window.is_focused else None
            known = time.monotonic_ns() - due_ns < _LATE_SHARE * period_ns
            stop.wait(max(0.0, (due_ns + period_ns - time.monotonic_ns()) / 1e9))
            state = person.state_until(due_ns + period_ns)
            num_missed = max(0, (time.monotonic_ns() - due_ns) // period_ns - 1)  # by a machine that was busy
            is_kept = frame is not None and self._window.is_focused
            self.tally.is_paused = not is_kept
            if frame is not None and is_kept:
                self.tally.ticks, self.tally.late = self.tally.ticks + 1, self.tally.late + (not known)
                small = resize(frame, *self._size)
                yield PlayedTick(small, self._bindings.restrict(state), due_ns - began_ns, known, is_cut)
            is_cut = not is_kept or num_missed > 0
            number += 1 + num_missed
            if num_missed:
                person.state_until(began_ns + number * period_ns)  # what was done in missed ticks is in none
            self._on_change(self.tally)

    def _heard(self, control: str) -> None:
        if control == self._recording.save_key:
            self._wanted.set()

    def _open_writer(self) -> RecordingWriter:
        recording_id = next_id(self._recording.out, self._plan.game)
        self.tally.saved.append(recording_id)
        info = RecordingInfo(
            game=self._plan.game,
            fps=self._plan.fps,
            bindings=self._bindings,
            demonstrator="human",
            seed=0,
            source="gi record --window",
            license=self._recording.license,
            consent=CONSENT,
            height=self._size[0],
            width=self._size[1],
        )
        return RecordingWriter(self._recording.out, recording_id, info)


def next_id(folder: Path, game: str) -> str:
    """The first free name for a recording of `game` by a person."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", f"{game} human").strip("-")[:100]
    numbers = (re.match(r".*-(\d{6})-\d{4}\.", path.name) for path in folder.glob(f"{stem}-*"))
    taken = {int(number[1]) for number in numbers if number}
    return f"{stem}-{max(taken, default=-1) + 1:06d}"


@contextmanager
def _signal_sets(wanted: threading.Event) -> Iterator[None]:
    """SIGUSR1 asks for a save, from scripts and from games that can run a command; in the main thread only."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGUSR1"):
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        wanted.set()

    before = signal.signal(signal.SIGUSR1, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
