"""`OfflineSums`: a policy on held-out ticks, as sums, so that any number of ranks can add theirs up and agree.

Beside the policy stand players that know little: `majority` always answers a factor's commonest value, `repeat` the
value of the tick before, `marginal` knows how often each value occurs on these very ticks and nothing else (so that no
fixed distribution has a lower nll on them). A policy that has learned to copy its own last action beats `majority` and
ties with `repeat`; the copycat score says how often it answers the old value just when the player changed it.

Values of a factor are counted in a histogram of hashes: of fixed size, and exact unless two of some hundred values
share one of 16,384 places. Answers are the likeliest tokens given the true tokens before them in the tick.

N ticks, K slots, A vocabulary, H ids of keys and gamepad buttons.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from gi_model.actions import ActionSpace
from gi_model.actions.space import KEY_SLOTS, PAD_BUTTON_SLOTS
from gi_model.batch import Batch
from gi_model.decoder import DecoderScore

BINS: Final = 1 << 14
_MIX: Final = -7046029254386353131  # 2^64 / golden ratio, as int64 (Knuth, TAOCP 3, 6.4)
_LISTED: Final = slice(KEY_SLOTS.start, PAD_BUTTON_SLOTS.stop)


class OfflineSums:
    """Sums over ticks; every rank adds its batches, `reduce` makes them everybody's."""

    def __init__(self, space: ActionSpace, device: torch.device | str = "cpu") -> None:
        self._space = space
        self._num_listed = space.ids["buttons:0"]  # keys and gamepad buttons come first, after `none`
        names = ["ticks", "loss", "nll", "pairs", "commanded", "nll/commands"]
        names += [f"{what}/{factor}" for factor in space.factors for what in ("nll", "right", "same", "copied")]
        names += [f"{what}/{which}" for which in ("keys", "transitions") for what in ("true", "said", "both")]
        self._sums = {name: torch.zeros((), dtype=torch.float64, device=device) for name in names}
        for factor in space.factors:
            self._sums[f"counts/{factor}"] = torch.zeros(BINS, dtype=torch.float64, device=device)

    def add(self, score: DecoderScore, batch: Batch) -> None:
        """Add the known ticks of `batch` and what the policy scored on them, both in the same order (N)."""
        known = batch.known
        past, past_known = _past_actions(batch)
        truth, before, paired = batch.actions[known], past[known], past_known[known]
        said = score.log_probs.argmax(-1)
        self._add("ticks", torch.ones_like(paired))
        self._add("pairs", paired)
        self._add("loss", score.loss)
        self._add("nll", score.nll)
        if score.command_nll is not None:
            self._add("nll", score.command_nll)
            self._add("nll/commands", score.command_nll)
            self._add("commanded", torch.ones_like(paired))
        for name, slots in self._space.factors.items():
            now, old, answer = truth[:, slots], before[:, slots], said[:, slots]
            same = (now == old).all(-1)
            self._add(f"nll/{name}", score.nll[:, slots])
            self._add(f"right/{name}", (answer == now).all(-1))
            self._add(f"same/{name}", same & paired)
            self._add(f"copied/{name}", (answer == old).all(-1) & ~same & paired)
            self._sums[f"counts/{name}"] += torch.bincount(_hash(now), minlength=BINS)
        self._add_keys(self._held(truth), self._held(said), self._held(before), paired)

    def reduce(self, add_up: Callable[[Tensor], Tensor]) -> None:
        """Replace the sums by those of all ranks; `add_up` all-reduces one float64 vector."""
        parts = list(self._sums.values())
        together = add_up(torch.cat([part.flatten() for part in parts]))
        wholes = torch.split(together, [part.numel() for part in parts])
        for name, part, whole in zip(self._sums, parts, wholes, strict=True):
            self._sums[name] = whole.view_as(part)

    def values(self) -> dict[str, float]:
        """Figures by name; nats a tick, or shares. Empty without ticks."""
        sums = {name: float(value) for name, value in self._sums.items() if value.ndim == 0}
        num_ticks, num_pairs = sums["ticks"], sums["pairs"]
        if not num_ticks:
            return {}
        values = {"loss": sums["loss"] / num_ticks, "nll": sums["nll"] / num_ticks, "marginal": 0.0}
        if sums["commanded"]:
            values["nll/commands"] = sums["nll/commands"] / num_ticks
        for name in self._space.factors:
            shares = self._sums[f"counts/{name}"] / num_ticks
            values[f"nll/{name}"] = sums[f"nll/{name}"] / num_ticks
            values[f"marginal/{name}"] = float(torch.special.entr(shares).sum())
            values["marginal"] += values[f"marginal/{name}"]
            values[f"accuracy/{name}"] = sums[f"right/{name}"] / num_ticks
            values[f"majority/{name}"] = float(shares.max())
            if num_pairs:
                values[f"repeat/{name}"] = sums[f"same/{name}"] / num_pairs
            if num_changed := num_pairs - sums[f"same/{name}"]:
                values[f"copycat/{name}"] = sums[f"copied/{name}"] / num_changed
        for which in ("keys", "transitions"):
            if of := sums[f"true/{which}"] + sums[f"said/{which}"]:
                values[f"f1/{which}"] = 2 * sums[f"both/{which}"] / of
        return values

    def _add(self, name: str, values: Tensor) -> None:
        self._sums[name] += values.sum(dtype=torch.float64)

    def _add_keys(self, truth: Tensor, said: Tensor, before: Tensor, paired: Tensor) -> None:
        """F1 of held keys, and of transitions: keys pressed or released since the tick before."""
        pairs = {"keys": (truth, said)}
        pairs["transitions"] = ((truth != before) & paired[:, None], (said != before) & paired[:, None])
        for which, (true, answer) in pairs.items():
            self._add(f"true/{which}", true)
            self._add(f"said/{which}", answer)
            self._add(f"both/{which}", true & answer)

    def _held(self, tokens: Tensor) -> Tensor:
        """bool (N, H): which keys and gamepad buttons the lists of int64 (N, K) name."""
        listed = tokens[:, _LISTED]
        listed = torch.where(listed < self._num_listed, listed, 0)  # triggers are levels
        held = torch.zeros(len(tokens), self._num_listed, dtype=torch.bool, device=tokens.device)
        return held.scatter_(1, listed, True)[:, 1:]


def _past_actions(batch: Batch) -> tuple[Tensor, Tensor]:
    past = torch.cat([batch.previous[:, None], batch.actions[:, :-1]], dim=1)
    return past, torch.cat([batch.previous_known[:, None], batch.known[:, :-1]], dim=1)


def _hash(values: Tensor) -> Tensor:
    """Place of each row in the histogram: int64 (N, slots) -> (N,); multiplication wraps around."""
    mixed = torch.zeros_like(values[:, 0])
    for slot in values.unbind(-1):
        mixed = (mixed + slot + 1) * _MIX
    return (mixed >> 50) & (BINS - 1)
