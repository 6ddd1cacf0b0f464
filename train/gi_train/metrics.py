"""What a run reports: rows of metrics.jsonl and TensorBoard, and the policy on held-out clips (`OfflineSums`)."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from gi_model.batch import Batch
from gi_model.decoder import DecoderScore
from gi_model.policy import Policy
from gi_train.offline_sums import OfflineSums
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
        rounded = {name: float(f"{value:.7g}") for name, value in values.items()}
        self._file.write(json.dumps({"kind": kind, "step": step, **rounded}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self._board.close()


@torch.no_grad()
def evaluate_offline(
    policy: Policy, batches: Iterable[Batch], *, add_up: Callable[[Tensor], Tensor] | None = None
) -> dict[str, float]:
    """Loss, and by factor nll, accuracy, trivial players, and copycat score (`OfflineSums`) over held-out batches.

    add_up: all-reduces a vector over ranks, each with batches of its own; all ranks get the values of all.
    """
    was_training = policy.training
    policy.eval()
    sums = OfflineSums(policy.space, next(policy.parameters()).device)
    for batch in batches:
        score, known = policy.score(batch), batch.known.flatten()
        command_nll = None if score.command_nll is None else score.command_nll[known]
        sums.add(DecoderScore(score.log_probs[known], score.nll[known], score.loss[known], command_nll), batch)
    policy.train(was_training)
    if add_up is not None:
        sums.reduce(add_up)
    return sums.values()
