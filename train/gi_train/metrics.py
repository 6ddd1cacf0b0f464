"""What a run reports: rows of metrics.jsonl and TensorBoard, and the policy on held-out clips beside trivial players.

A loss means little alone: `majority` always answers a factor's commonest value, `repeat` the value of the tick before.
A policy that has learned to copy its own last action beats `majority` and ties with `repeat`; the copycat score says
how often it answers the old value just when the player changed it (1 - that is what it learned to see coming).
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from gi_model.batch import Batch
from gi_model.policy import Policy
from gi_train.run_files import read_rows


class MetricsLog:
    """Appends rows to metrics.jsonl and TensorBoard; on resume drops rows past the resumed step."""

    def __init__(self, path: Path, tensorboard: Path, *, first_step: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_rows(path) if int(row.get("step", 0)) <= first_step] if path.exists() else []
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a", buffering=1)
        self._board = SummaryWriter(str(tensorboard), purge_step=first_step or None)

    def write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """One row of `kind` ("train", "val", "data")."""
        self._file.write(json.dumps({"kind": kind, "step": step, **{k: round(v, 6) for k, v in values.items()}}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self._board.close()


@torch.no_grad()
def evaluate_offline(policy: Policy, batches: Iterable[Batch]) -> dict[str, float]:
    """Loss, accuracy of each factor, of the trivial players, and copycat scores over held-out batches."""
    was_training = policy.training
    policy.eval()
    totals: dict[str, float] = defaultdict(float)
    truths, pasts, answers = [], [], []
    num_ticks = 0
    for batch in batches:
        score = policy.decoder.score(policy.features(batch)[batch.known], batch.actions[batch.known])
        past, past_known = _past_actions(batch)
        both = past_known[batch.known]
        truth, answer = batch.actions[batch.known], score.log_probs.argmax(-1)
        num_ticks += len(truth)
        totals["loss"] += float(score.loss.sum())
        totals["nll"] += float(score.nll.sum())
        for name, slots in policy.space.factors.items():
            totals[f"nll/{name}"] += float(score.nll[:, slots].sum())
            totals[f"accuracy/{name}"] += float((answer == truth)[:, slots].all(-1).sum())
        truths.append(truth[both])
        pasts.append(past[batch.known][both])
        answers.append(answer[both])
    policy.train(was_training)
    values = {name: total / max(1, num_ticks) for name, total in totals.items()}
    if truths:
        values |= _trivial_players(policy, torch.cat(truths), torch.cat(pasts), torch.cat(answers))
    return values


def _past_actions(batch: Batch) -> tuple[Tensor, Tensor]:
    past = torch.cat([batch.previous[:, None], batch.actions[:, :-1]], dim=1)
    return past, torch.cat([batch.previous_known[:, None], batch.known[:, :-1]], dim=1)


def _trivial_players(policy: Policy, truth: Tensor, past: Tensor, answer: Tensor) -> dict[str, float]:
    """Int64 (N, K) each: what was played, what was played one tick before, and what the policy finds likeliest."""
    values = {}
    for name, slots in policy.space.factors.items():
        now, before, said = truth[:, slots], past[:, slots], answer[:, slots]
        _, counts = torch.unique(now, dim=0, return_counts=True)
        values[f"majority/{name}"] = float(counts.max()) / len(now)
        same = (now == before).all(-1)
        values[f"repeat/{name}"] = float(same.float().mean())
        if (~same).any():
            values[f"copycat/{name}"] = float((said == before).all(-1)[~same].float().mean())
    return values
