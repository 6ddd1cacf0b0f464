"""`Batch`: windows of clips as tensors: what the reader gives and the policy learns from.

B windows, T ticks, K action tokens a tick. Frames stay uint8 until they are inside the model, and stay planes
(`gi_model.planes`) until they are on its device where the corpus stores the model's own size.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from gi_model.errors import CorpusError
from gi_model.planes import BLUE_U, GREEN_U, GREEN_V, HALF, LUMA, RED_V, SHIFT


class Window(NamedTuple):
    """Where a row comes from: T ticks of clip `key` from tick `start`. PADDING fills up the last batch of an epoch."""

    key: str
    start: int


PADDING = Window("", 0)


@dataclass(frozen=True)
class Batch:
    """B windows of T ticks; `known` False: the action is unlabelled or not the player's, and must not be learned."""

    frames: Tensor  # uint8 (B, T, 3, H, W) RGB, or planes (B, T, H * 3 / 2, W)
    actions: Tensor  # int64 (B, T, K)
    known: Tensor  # bool (B, T)
    previous: Tensor  # int64 (B, K): the tick before the window; neutral where it is not known
    previous_known: Tensor  # bool (B,): False at the start of a clip
    game_id: Tensor  # int64 (B,): index into the corpus's games
    windows: tuple[Window, ...] = ()  # B rows' origins
    draws: Tensor | None = None  # float32 (B, T) in [0, 1): what training hides past actions by; None: torch's own
    commands: Tensor | None = None  # float32 (B, T, A): of a body's direct actuators, where it was asked for

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
        if self.commands is not None:
            expected["commands"] = (b, t, self.commands.shape[-1])
        got = {name: tuple(getattr(self, name).shape) for name in expected}
        is_pictures = self.frames.dtype == torch.uint8 and self.frames.ndim in (4, 5)
        if got != expected or not is_pictures or len(self.windows) not in (0, b):
            raise CorpusError("a batch's parts do not fit together", got=got, expected=expected)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def is_planes(self) -> bool:
        """Whether frames are planes still."""
        return self.frames.ndim == 4

    def rgb(self) -> Tensor:
        """Frames as RGB, uint8 (B, T, 3, H, W)."""
        return planes_to_rgb(self.frames) if self.is_planes else self.frames

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Copy to `device`."""
        names = ("frames", "actions", "known", "previous", "previous_known", "game_id")
        moved = {name: getattr(self, name).to(device, non_blocking=non_blocking) for name in names}
        for name in ("draws", "commands"):
            if (tensor := getattr(self, name)) is not None:
                moved[name] = tensor.to(device, non_blocking=non_blocking)
        return replace(self, **moved)


def planes_to_rgb(planes: Tensor) -> Tensor:
    """`gi_model.planes.to_rgb` on any device, the same bytes: uint8 (..., H * 3 / 2, W) -> (..., 3, H, W)."""
    height, width = planes.shape[-2] * 2 // 3, planes.shape[-1]
    lead = planes.shape[:-2]
    luma = planes[..., :height, :].int().sub_(16).mul_(LUMA).add_(HALF).reshape(*lead, height // 2, 2, width)
    u, v = planes[..., height:, :].reshape(*lead, 2, height // 2, width // 2).int().sub_(128).unbind(-3)
    rgb = torch.empty(*lead, 3, height, width, dtype=torch.uint8, device=planes.device)
    for colour, offset in enumerate((RED_V * v, GREEN_U * u + GREEN_V * v, BLUE_U * u)):
        wide = offset.repeat_interleave(2, dim=-1).unsqueeze(-2)
        level = (luma + wide).bitwise_right_shift_(SHIFT).clamp_(0, 255)
        rgb[..., colour, :, :] = level.flatten(-3, -2)
    return rgb
