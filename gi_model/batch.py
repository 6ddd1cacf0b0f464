"""`Batch`: windows of play as tensors, what a policy learns from."""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B windows of T ticks; K action tokens a tick.

    windows names each row's (clip key, first tick), for accounting; it does not reach the model.
    """

    frames: Tensor  # uint8 (B, T, 3, H, W), RGB
    actions: Tensor  # int64 (B, T, K), held after seeing the frame
    known: Tensor  # bool (B, T), False: not the player's action, do not learn it
    previous: Tensor  # int64 (B, K), action tokens of the tick before the window
    previous_known: Tensor  # bool (B,), False: the window starts its clip
    game_id: Tensor  # int64 (B,)
    windows: tuple[tuple[str, int], ...] = ()

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same batch on `device`."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "windows"}
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in tensors.items()}
        return type(self)(**moved, windows=self.windows)
