"""Pretraining: the loop, written out: fetch, forward, backward, clip, check, step, log, save.

The same function runs on a laptop CPU, one GPU, or many processes under `accelerate launch` or `torchrun`. It resumes
from the newest saved step in its folder and then computes what an uninterrupted run would have: the same windows, the
same losses. Never hands the reader to accelerate: it would decode on rank 0 and broadcast; every rank reads its own
share instead.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import FrameType

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor

from gi_data.blend import Blend
from gi_data.reader import Reader, ReaderConfig
from gi_model.batch import Batch
from gi_model.checkpoint import save_policy
from gi_model.config import PolicyConfig
from gi_model.errors import TrainingError
from gi_model.policy import Policy
from gi_train.config import TrainConfig
from gi_train.data_watch import DataWatch, print_shares, share_facts
from gi_train.metrics import MetricsLog, evaluate_offline
from gi_train.progress import TrainProgress
from gi_train.run_files import RunPaths
from gi_train.train_state import Position, load_state, newest_state, prune_states, save_state


@dataclass(frozen=True)
class PretrainResult:
    """Where the policy is and what it reached on held-out clips."""

    checkpoint: Path
    step: int
    values: dict[str, float]
    stopped: bool


@dataclass
class Stop:
    """Set by SIGTERM or Ctrl-C: finish the step, save, leave."""

    asked: bool = False
    signals: tuple[int, ...] = field(default=(signal.SIGTERM, signal.SIGINT))

    def agree(self, accelerator: Accelerator) -> None:
        """Make one rank's wish everybody's: a rank that left alone would hang the others in their next collective."""
        if accelerator.num_processes > 1:
            wishes = torch.tensor(float(self.asked), device=accelerator.device)
            self.asked = bool(accelerator.reduce(wishes, "sum") > 0)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Catch the signals inside; a second one of a kind acts as it always did."""
        before = {number: signal.getsignal(number) for number in self.signals}

        def ask(number: int, frame: FrameType | None) -> None:
            del frame
            self.asked = True
            signal.signal(number, before[number])

        for number in self.signals:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def pretrain(data: Blend, out: Path, policy_config: PolicyConfig, config: TrainConfig) -> PretrainResult:
    """Train a policy on `data`, keeping all in `out`; resumes. Raises TrainingError, CorpusError."""
    # ================================================================ set-up
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    accelerator = build_accelerator(config)
    paths = RunPaths(out)
    policy = Policy(policy_config)
    optimizer = build_optimizer(policy, config)
    reader = build_reader(data, policy_config, config, accelerator)
    position = resume(paths, policy, optimizer, reader)
    model, prepared = accelerator.prepare(policy, optimizer)
    log = (
        MetricsLog(paths.metrics, paths.tensorboard, first_step=position.step) if accelerator.is_main_process else None
    )
    progress = TrainProgress(config.steps, position.step, enabled=accelerator.is_main_process)
    watch = DataWatch(reader, progress.say)
    stop = Stop()
    if log:
        print_shares(reader.streams)
        log.write("data", position.step, share_facts(reader.streams))
    held_out = build_reader(data, policy_config, config, accelerator, split="val")

    def validate() -> dict[str, float]:
        batches = islice((batch.to(accelerator.device) for batch in held_out), config.evaluate_batches)
        return evaluate_offline(policy, batches)

    # ================================================================ the loop
    step, values, batches = position.step, {}, iter(reader)
    clock = time.perf_counter()
    with progress, stop.on_signals():
        while step < config.steps and not stop.asked:
            batch = next(batches).to(accelerator.device, non_blocking=True)
            for group in prepared.param_groups:
                group["lr"] = config.lr_at(step)
            loss, logs = model(batch)
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
            check_finite(loss, norm, step, batch, paths)
            prepared.step()
            prepared.zero_grad()
            step += 1
            stop.agree(accelerator)

            if log and (step % config.log_every == 0 or step == 1):
                now = time.perf_counter()
                num_steps = config.log_every if step > 1 else 1
                rate = num_steps * config.batch_size * config.window_ticks / (now - clock)
                waited = watch.waited(now - clock)
                clock = now
                row = {"loss": loss.item(), **{name: value.item() for name, value in logs.items()}}
                run = {"lr": config.lr_at(step - 1), "norm": float(norm), "frames_per_s": rate, "data_wait": waited}
                log.write("train", step, row | run)
                progress.update(step, loss=row["loss"], rate=rate)
            if log and (step % config.evaluate_every == 0 or step == config.steps):
                values = validate()
                log.write("val", step, values)
                clock = time.perf_counter()
            if accelerator.is_main_process and (step % config.save_every == 0 or step == config.steps or stop.asked):
                save_state(paths.steps, policy, optimizer, Position(step, reader.state_dict()))
                prune_states(paths.steps, config.keep)

    # ================================================================ the end
    if log:
        log.close()
    reader.close()
    held_out.close()
    if accelerator.is_main_process and not stop.asked:
        facts = {
            "steps": step,
            "seed": config.seed,
            "corpus": ", ".join(data.names),
            **{k: f"{v:.4f}" for k, v in values.items()},
        }
        save_policy(policy, paths.checkpoint, facts=facts)
    accelerator.end_training()
    return PretrainResult(paths.checkpoint, step, values, stop.asked)


def build_accelerator(config: TrainConfig) -> Accelerator:
    """Device, precision, and process group. On CPUs gloo must be named, or all ranks are 0."""
    on_cpu = not torch.cuda.is_available()
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    handlers = [InitProcessGroupKwargs(backend="gloo")] if on_cpu and launched else []
    return Accelerator(cpu=on_cpu, mixed_precision=config.precision, kwargs_handlers=handlers)


def build_optimizer(policy: Policy, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only."""
    matrices = [parameter for parameter in policy.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in policy.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr_peak, betas=(0.9, 0.95), fused=True)


def build_reader(
    data: Blend, policy: PolicyConfig, config: TrainConfig, accelerator: Accelerator, *, split: str = "train"
) -> Reader:
    """This rank's share of `data`."""
    settings = ReaderConfig(
        height=policy.height,
        width=policy.width,
        window_ticks=config.window_ticks,
        batch_size=config.batch_size,
        split=split,
        seed=config.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        temperature=config.temperature,
        block_mb=config.block_mb,
        cache_mb=config.cache_mb,
        decode_threads=config.decode_threads,
    )
    return Reader(data, settings)


def resume(paths: RunPaths, policy: Policy, optimizer: torch.optim.Optimizer, reader: Reader) -> Position:
    """Restore the newest saved step of the run, if there is one."""
    newest = newest_state(paths.steps)
    if newest is None:
        return Position(0, reader.state_dict())
    position = load_state(newest, policy, optimizer)
    reader.load_state_dict(position.reader)
    return position


def check_finite(loss: Tensor, norm: Tensor | float | None, step: int, batch: Batch, paths: RunPaths) -> None:
    """Raise TrainingError before the optimiser moves on a loss or gradient that is not a number."""
    if bool(torch.isfinite(loss)) and bool(torch.isfinite(torch.as_tensor(norm))):
        return
    clips = sorted({key for key, _ in batch.windows})[:4]
    last = newest_state(paths.steps)
    do = f"Look at clips {clips}, or lower --lr; the last good checkpoint is {last or 'none yet'}."
    raise TrainingError(f"step {step} has a loss that is not finite", got=loss.item(), expected="a number", do=do)
