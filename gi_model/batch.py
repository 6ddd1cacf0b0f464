"""`Batch`: windows of clips as tensors: what the reader gives and the policy learns from.

B windows, T ticks, K action tokens a tick. Frames stay uint8 until they are inside the model.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from gi_model.errors import CorpusError


class Window(NamedTuple):
    """Where a row comes from: T ticks of clip `key` from tick `start`. PADDING fills up the last batch of an epoch."""

    key: str
    start: int


PADDING = Window("", 0)


@dataclass(frozen=True)
class Batch:
    """B windows of T ticks; `known` False: the action is unlabelled or not the player's, and must not be learned."""

    frames: Tensor  # uint8 (B, T, 3, H, W)
    actions: Tensor  # int64 (B, T, K)
    known: Tensor  # bool (B, T)
    previous: Tensor  # int64 (B, K): the tick before the window; neutral where it is not known
    previous_known: Tensor  # bool (B,): False at the start of a clip
    game_id: Tensor  # int64 (B,): index into the corpus's games
    windows: tuple[Window, ...] = ()  # B rows' origins

    def __post_init__(self) -> None:
        b, t = self.frames.shape[:2]
        k = self.actions.shape[-1]
        expected = {
            "actions": (b, t, k),
            "known": (b, t),
            "previous": (b, k),
            "previous_known": (b,),
            "game_id": (b,),
        }
        got = {name: tuple(getattr(self, name).shape) for name in expected}
        if got != expected or self.frames.dtype != torch.uint8 or len(self.windows) not in (0, b):
            raise CorpusError("a batch's parts do not fit together", got=got, expected=expected)

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Copy to `device`."""
        names = ("frames", "actions", "known", "previous", "previous_known", "game_id")
        moved = {name: getattr(self, name).to(device, non_blocking=non_blocking) for name in names}
        return replace(self, **moved)
