"""`RecordingWriter`: what a screen recorder produces: video encoded as it is played, and the input state of every tick.

A recording is a row of parts of `clip_ticks` ticks, each in files of its own (`gi_data.parts`). Whatever kills the
recorder, finished parts are intact and the open one keeps all but its last second or two (`gi_data.recovery`). Controls
that the game does not use are never stored.
"""

from pathlib import Path
from types import TracebackType
from typing import Self

from gi_data.inputs_table import line
from gi_data.metadata import ClipMetadata, JsonScalar, RecordingInfo, check_recording_id, clip_key
from gi_data.parts import OpenPart, PartPaths, end_recording
from gi_model.actions import InputState
from gi_model.errors import CorpusError, FrameError
from gi_model.frames import Frame, check_frame

__all__ = ["JsonScalar", "RecordingInfo", "RecordingWriter", "is_finished"]


class RecordingWriter:
    """Writes one recording into `directory`; a context manager that finishes it unless an error passes through.

    keep_unbound: also store controls that the game does not use, which may spell what a player typed.
    """

    def __init__(
        self,
        directory: Path,
        recording_id: str,
        info: RecordingInfo,
        *,
        clip_ticks: int = 350,
        keep_unbound: bool = False,
    ) -> None:
        if clip_ticks < 1:
            raise CorpusError("a clip needs at least one tick", got=clip_ticks)
        self._directory, self._recording_id = directory, check_recording_id(recording_id)
        self._info, self._clip_ticks, self._keep_unbound = info, clip_ticks, keep_unbound
        self._finished: list[ClipMetadata] = []
        self._part: OpenPart | None = None
        self._last_ns: int | None = None
        self._closed = False
        directory.mkdir(parents=True, exist_ok=True)
        if taken := sorted(directory.glob(f"{recording_id}-[0-9][0-9][0-9][0-9].*")):
            do = "Choose another id, or run gi_data.recovery.recover on the directory first."
            raise CorpusError(f"recording {recording_id} exists", got=taken[0].name, do=do)

    def append(self, frame: Frame, state: InputState, *, t_ns: int, known: bool = True) -> None:
        """Add one tick: uint8 (H, W, 3) and what was held after it was seen. Raises CorpusError or FrameError."""
        self._check(frame, t_ns)
        if self._part is None:
            self._part = OpenPart(self._directory, self._metadata(part=len(self._finished), t0_ns=t_ns))
        kept = state if self._keep_unbound else self._info.bindings.restrict(state)
        self._part.append(frame, line(kept, t_ns=t_ns, known=known))
        self._last_ns = t_ns
        if self._part.num_ticks == self._clip_ticks:
            self._finish_part()

    def cut(self) -> None:
        """End the open part, if any: what comes next does not follow what was last appended."""
        self._finish_part()

    def finish(self, *, score: float | None = None) -> None:
        """End the recording and say what it scored. Raises CorpusError if it holds no tick or the disk refuses."""
        if self._closed:
            return
        self._finish_part()
        self._closed = True
        if not self._finished:
            raise CorpusError(f"recording {self._recording_id} has no ticks", do="Append at least one frame.")
        end_recording(self._directory, self._finished, score=score)

    def abandon(self) -> None:
        """Stop without finishing: the open part stays on disk for recovery."""
        self._closed = True
        if self._part is not None:
            self._part.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.finish()
        else:
            self.abandon()

    def _finish_part(self) -> None:
        if self._part is not None:
            self._finished.append(self._part.finish())
            self._part = None

    def _check(self, frame: Frame, t_ns: int) -> None:
        if self._closed:
            raise CorpusError(f"recording {self._recording_id} is finished", do="Start another one.")
        size = (self._info.height, self._info.width)
        if check_frame(frame).shape[:2] != size:
            raise FrameError(
                "frame of another size", got=frame.shape[:2], expected=(self._info.height, self._info.width)
            )
        if self._last_ns is not None and t_ns <= self._last_ns:
            raise CorpusError("time does not rise", got=f"{t_ns} after {self._last_ns}", do="Use a monotonic clock.")

    def _metadata(self, *, part: int, t0_ns: int) -> ClipMetadata:
        return ClipMetadata(self._info, self._recording_id, part, num_ticks=0, t0_ns=t0_ns, sha256={})


def is_finished(directory: Path, recording_id: str) -> bool:
    """Whether `finish` (or recovery) ended this recording; its parts may then be sharded."""
    paths = PartPaths(directory, clip_key(recording_id, 0))
    if not paths.metadata.exists():
        return False
    return ClipMetadata.from_json(paths.metadata.read_bytes(), paths.key).num_parts is not None
