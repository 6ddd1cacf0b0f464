"""`decode_clip`: a clip of a corpus in memory; `ClipLoader`: the same in the form that windows are cut from."""

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gi_data.corpus import Corpus
from gi_data.video import decode
from gi_model.actions import ActionSpace, Bindings, InputState
from gi_model.clip import Clip


@dataclass(frozen=True)
class DecodedClip:
    """What windows are cut from: frames uint8 (T, 3, H, W); actions int16 (T, K); known bool (T,)."""

    key: str
    frames: NDArray[np.uint8]
    actions: NDArray[np.int16]
    known: NDArray[np.bool_]


def decode_clip(corpus: Corpus, clip_id: int, *, height: int, width: int) -> Clip:
    """Read a clip with its frames at the given size. Raises ClipError if it is damaged."""
    row = corpus.row(clip_id)
    labels = corpus.read_labels(row)
    video = corpus.read_video(row)
    ticks = slice(row.first_tick, row.first_tick + row.num_ticks)
    return Clip(
        key=row.key,
        frames=decode(video, row.key, num_frames=ticks.stop, height=height, width=width)[ticks],
        inputs=labels.inputs[ticks],
        t_ns=labels.t_ns[ticks],
        known=labels.known[ticks],
        game=row.game,
        source=row.source,
        license=row.license,
        bindings=Bindings.from_dict(json.loads(row.bindings)),
    )


class ClipLoader:
    """Loads clips of `corpus` for a model of this frame size and action space. Safe to call from many threads."""

    def __init__(self, corpus: Corpus, action_space: ActionSpace, *, height: int, width: int) -> None:
        self.corpus, self.height, self.width = corpus, height, width
        self._space = action_space
        self._lost: dict[int, Counter[str]] = {}

    @property
    def lost(self) -> Counter[str]:
        """What the action space could not express, by name; each clip counts once however often it is loaded."""
        return sum(list(self._lost.values()), Counter[str]())

    def size_of(self, clip_id: int) -> int:
        """Bytes of the loaded clip."""
        return int(self.corpus.num_ticks[clip_id]) * (3 * self.height * self.width + 2 * self._space.num_tokens)

    def load(self, clip_id: int) -> DecodedClip:
        """Read, decode, and encode a clip. Raises ClipError if it is damaged."""
        clip = decode_clip(self.corpus, clip_id, height=self.height, width=self.width)
        frames = np.ascontiguousarray(clip.frames.transpose(0, 3, 1, 2))
        return DecodedClip(clip.key, frames, self._encode(clip_id, clip.inputs), clip.known)

    def _encode(self, clip_id: int, states: tuple[InputState, ...]) -> NDArray[np.int16]:
        lost: Counter[str] = Counter()
        actions = self._space.encode_all(states, lost).astype(np.int16)
        self._lost[clip_id] = +lost  # without the zeros
        return actions
