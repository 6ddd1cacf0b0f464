"""`Labeller`: an inverse dynamics model over a stretch of play: what was pressed at each tick, and how sure it is.

A frame is encoded once. Windows of as many ticks as the model attends to overlap, so that a tick lies in several, and
their answers are averaged with weights that rise towards a window's centre (`gi_model.ensemble`). What the last tick of
a stretch did shows in no frame: it gets no answer.

T ticks of a stretch, W of a window, M windows a tick, K action tokens, F factors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gi_model.actions import NEUTRAL
from gi_model.checkpoint import load_policy
from gi_model.ensemble import decode_together
from gi_model.errors import ConfigError
from gi_model.policy import Policy

CHUNK: Final = 64  # frames encoded, and windows read, at a time: bounds memory, changes nothing
OVERLAP: Final = 4  # windows that a tick lies in, where there are enough


@dataclass(frozen=True)
class TickLabels:
    """Answers for T ticks, neutral where there is none."""

    tokens: NDArray[np.int64]  # (T, K)
    factors: NDArray[np.float32]  # (T, F), by factor of the action space
    answered: NDArray[np.bool_]  # (T,): False where no frame shows what the tick did

    @property
    def confidence(self) -> NDArray[np.float32]:
        """float32 (T,): the product over the factors; a motion counts as right where it is near."""
        return np.asarray(self.factors.prod(axis=1), dtype=np.float32)


class Labeller:
    """Labels stretches of frames of the model's size. Raises ConfigError for a policy that plays."""

    def __init__(self, policy: Policy, *, stride: int | None = None) -> None:
        config = policy.config
        if not config.lookahead_ticks:
            expected, do = "an inverse dynamics model", "Train one: gi pretrain --task idm --data LABELLED --out RUN"
            raise ConfigError("a policy cannot label: it never sees what an action did", expected=expected, do=do)
        self.policy, self.space = policy.eval(), policy.space
        self.height, self.width, self.fps = config.height, config.width, config.fps
        self.window_ticks = config.window_ticks
        self.stride = max(1, self.window_ticks // OVERLAP) if stride is None else stride
        if not 1 <= self.stride < self.window_ticks:
            raise ConfigError("stride of windows out of range", got=stride, expected=f"1 to {self.window_ticks - 1}")

    @torch.inference_mode()
    def __call__(self, frames: NDArray[np.uint8]) -> TickLabels:
        """Label a stretch, uint8 (T, 3, H, W)."""
        num_ticks, num_slots = len(frames), self.space.num_tokens
        tokens = np.tile(self.space.encode(NEUTRAL), (num_ticks, 1))
        probs = np.ones((num_ticks, num_slots), dtype=np.float32)
        answered = np.arange(num_ticks) < num_ticks - 1
        if num_ticks > 1:
            features = self._window_features(self._encode(frames))
            places, weights = self._memberships(num_ticks)
            for first in range(0, num_ticks - 1, CHUNK):
                chunk = slice(first, min(first + CHUNK, num_ticks - 1))
                found = decode_together(self.policy.decoder, features[places[chunk]], weights[chunk])
                tokens[chunk], probs[chunk] = (part.cpu().numpy() for part in found)
        factors = [probs[:, list(slots)].prod(axis=1) for slots in self.space.factors.values()]
        return TickLabels(tokens, np.stack(factors, axis=1), answered)

    def _encode(self, frames: NDArray[np.uint8]) -> Tensor:
        """Tokens (T, V, D) of each frame; chunks share a frame, so that each frame but the last meets its next."""
        device = self.policy.decoder.slots.device
        parts = []
        for first in range(0, max(1, len(frames) - 1), CHUNK):
            pictures = torch.from_numpy(frames[first : first + CHUNK + 1]).to(device)[None]
            parts.append(self.policy.encode(pictures)[0])
        return torch.cat([*(part[:CHUNK] for part in parts[:-1]), parts[-1]])

    def _window_features(self, tokens: Tensor) -> Tensor:
        """Features of all ticks of all windows, one after another: (windows * W, D)."""
        starts = window_starts(len(tokens), self.window_ticks, self.stride)
        ticks = torch.tensor(starts)[:, None] + torch.arange(min(self.window_ticks, len(tokens)))
        parts = [self.policy.backbone(tokens[part]).mean(dim=2) for part in torch.split(ticks, CHUNK)]
        return torch.cat(parts).flatten(0, 1)

    def _memberships(self, num_ticks: int) -> tuple[Tensor, Tensor]:
        """For each tick but the last: rows of `_window_features` int64 (T - 1, M), and their weights, summing to 1."""
        length = min(self.window_ticks, num_ticks)
        starts = window_starts(num_ticks, self.window_ticks, self.stride)
        found: list[list[tuple[int, float]]] = [[] for _ in range(num_ticks)]
        for number, start in enumerate(starts):
            for offset, weight in enumerate(centre_weights(length)):
                if weight:
                    found[start + offset].append((number * length + offset, weight))
        members = max(map(len, found))
        places, weights = torch.zeros(num_ticks, members, dtype=torch.long), torch.zeros(num_ticks, members)
        for tick, views in enumerate(found[:-1]):
            places[tick, : len(views)] = torch.tensor([place for place, _ in views])
            weights[tick, : len(views)] = torch.tensor([weight for _, weight in views])
        device = self.policy.decoder.slots.device
        return places[:-1].to(device), (weights / weights.sum(1, keepdim=True).clamp(min=1e-9))[:-1].to(device)


def window_starts(num_ticks: int, window: int, stride: int) -> list[int]:
    """First ticks of windows that cover `num_ticks`: every `stride`, the last one flush with the end."""
    last = max(0, num_ticks - window)
    return sorted({*range(0, last + 1, stride), last})


def centre_weights(length: int) -> Sequence[float]:
    """How much each tick of a window counts: a triangle over those whose effect the window shows; the last: nothing."""
    return [float(min(offset + 1, length - 1 - offset)) for offset in range(length)]


def load_labeller(checkpoint: Path, *, device: str = "cpu") -> Labeller:
    """The labeller of a checkpoint. Raises CheckpointError, and ConfigError for a policy that plays."""
    return Labeller(load_policy(checkpoint, device=device))
