"""`Screens`: what OWAMcap's screen messages say: which picture of which video was on the screen from when on.

The time is the message's, never the picture's time stamp: of captures that only write what changed, a picture carries
the time stamp of the moment its predecessor ended, up to half a second before what it shows happened (seen on real
files by keys and their echo). The time stamp only finds the picture. Matroska rounds it to a millisecond, so the
nearest one less than that away is meant. Videos are named by strangers: only files below the recording are opened.
"""

from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final, NamedTuple

from gi_data.ingest.limits import MAX_VIDEO_BYTES, check_file
from gi_data.ingest.owa_container import Message
from gi_data.ingest.owa_fields import Fields
from gi_data.ingest.timeline import TimedFrame
from gi_data.video import probe, read_pictures
from gi_model.errors import ClipError

KINDS: Final = frozenset({"ScreenCaptured", "ScreenEmitted"})
_PRECISION_NS: Final = 1_000_000
_PLAUSIBLE_NS: Final = 1_000_000_000  # a capture's own clock may differ so much from the recorder's
_MAX_VIDEOS: Final = 1000
_LONGEST_NAME: Final = 255  # bytes; file systems take no more
_MAX_SIDE: Final = 100_000


class Shot(NamedTuple):
    """The picture with time stamp `pts_ns` appeared at t_ns."""

    pts_ns: int
    t_ns: int


class Screens:
    """The screen messages of one recording in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._shots: dict[Path, list[Shot]] = {}
        self._paths: dict[str, Path] = {}
        self._size: tuple[int, int] | None = None
        self.first_ns = self.last_ns = 0
        self.num_embedded = 0

    def add(self, message: Message) -> None:
        """Take one message into account. Raises ClipError if it is no screen message, or names a file elsewhere."""
        fields = Fields(message.kind, message.data)
        reference = fields.inner("media_ref") if fields.has("media_ref") else fields
        if not reference.has("uri", "path") or reference.text("uri", "path").startswith("data:"):
            self.num_embedded += 1
            return
        utc_ns = fields.integer("utc_ns", default=message.t_ns)
        t_ns = utc_ns if abs(utc_ns - message.t_ns) < _PLAUSIBLE_NS else message.t_ns
        self.first_ns, self.last_ns = self.first_ns or t_ns, max(t_ns, self.last_ns)
        shot = Shot(reference.integer("pts_ns", "pts"), self.last_ns)
        self._shots.setdefault(self._path(reference.text("uri", "path")), []).append(shot)
        if self._size is None and fields.has("source_shape", "original_shape"):
            self._size = _size(fields)

    def size(self) -> tuple[int, int]:
        """Width and height of what was captured, as said by the messages or else by the video. Raises ClipError."""
        if self._size is None:
            facts = probe(check_file(next(iter(self._shots)), "video", max_bytes=MAX_VIDEO_BYTES))
            self._size = facts.width, facts.height
        return self._size

    def videos(self) -> list[Path]:
        """The videos in order. Raises ClipError if there is none, or one is missing."""
        if not self._shots:
            got = f"{self.num_embedded} embedded pictures" if self.num_embedded else "no screen messages"
            raise ClipError("recording without video", got=got, expected="screen messages that name a video beside it")
        return [check_file(path, "video", max_bytes=MAX_VIDEO_BYTES) for path in self._shots]

    def frames(self) -> Iterator[TimedFrame]:
        """Pictures in order, each from when it appeared on. Raises ClipError where a video cannot be decoded."""
        for path in self.videos():
            yield from _timed(path, sorted(set(self._shots[path])))

    def _path(self, name: str) -> Path:
        if name not in self._paths:
            if len(self._paths) == _MAX_VIDEOS:
                raise ClipError("recording of absurdly many videos", got=f"more than {_MAX_VIDEOS}")
            self._paths[name] = _inside(self._folder, name)
        return self._paths[name]


def _inside(folder: Path, name: str) -> Path:
    """The path of a file named by a stranger. Raises ClipError unless it lies in the recording's folder."""
    windows, posix = PureWindowsPath(name), PurePosixPath(name.replace("\\", "/"))
    is_elsewhere = posix.is_absolute() or bool(windows.drive) or ":" in name or ".." in posix.parts or "\0" in name
    try:
        is_elsewhere |= any(len(part.encode()) > _LONGEST_NAME for part in posix.parts)
        path = (folder / posix).resolve()
    except (OSError, ValueError, RuntimeError):
        is_elsewhere = True
    if is_elsewhere or not path.is_relative_to(folder):
        expected = "a file in the recording's folder"
        raise ClipError("recording names a video elsewhere", got=repr(name[:80]), expected=expected)
    return path


def _size(fields: Fields) -> tuple[int, int]:
    size = fields.integers("source_shape", "original_shape")
    if len(size) != 2 or not all(0 < side <= _MAX_SIDE for side in size):
        raise ClipError("a screen message has a wrong source_shape", got=size[:4], expected="width, height")
    return size[0], size[1]


def _timed(path: Path, shots: list[Shot]) -> Iterator[TimedFrame]:
    """The pictures of one video that messages speak of; shots sorted by time stamp."""
    stamps = [shot.pts_ns for shot in shots]
    for pts_ns, rgb in read_pictures(path):
        after = bisect_left(stamps, pts_ns)
        near = [index for index in (after - 1, after) if 0 <= index < len(stamps)]
        nearest = min(near, key=lambda index: abs(stamps[index] - pts_ns), default=0)
        if near and abs(stamps[nearest] - pts_ns) < _PRECISION_NS:
            yield TimedFrame(shots[nearest].t_ns, rgb)
