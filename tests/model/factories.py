"""Small policies and random play for tests."""

import numpy as np
import torch
from torch import Tensor

from gi_model.actions import KEYS, ActionSpace, InputState
from gi_model.batch import Batch
from gi_model.config import PolicyConfig, preset
from gi_model.policy import Policy

SPACE = ActionSpace()
DEBUG = preset("debug").replace(window_ticks=5)


def make_policy(config: PolicyConfig = DEBUG, seed: int = 0) -> Policy:
    """A policy with seeded random weights, louder than at initialisation so that differences show."""
    torch.manual_seed(seed)
    policy = Policy(config).eval()
    with torch.no_grad():
        policy.decoder.head.weight.mul_(20)
    return policy


def random_frames(*shape: int, config: PolicyConfig = DEBUG, seed: int = 0) -> Tensor:
    """uint8 (*shape, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*shape, 3, config.height, config.width), dtype=torch.uint8, generator=generator)


def random_actions(num: int, seed: int = 0) -> Tensor:
    """int64 (num, K), encoded from random states."""
    rng = np.random.default_rng(seed)
    states = [
        InputState(
            keys=frozenset(str(key) for key in rng.choice(KEYS, rng.integers(0, 4), replace=False)),
            motion=(int(rng.integers(-300, 300)), int(rng.integers(-9, 9))),
        )
        for _ in range(num)
    ]
    return torch.from_numpy(SPACE.encode_all(states))


def random_batch(num_batch: int, num_ticks: int, config: PolicyConfig = DEBUG, seed: int = 0) -> Batch:
    """Windows that start their clips, all actions known."""
    actions = random_actions(num_batch * num_ticks, seed).view(num_batch, num_ticks, -1)
    return Batch(
        frames=random_frames(num_batch, num_ticks, config=config, seed=seed),
        actions=actions,
        known=torch.ones(num_batch, num_ticks, dtype=torch.bool),
        previous=torch.zeros_like(actions[:, 0]),
        previous_known=torch.zeros(num_batch, dtype=torch.bool),
        game_id=torch.zeros(num_batch, dtype=torch.long),
    )


def cut(batch: Batch, rows: slice = slice(None), ticks: slice = slice(None)) -> Batch:
    """Some rows and ticks of a batch."""
    return Batch(
        frames=batch.frames[rows, ticks],
        actions=batch.actions[rows, ticks],
        known=batch.known[rows, ticks],
        previous=batch.previous[rows],
        previous_known=batch.previous_known[rows],
        game_id=batch.game_id[rows],
    )
