"""`calibrate_keys`: the thresholds from which a policy's controls are held (`gi_model.calibration`), from recordings.

The true actions are given to the policy, and each control's hazard in each tick is set against whether it was held:
there are as many hazards over the threshold as ticks in which it was. On held-out clips, for on those it learned from a
policy is too sure.

N ticks, S list slots, C controls of a list, A vocabulary.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, ActionSpace
from gi_model.actions.space import KEY_SLOTS, PAD_BUTTON_SLOTS
from gi_model.batch import Batch
from gi_model.calibration import Calibration, control_ids, rate_threshold
from gi_model.errors import CorpusError
from gi_model.policy import Policy
from gi_model.sampling import NUM_MASKS, button_hazard, held_controls, keep_button, list_hazards

_NAMES = (MOUSE_BUTTONS, KEYS, GAMEPAD_BUTTONS)


@dataclass(frozen=True)
class _Seen:
    """What N ticks say of C controls: hazard float (N, C); held and before, in the tick before, bool (N, C)."""

    hazard: Tensor
    held: Tensor
    before: Tensor


@torch.no_grad()
def calibrate_keys(policy: Policy, batches: Iterable[Batch]) -> Calibration:
    """Thresholds of every control that is held anywhere in `batches`. Raises CorpusError where there are none."""
    was_training = policy.training
    policy.eval()
    seen = [_look(policy, batch) for batch in batches]
    policy.train(was_training)
    if not seen:
        raise CorpusError("no clips to set thresholds on", got=0, do="Give the corpus a held-out split: `gi shard`.")
    thresholds = {}
    for names, parts in zip(_NAMES, zip(*seen, strict=True), strict=True):
        hazard, held, before = (torch.cat([getattr(p, field) for p in parts]) for field in ("hazard", "held", "before"))
        for column in held.any(dim=0).nonzero().flatten().tolist():
            was_down = before[:, column]
            up, down = (_threshold(hazard[rows, column], held[rows, column]) for rows in (~was_down, was_down))
            thresholds[names[column]] = (up, down)
    return Calibration(thresholds)


def _look(policy: Policy, batch: Batch) -> tuple[_Seen, ...]:
    """Mouse buttons, keys, and gamepad buttons, in the ticks whose action and the one before are known."""
    past = torch.cat([batch.previous[:, None], batch.actions[:, :-1]], dim=1)
    past_known = torch.cat([batch.previous_known[:, None], batch.known[:, :-1]], dim=1)
    ticks = batch.known & past_known
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
    """Hazards (N, 5) of the mouse buttons; probs (N, A) and tokens (N,) of slot 0."""
    first = space.ids["buttons:0"]
    masks, hazards = probs[:, first : first + NUM_MASKS], []
    for bit in range(len(MOUSE_BUTTONS)):
        hazards.append(button_hazard(masks))
        masks = keep_button(masks, (tokens - first) >> bit & 1 > 0)
    return torch.stack(hazards, dim=1)


def _threshold(hazard: Tensor, held: Tensor) -> float:
    return rate_threshold(hazard.float().numpy(), int(held.sum()))
