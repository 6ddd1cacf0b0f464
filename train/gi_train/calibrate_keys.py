"""`calibrate_keys`: what keeps a policy's sharpened decisions at players' rates (`gi_model.calibration`).

The true actions are given to the policy, and each control's hazard in each tick is set against whether it was held:
sharpened, hazards must come to as many ticks as those in which it was. On held-out clips, for a policy is too sure of
those it learned from; and from the fourth tick of a window on, for in play it always remembers something.

N ticks, S list slots, C controls of a list, A vocabulary.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from gi_data.blend import Blend
from gi_data.reader import Reader, ReaderConfig
from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, ActionSpace
from gi_model.actions.space import KEY_SLOTS, PAD_BUTTON_SLOTS
from gi_model.batch import Batch
from gi_model.calibration import Calibration, control_ids, matching_point, save_calibration
from gi_model.checkpoint import load_policy
from gi_model.errors import CorpusError
from gi_model.policy import Policy
from gi_model.sampling import NUM_MASKS, button_hazards, held_controls, list_hazards
from gi_train.config import TrainConfig

NUM_SKIPPED = 3  # ticks at the start of a window
MAX_TICKS = 4096  # enough for a rate
_NAMES = (MOUSE_BUTTONS, KEYS, GAMEPAD_BUTTONS)


@dataclass(frozen=True)
class _Seen:
    """What N ticks say of C controls: hazard float (N, C); held and before, in the tick before, bool (N, C)."""

    hazard: Tensor
    held: Tensor
    before: Tensor


def calibrate_checkpoint(checkpoint: Path, data: Blend, config: TrainConfig) -> None:
    """Calibrate the policy in the folder `checkpoint` on held-out clips, and keep the result there.

    Raises CheckpointError, CorpusError.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = load_policy(checkpoint, device=device)
    settings = ReaderConfig(
        height=policy.config.height,
        width=policy.config.width,
        window_ticks=config.window_ticks,
        batch_size=config.batch_size,
        split="val",
        block_mb=config.block_mb,
        cache_mb=config.cache_mb,
        decode_threads=config.decode_threads,
    )
    num_batches = min(config.evaluate_batches, -(-MAX_TICKS // (config.batch_size * config.window_ticks)))
    with Reader(data, settings) as reader:
        batches = (batch.to(device) for batch in islice(reader, num_batches))
        save_calibration(calibrate_keys(policy, batches), checkpoint)


@torch.no_grad()
def calibrate_keys(policy: Policy, batches: Iterable[Batch]) -> Calibration:
    """The points of every control that is held anywhere in `batches`. Raises CorpusError where there are none."""
    was_training = policy.training
    policy.eval()
    seen = [_look(policy, batch) for batch in batches]
    policy.train(was_training)
    if not seen:
        raise CorpusError("no clips to calibrate keys on", got=0, do="Give the corpus a held-out split: `gi shard`.")
    points = {}
    for names, parts in zip(_NAMES, zip(*seen, strict=True), strict=True):
        hazard, held, before = (torch.cat([getattr(p, field) for p in parts]) for field in ("hazard", "held", "before"))
        for column in held.any(dim=0).nonzero().flatten().tolist():
            was_down = before[:, column]
            up, down = (_point(hazard[rows, column], held[rows, column]) for rows in (~was_down, was_down))
            points[names[column]] = (up, down)
    return Calibration(points)


def _look(policy: Policy, batch: Batch) -> tuple[_Seen, ...]:
    """Mouse buttons, keys, and gamepad buttons, in the ticks whose action and the one before are known."""
    past = torch.cat([batch.previous[:, None], batch.actions[:, :-1]], dim=1)
    past_known = torch.cat([batch.previous_known[:, None], batch.known[:, :-1]], dim=1)
    ticks = batch.known & past_known
    ticks[:, : min(NUM_SKIPPED, ticks.shape[1] - 1)] = False
    actions, space, ids = batch.actions[ticks], policy.space, control_ids(policy.space)
    probs = policy.decoder.score(policy.features(batch)[ticks], actions).log_probs.exp()
    held, before = held_controls(actions, space), held_controls(past[ticks], space)
    pad = actions[:, 0] == space.gamepad_id
    hazards = (
        (~pad, _button_hazards(probs[~pad, 0], actions[~pad, 0], space)),
        (~pad, _list_hazards(probs[~pad][:, list(KEY_SLOTS)], held[~pad], KEYS, space)),
        (pad, _list_hazards(probs[pad][:, list(PAD_BUTTON_SLOTS)], held[pad], GAMEPAD_BUTTONS, space)),
    )
    columns = [[ids[name] for name in names] for names in _NAMES]
    return tuple(
        _Seen(hazard.cpu(), held[rows][:, one].cpu(), before[rows][:, one].cpu())
        for (rows, hazard), one in zip(hazards, columns, strict=True)
    )


def _list_hazards(probs: Tensor, held: Tensor, names: tuple[str, ...], space: ActionSpace) -> Tensor:
    """Hazards (N, C) of a list's controls, each in the slot that decides it; probs (N, S, A), held bool (N, A)."""
    controls = slice(space.ids[names[0]], space.ids[names[0]] + len(names))
    is_held = held[:, controls].long()
    place = is_held.cumsum(dim=1) - is_held  # as many slots are full before it
    hazards = list_hazards(probs)[:, :, controls]
    return hazards.gather(1, place.clamp(max=probs.shape[1] - 1)[:, None]).squeeze(1)


def _button_hazards(probs: Tensor, tokens: Tensor, space: ActionSpace) -> Tensor:
    """Hazards (N, 5) of the mouse buttons, given the lower ones; probs (N, A) and tokens (N,) of slot 0."""
    first = space.ids["buttons:0"]
    masks, played = probs[:, first : first + NUM_MASKS], tokens - first
    chains = [button_hazards(masks, bit).gather(1, played[:, None] % (1 << bit)) for bit in range(len(MOUSE_BUTTONS))]
    return torch.cat(chains, dim=1)


def _point(hazard: Tensor, held: Tensor) -> float:
    return matching_point(hazard.float().numpy(), int(held.sum()))
