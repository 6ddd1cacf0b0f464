"""`decode_clip`: a clip of a corpus in memory; `ClipLoader`: the same in the form that windows are cut from."""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gi_data.blend import Blend
from gi_data.corpus import Corpus
from gi_data.decoders import Decoders
from gi_data.index import IndexRow
from gi_data.inputs_table import LabelColumns
from gi_data.video import decode, decode_planes
from gi_model.actions import ActionSpace, Bindings
from gi_model.clip import Clip
from gi_model.errors import ClipError

MAX_KEPT_BYTES = 64_000_000  # of labels: 30 hours of play at 20 Hz, or 6 of a body with 32 direct actuators

Target = tuple[int, NDArray[np.uint8]]  # a first tick, and where the frames (T, ...) from there on belong


@dataclass(frozen=True)
class DecodedClip:
    """What windows are cut from: T ticks from tick `first_tick` of the stored clip."""

    key: str
    first_tick: int
    frames: NDArray[np.uint8] | None  # (T, 3, H, W) RGB, or planes (T, H * 3 / 2, W); None: they are in their targets
    actions: NDArray[np.int16]  # (T, K)
    known: NDArray[np.bool_]  # (T,)
    num_decoded: int  # frames
    commands: NDArray[np.float32] | None  # (T, A), NaN in ticks without; None: not asked for


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

    `is_planes`: frames are planes; only for a corpus whose every clip is stored at the model's size. `num_commands`: of
    the direct actuators of the body that every clip is of; 0: none are read.
    """

    def __init__(
        self,
        corpus: Corpus | Blend,
        action_space: ActionSpace,
        *,
        height: int,
        width: int,
        is_planes: bool = False,
        num_commands: int = 0,
    ) -> None:
        self.corpus, self.height, self.width, self.is_planes = corpus, height, width, is_planes
        self._space, self._num_commands = action_space, num_commands
        self._decoders = Decoders()
        self._lost: dict[int, Counter[str]] = {}
        self._kept: dict[int, _EncodedLabels] = {}
        self._num_kept_bytes = 0

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
        return int(self.corpus.num_ticks[clip_id]) * (frame + 2 * self._space.num_tokens + 4 * self._num_commands)

    def load(self, clip_id: int) -> DecodedClip:
        """Read, decode, and encode a clip. Raises ClipError if it is damaged."""
        frames = np.empty((int(self.corpus.num_ticks[clip_id]), *self.frame_shape), dtype=np.uint8)
        return dataclasses.replace(self.load_into(clip_id, [(0, frames)]), frames=frames)

    def load_into(self, clip_id: int, targets: Sequence[Target]) -> DecodedClip:
        """`load`, but write frames straight to where they belong, and decode no more than that. Raises ClipError."""
        labels = self._labels(clip_id)
        row = labels.row
        stored = [(row.first_tick + start, frames) for start, frames in targets]
        needed = range(min(start for start, _ in stored), max(start + len(frames) for start, frames in stored))
        video = self.corpus.read_video(row)
        if self.is_planes:
            decode_planes(video, row.key, stored, decoders=self._decoders)
        else:
            rgb = decode(video, row.key, frames=needed, height=self.height, width=self.width)
            for start, frames in stored:
                frames[:] = rgb[start - needed.start :][: len(frames)].transpose(0, 3, 1, 2)
        return DecodedClip(
            row.key, row.first_tick, None, labels.actions, labels.known, len(needed), commands=labels.commands
        )

    def _labels(self, clip_id: int) -> "_EncodedLabels":
        """Read and encode, or what of it is kept: a hundredth of a frame's bytes, asked for in every epoch."""
        if (kept := self._kept.get(clip_id)) is not None:
            return kept
        row = self.corpus.row(clip_id)
        labels = self.corpus.read_label_columns(row)[row.first_tick : row.first_tick + row.num_ticks]
        lost: Counter[str] = Counter()
        actions = self._space.encode_columns(labels.inputs, lost).astype(np.int16)
        self._lost[clip_id] = +lost  # without the zeros
        encoded = _EncodedLabels(row, actions, labels.known, self._commands(labels, row.key))
        if self._num_kept_bytes + encoded.num_bytes <= MAX_KEPT_BYTES:  # else the first to come stay
            self._num_kept_bytes += encoded.num_bytes
            self._kept[clip_id] = encoded
        return encoded

    def _commands(self, labels: LabelColumns, key: str) -> NDArray[np.float32] | None:
        """float32 (T, A) of a clip's labels; None: not asked for. Raises ClipError if it has another number of them."""
        if not self._num_commands:
            return None
        commands, size = labels.inputs.commands, (len(labels.known), self._num_commands)
        if not commands.shape[1] and not labels.known.any():  # labels were taken away, or never there
            return np.full(size, np.nan, np.float32)
        if commands.shape != size:
            what, do = f"clip {key} is of another body", "Leave it out, or record it with the body to be driven."
            expected = f"{self._num_commands}, one for each direct actuator"
            raise ClipError(what, got=f"{commands.shape[1]} commands a tick", expected=expected, do=do)
        return commands.astype(np.float32)


@dataclass(frozen=True)
class _EncodedLabels:
    """Labels of a clip in the form that training wants, and where its video lies."""

    row: IndexRow
    actions: NDArray[np.int16]  # (T, K)
    known: NDArray[np.bool_]  # (T,)
    commands: NDArray[np.float32] | None  # (T, A)

    @property
    def num_bytes(self) -> int:
        return self.actions.nbytes + self.known.nbytes + (0 if self.commands is None else self.commands.nbytes)


def _ticks(row: IndexRow) -> range:
    """Ticks of the stored clip that the row is of."""
    return range(row.first_tick, row.first_tick + row.num_ticks)
