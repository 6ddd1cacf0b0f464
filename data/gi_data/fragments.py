"""`find_samples`: where the pictures lie in an mp4 that `VideoWriter` wrote, found without FFmpeg.

FFmpeg opens a container by probing its streams with decoders of their own, and takes every packet through its demuxer:
a fourteenth of the time that decoding takes at 192x192. Understood is what `VideoWriter` writes and no more: one track
of H.264 in fragments of one run each, in the order of display. Of any other file, or one that breaks off, nothing is
said, and FFmpeg has to read it. Rejected: offsets in the index, which every older corpus would lack.
ISO/IEC 14496-12, 8.8 (fragments); 14496-15, 5.3 (H.264).
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

_HEADER = struct.Struct(">I4s")  # of a box: its size, its kind
# moof; mfhd; traf; tfhd with its flags, and of a sample: size, flags; tfdt; trun with its flags, samples, their start
_FRAGMENT = struct.Struct(">4x4s I4s8x 4x4s I4sI8xII I4s12x I4sIII")
_LAYOUT = (b"moof", 16, b"mfhd", b"traf", 28, b"tfhd", 0x020038, 20, b"tfdt")  # kinds, sizes, and flags of tfhd
_TRUN = _FRAGMENT.size - 20  # where it begins
_OFFSET, _FIRST_FLAGS, _DURATION, _SIZE, _FLAGS = 0x1, 0x4, 0x100, 0x200, 0x400  # what a run says, in this order
_NO_KEYFRAME = 0x10000  # among a sample's flags
_ENTRY_HEADER = 78  # bytes of a video's sample entry before the boxes in it


@dataclass(frozen=True, slots=True)
class Samples:
    """Picture k is the `sizes[k]` bytes from `starts[k]` on. parameters: what a decoder needs first (avcC)."""

    parameters: bytes
    starts: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    keyframes: list[int] = field(default_factory=list)  # ascending

    def keyframe_before(self, frame: int) -> int:
        """The last keyframe at or before `frame`; 0 where there is none."""
        place = bisect_right(self.keyframes, frame)
        return self.keyframes[place - 1] if place else 0


class _OtherLayoutError(Exception):
    """The file is not as `VideoWriter` writes. Never leaves this module."""


class _Box(NamedTuple):
    """Its content is the bytes from `start` to `end`."""

    kind: bytes
    start: int
    end: int


def find_samples(video: bytes) -> Samples | None:
    """The pictures of `video` in the order of display; None: not written by `VideoWriter`, or not whole."""
    try:
        return _find(video)
    except (_OtherLayoutError, struct.error, ValueError):
        return None


def _find(video: bytes) -> Samples:
    samples: Samples | None = None
    fragment: _Box | None = None
    for box in _boxes(video, 0, len(video)):
        if box.kind == b"moov" and samples is None:
            samples = Samples(_parameters(video, box))
        elif box.kind == b"moof" and fragment is None:
            fragment = box
        elif box.kind == b"mdat" and samples is not None and fragment is not None:
            _append(samples, video, fragment, box)
            fragment = None
        elif box.kind in {b"moov", b"moof", b"mdat"}:
            raise _OtherLayoutError
    if samples is None or fragment is not None:
        raise _OtherLayoutError
    return samples


def _parameters(video: bytes, moov: _Box) -> bytes:
    """The avcC of the only sample entry of the only track, which is played as it is, without an edit list."""
    track = _children(video, _children(video, moov)[b"trak"])
    if b"edts" in track:
        raise _OtherLayoutError
    box = track[b"mdia"]
    for kind in (b"minf", b"stbl", b"stsd"):
        box = _children(video, box)[kind]
    _, num_entries = struct.unpack_from(">II", video, box.start)
    (entry,) = _boxes(video, box.start + 8, box.end)
    if num_entries != 1 or entry.kind != b"avc1":
        raise _OtherLayoutError
    config = _children(video, entry._replace(start=entry.start + _ENTRY_HEADER))[b"avcC"]
    return video[config.start : config.end]


def _append(samples: Samples, video: bytes, moof: _Box, mdat: _Box) -> None:
    """Add the pictures of a fragment, which fill its `mdat`."""
    at = moof.start - _HEADER.size
    *layout, size, flags, tfdt_size, tfdt, trun_size, trun, run, count, offset = _FRAGMENT.unpack_from(video, at)
    columns = [bit for bit in (_DURATION, _SIZE, _FLAGS) if run & bit]
    is_known = run & _OFFSET and run == run & (_OFFSET | _FIRST_FLAGS | _DURATION | _SIZE | _FLAGS)
    is_whole = (trun, at + _TRUN + trun_size) == (b"trun", moof.end) and count <= mdat.end - mdat.start
    if (*layout, tfdt_size, tfdt) != _LAYOUT or not is_known or not is_whole:
        raise _OtherLayoutError
    words = struct.unpack_from(f">{bool(run & _FIRST_FLAGS) + count * len(columns)}I", video, at + _FRAGMENT.size)
    first, words = (words[:1], words[1:]) if run & _FIRST_FLAGS else ((), words)
    sizes = words[columns.index(_SIZE) :: len(columns)] if run & _SIZE else (size,) * count
    flags_of = words[columns.index(_FLAGS) :: len(columns)] if run & _FLAGS else (flags,) * count
    ends = list(accumulate(sizes, initial=at + offset))
    if (ends[0], ends[-1]) != (mdat.start, mdat.end) or not all(sizes):
        raise _OtherLayoutError
    done = len(samples.sizes)
    flags_of = (*first, *flags_of[len(first) :])
    samples.keyframes.extend(done + index for index, flags in enumerate(flags_of) if not flags & _NO_KEYFRAME)
    samples.starts.extend(ends[:-1])
    samples.sizes.extend(sizes)


def _children(video: bytes, box: _Box) -> dict[bytes, _Box]:
    """The boxes in a box, by kind; asking for one that is not there is another layout, and so is a second one."""
    children = _Children()
    for child in _boxes(video, box.start, box.end):
        if child.kind in children:
            raise _OtherLayoutError
        children[child.kind] = child
    return children


class _Children(dict[bytes, _Box]):
    def __missing__(self, kind: bytes) -> _Box:
        raise _OtherLayoutError


def _boxes(video: bytes, start: int, end: int) -> Iterator[_Box]:
    while start < end:
        size, kind = _HEADER.unpack_from(video, start)
        if size < _HEADER.size or start + size > end:
            raise _OtherLayoutError
        yield _Box(kind, start + _HEADER.size, start + size)
        start += size
