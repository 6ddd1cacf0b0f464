"""`clip_signals`: all that curation wants to know of a clip, measured once, by decoding it at a small size.

A pure function of bytes on disk, given and giving plain values, so that processes (or a cluster) can share the work.
Labels become flags and stretches of held controls, from which the index row of any stretch follows without the labels.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gi_data.curation.perceptual_hash import hash_pictures, shrink
from gi_data.index import check_digest
from gi_data.inputs_table import LabelColumns
from gi_data.storage import locate, read_range, resolve
from gi_data.video import decode_planes
from gi_model.actions.columns import MOUSE_COLUMNS

VERSION = "1"  # of what is measured: signals of another version are measured again
KNOWN, NULL, CURSOR, POINTING, CHANGED = (np.uint8(1 << bit) for bit in range(5))
_CHUNK = 300  # frames decoded at a time: ten groups of pictures
_BLACK, _WHITE = 16, 235  # of video's limited range

SCHEMA: Final = pa.schema(
    [
        pa.field("video_sha256", pa.string()),
        pa.field("inputs_sha256", pa.string()),
        pa.field("first_ns", pa.int64()),
        pa.field("last_ns", pa.int64()),
        pa.field("brightness", pa.list_(pa.uint8())),
        pa.field("difference", pa.list_(pa.float32())),
        pa.field("flags", pa.list_(pa.uint8())),
        pa.field("motion", pa.list_(pa.int32())),
        pa.field("hashes", pa.list_(pa.uint64())),
        pa.field("held", pa.list_(pa.uint8())),
        pa.field("held_first", pa.list_(pa.int32())),
        pa.field("held_ticks", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True, slots=True)
class StoredClip:
    """Where a clip lies, and how its pictures are hashed: one in `hash_ticks`."""

    directory: str
    shard: str
    key: str
    height: int
    width: int
    video: tuple[int, int, str]  # offset, size, sha256
    inputs: tuple[int, int, str]
    hash_ticks: int

    def read(self, place: tuple[int, int, str], what: str) -> bytes:
        """The bytes of a member. Raises ClipError if they are not those that were written."""
        offset, size, sha256 = place
        content = read_range(resolve(locate(self.directory), self.shard), offset, size)
        check_digest(content, sha256, f"{what} of clip {self.key} in {self.shard}")
        return content


def clip_signals(clip: StoredClip) -> dict[str, Any]:
    """A row of `SCHEMA`. Raises ClipError if the clip is damaged."""
    labels = LabelColumns.from_parquet(clip.read(clip.inputs, "labels"), clip.key)
    small = _small_pictures(clip, len(labels.t_ns))
    starts, ticks, controls = _held_runs(labels.inputs.held)
    return {
        "video_sha256": clip.video[2],
        "inputs_sha256": clip.inputs[2],
        "first_ns": int(labels.t_ns[0]),
        "last_ns": int(labels.t_ns[-1]),
        "brightness": _brightness(small),
        "difference": _difference(small),
        "flags": _flags(labels),
        "motion": np.abs(labels.inputs.motion).sum(axis=1).clip(max=2**31 - 1).astype(np.int32),
        "hashes": hash_pictures(small[:: clip.hash_ticks]),
        "held": controls.astype(np.uint8),
        "held_first": starts.astype(np.int32),
        "held_ticks": ticks.astype(np.int32),
    }


def _small_pictures(clip: StoredClip, num_ticks: int) -> NDArray[np.float32]:
    """Grey levels (T, 36, 64): brightness alone, so no colour is converted."""
    video = clip.read(clip.video, "video")
    buffer = np.empty((min(_CHUNK, num_ticks), clip.height * 3 // 2, clip.width), dtype=np.uint8)
    chunks = []
    for first in range(0, num_ticks, _CHUNK):
        planes = buffer[: num_ticks - first]
        decode_planes(video, clip.key, [(first, planes)])
        chunks.append(shrink(planes[:, : clip.height]))
    return np.concatenate(chunks)


def _brightness(small: NDArray[np.float32]) -> NDArray[np.uint8]:
    levels = (small.mean(axis=(1, 2)) - _BLACK) * (255 / (_WHITE - _BLACK))
    rounded: NDArray[np.uint8] = levels.round().clip(0, 255).astype(np.uint8)
    return rounded


def _difference(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean change of a grey level since the tick before; the first tick has that of the second."""
    if len(small) < 2:
        return np.zeros(len(small), dtype=np.float32)
    change = np.abs(np.diff(small, axis=0)).mean(axis=(1, 2))
    return np.concatenate([change[:1], change]).astype(np.float32)


def _flags(labels: LabelColumns) -> NDArray[np.uint8]:
    inputs = labels.inputs
    edges = _changes(inputs.held)
    cursor_moved = (_changes(inputs.cursor) | _changes(inputs.has_cursor[:, None])) & inputs.has_cursor
    moved = (inputs.motion != 0).any(axis=1)
    clicked = _changes(inputs.held[:, MOUSE_COLUMNS])
    wheel = (inputs.wheel != 0).any(axis=1)
    flags = labels.known * KNOWN
    flags |= inputs.is_null * NULL
    flags |= inputs.has_cursor * CURSOR
    flags |= (cursor_moved | moved | clicked) * POINTING
    adjusted = _changes(inputs.axes) | _changes(np.nan_to_num(inputs.commands))
    flags |= (edges | cursor_moved | moved | wheel | adjusted) * CHANGED
    return flags.astype(np.uint8)


def _changes(columns: NDArray[Any]) -> NDArray[np.bool_]:
    """bool (T,): another row than the one before; False for the first, whose past lies in another clip."""
    changed: NDArray[np.bool_] = (np.diff(columns, axis=0, prepend=columns[:1]) != 0).any(axis=1)
    return changed


def _held_runs(held: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First tick, length, and control of every stretch of ticks in which one control stays down."""
    steps = np.diff(np.pad(held.astype(np.int8), ((1, 1), (0, 0))), axis=0).T  # (C, T + 1)
    controls, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return starts, ends - starts, controls
