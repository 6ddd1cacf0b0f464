"""`decode_clip`: a clip of a corpus in memory; `ClipLoader`: the same in the form that windows are cut from."""

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gi_data.blend import Blend
from gi_data.buffers import BufferPool
from gi_data.corpus import Corpus
from gi_data.index import IndexRow
from gi_data.video import decode, decode_planes
from gi_model.actions import ActionSpace, Bindings, InputColumns
from gi_model.clip import Clip


@dataclass(frozen=True)
class DecodedClip:
    """What windows are cut from: T ticks from tick `first_tick` of the stored clip."""

    key: str
    first_tick: int
    frames: NDArray[np.uint8]  # (T, 3, H, W) RGB, or planes (T, H * 3 / 2, W)
    actions: NDArray[np.int16]  # (T, K)
    known: NDArray[np.bool_]  # (T,)


def decode_clip(corpus: Corpus | Blend, clip_id: int, *, height: int, width: int) -> Clip:
    """Read a clip with its frames at the given size. Raises ClipError if it is damaged."""
    row = corpus.row(clip_id)
    labels = corpus.read_labels(row)
    ticks = _ticks(row)
    return Clip(
        key=row.key,
        frames=decode(corpus.read_video(row), row.key, frames=ticks, height=height, width=width),
        inputs=labels.inputs[ticks.start : ticks.stop],
        t_ns=labels.t_ns[ticks.start : ticks.stop],
        known=labels.known[ticks.start : ticks.stop],
        game=row.game,
        source=row.source,
        license=row.license,
        bindings=Bindings.from_dict(json.loads(row.bindings)),
    )


class ClipLoader:
    """Loads clips of `corpus` for a model of this frame size and action space. Safe to call from many threads.

    `is_planes`: frames are planes; only for a corpus whose every clip is stored at the model's size.
    """

    def __init__(
        self, corpus: Corpus | Blend, action_space: ActionSpace, *, height: int, width: int, is_planes: bool = False
    ) -> None:
        self.corpus, self.height, self.width, self.is_planes = corpus, height, width, is_planes
        self._space = action_space
        self._buffers = BufferPool(max_free=4)
        self._lost: dict[int, Counter[str]] = {}

    @property
    def lost(self) -> Counter[str]:
        """What the action space could not express, by name; each clip counts once however often it is loaded."""
        return sum(list(self._lost.values()), Counter[str]())

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame."""
        return (self.height * 3 // 2, self.width) if self.is_planes else (3, self.height, self.width)

    def size_of(self, clip_id: int) -> int:
        """Bytes of the loaded clip."""
        frame = int(np.prod(self.frame_shape))
        return int(self.corpus.num_ticks[clip_id]) * (frame + 2 * self._space.num_tokens)

    def load(self, clip_id: int) -> DecodedClip:
        """Read, decode, and encode a clip. Raises ClipError if it is damaged."""
        row = self.corpus.row(clip_id)
        ticks = _ticks(row)
        labels = self.corpus.read_label_columns(row)[ticks.start : ticks.stop]
        frames = self._decode(self.corpus.read_video(row), row.key, ticks)
        return DecodedClip(row.key, row.first_tick, frames, self._encode(clip_id, labels.inputs), labels.known)

    def _decode(self, video: bytes, key: str, ticks: range) -> NDArray[np.uint8]:
        if self.is_planes:
            out = self._buffers.take((len(ticks), *self.frame_shape))
            return decode_planes(video, key, frames=ticks, out=out)
        rgb = decode(video, key, frames=ticks, height=self.height, width=self.width)
        return np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))

    def _encode(self, clip_id: int, inputs: InputColumns) -> NDArray[np.int16]:
        lost: Counter[str] = Counter()
        actions = self._space.encode_columns(inputs, lost).astype(np.int16)
        self._lost[clip_id] = +lost  # without the zeros
        return actions


def _ticks(row: IndexRow) -> range:
    """Ticks of the stored clip that the row is of."""
    return range(row.first_tick, row.first_tick + row.num_ticks)
