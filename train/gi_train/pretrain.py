"""Pretraining: the loop, written out: fetch, forward, backward, clip, check finite, step, log, evaluate, save.

The same function runs on a laptop CPU, one GPU, or many processes under `accelerate launch` or `torchrun`; `Parallel`
hides how they share a model. It resumes from the newest saved step in its folder, whoever saved it, and then computes
what an uninterrupted run would have: the same windows, the same losses. Never hands the reader to accelerate: it would
decode on rank 0 and broadcast; every rank reads its own share instead.

The loss is the mean over the known ticks of the whole batch, so that it depends on neither ranks nor accumulation. A
step waits for the device once, where it looks at loss and norm: a check that came a step late could not stop the
optimiser, and one wait costs the time to launch a few kernels. Flags of all ranks (stop, saving) ride on that sum.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from gi_data.blend import Blend
from gi_data.reader import Reader, ReaderConfig
from gi_model import __version__
from gi_model.batch import PADDING, Batch
from gi_model.checkpoint import load_weights
from gi_model.config import PolicyConfig
from gi_model.errors import NonFiniteError
from gi_model.policy import Policy
from gi_model.pretrained import load_encoder_weights
from gi_train.augment import augment
from gi_train.calibrate_keys import calibrate_checkpoint
from gi_train.config import TrainConfig
from gi_train.launch import build_parallel
from gi_train.metrics import evaluate_offline
from gi_train.optimizers import build_optimizer
from gi_train.parallel import Parallel
from gi_train.preflight import check_agreement, lock_run
from gi_train.row_draws import step_seed, with_draws
from gi_train.run_files import RunPaths
from gi_train.run_report import RunReport
from gi_train.schedule import lr_at
from gi_train.state_saver import StateSaver
from gi_train.stop import Stop
from gi_train.train_state import Position, StateReader, check_same_run, export_policy, newest_state
from gi_train.window_log import WindowLog


@dataclass(frozen=True)
class PretrainResult:
    """Where the policy is and what it reached on held-out clips."""

    checkpoint: Path
    step: int
    values: dict[str, float]
    stopped: bool
    is_main: bool = True  # whether this process speaks for all


def pretrain(data: Blend, out: Path, policy_config: PolicyConfig, config: TrainConfig) -> PretrainResult:
    """Train a policy on `data`, keeping all in `out`; resumes. Raises TrainingError, CorpusError, CheckpointError."""
    # ================================================================ set-up
    torch.set_num_threads(config.threads)
    parallel = build_parallel(config)
    config, paths = parallel.config, RunPaths(out)
    check_agreement(parallel, run_facts(data, policy_config, config))
    lock = lock_run(out, parallel)
    torch.manual_seed(config.seed)
    policy = Policy(policy_config)
    reader = build_reader(data, policy_config, config, parallel)
    held_out = build_reader(data, policy_config, config, parallel, split="val")
    position = resume(paths, parallel, policy, reader)
    saver = StateSaver(paths.steps, parallel, keep=config.keep)
    report = RunReport(paths, parallel, policy_config, reader, position.step)
    windows = WindowLog(out, parallel.rank) if config.log_windows else None
    stop, clock = Stop(), report.clock
    step, evaluated, values, batches = position.step, position.evaluated, position.values, iter(reader)

    def evaluate_if_due() -> None:
        nonlocal evaluated, values
        if evaluated == step or step == 0 or (step % config.evaluate_every and step != config.steps):
            return
        begun = time.perf_counter()
        some = stop.before_each(islice(held_out, config.evaluate_batches * config.accumulation), parallel)
        with parallel.autocast():
            found = evaluate_offline(policy, some, add_up=parallel.sum)
        if not stop.agreed:  # a run that is stopped here evaluates this step when it goes on
            evaluated, values = step, found
            report.evaluated(step, values)
        report.skip_time(begun)

    with report.progress, stop.on_signals():
        evaluate_if_due()
        # ============================================================ the loop
        while step < config.steps and not stop.agreed:
            # ======================================================== fetch
            with clock.part("fetch"):
                fetched = [next(batches) for _ in range(config.accumulation)]
            if windows:
                windows.write(step, fetched, world_size=parallel.world_size)
            num_known = parallel.sum(torch.tensor(float(sum(int(part.known.sum()) for part in fetched)))).clamp(min=1)
            means = torch.zeros((), device=parallel.device)
            for index, windows_read in enumerate(fetched):
                drawn = with_draws(windows_read, seed=config.seed, step=step).to(parallel.device, non_blocking=True)
                part = augment(drawn, strength=config.augment, seed=config.seed, step=step)
                torch.manual_seed(step_seed(config.seed, step, part=index * parallel.world_size + parallel.rank))
                # ==================================================== forward
                with clock.part("forward"):
                    parallel.begin_part(is_last=index == config.accumulation - 1)
                    loss, logs = parallel.forward(part)
                share = part.known.sum() / num_known  # of this part in the mean over the whole batch
                # ==================================================== backward
                with clock.part("backward"):
                    parallel.backward(loss * (share * parallel.world_size))  # ranks' gradients are averaged
                means = means + torch.stack([loss.detach(), *logs.values()]) * share
            # ======================================================== clip
            with clock.part("step"):
                norm = parallel.clip(config.clip_norm)
            # ======================================================== check finite
            flags = torch.tensor([float(stop.asked), *saver.flags], device=parallel.device)
            totals = torch.cat([parallel.sum(torch.cat([means, flags])), norm.reshape(1)]).tolist()
            *shown, num_stops, num_pending, num_failed, total_norm = totals
            if not isfinite(shown[0] + total_norm):
                error = not_finite(parallel, saver, step, fetched, is_mine=not bool(torch.isfinite(means[0])))
                report.event("fail", step, error=str(error))
                raise error
            saver.poll(num_pending, num_failed)
            stop.agreed = num_stops > 0
            # ======================================================== step
            with clock.part("step"):
                parallel.step(lr_at(config, step))
            step += 1
            # ======================================================== log
            if step % config.log_every == 0 or step == position.step + 1:
                row = dict(zip(("loss", *logs), shown, strict=True))
                report.step(step, row, lr=lr_at(config, step - 1), norm=total_norm)
            # ======================================================== evaluate
            evaluate_if_due()
            # ======================================================== save
            if step % config.save_every == 0 or step == config.steps or stop.agreed:
                saver.start(Position(step, reader.state_dict(), evaluated, config.optimizer, values))
        saver.close()

    # ================================================================ the end
    report.event("stop" if stop.agreed else "finish", step)
    if windows:
        windows.close()
    report.close()
    reader.close()
    held_out.close()
    if parallel.is_main and not stop.agreed:
        save_checkpoint(paths, data, config, values)
    parallel.sum(torch.zeros(()))  # nobody ends before the checkpoint is whole: any rank's success is the run's
    parallel.close()
    if lock:
        lock.release()
    return PretrainResult(paths.checkpoint, step, values, stop.agreed, parallel.is_main)


def build_reader(
    data: Blend, policy: PolicyConfig, config: TrainConfig, parallel: Parallel, *, split: str = "train"
) -> Reader:
    """This rank's share of `data`, a part of a batch at a time: the parts of a step are the windows of a whole one."""
    settings = ReaderConfig(
        height=policy.height,
        width=policy.width,
        window_ticks=config.window_ticks,
        batch_size=config.batch_size // config.accumulation,
        split=split,
        seed=config.seed,
        rank=parallel.rank,
        world_size=parallel.world_size,
        temperature=config.temperature,
        block_mb=config.block_mb,
        cache_mb=config.cache_mb,
        decode_threads=config.decode_threads,
    )
    return Reader(data, settings)


def resume(paths: RunPaths, parallel: Parallel, policy: Policy, reader: Reader) -> Position:
    """Restore the newest saved step of the run, if there is one, and put the policy to work."""
    config = parallel.config
    newest = newest_state(paths.steps)
    position = Position(0, reader.state_dict(), optimizer=config.optimizer)
    if newest is None:
        if config.encoder_weights:
            load_encoder_weights(policy, Path(config.encoder_weights))
        parallel.prepare(policy, lambda policy: build_optimizer(policy, config))
        return position
    with StateReader(newest) as state:
        check_same_run(state, policy.config, config.optimizer)
        load_weights(policy, state.weights(), newest)
        reader.load_state_dict(state.position.reader)
        parallel.prepare(policy, lambda policy: build_optimizer(policy, config))
        for name in parallel.sizes:
            parallel.write(name, state.moments(name))
        return state.position


def run_facts(data: Blend, policy: PolicyConfig, config: TrainConfig) -> dict[str, Any]:
    """What must be alike on all ranks, by name."""
    settings = {f"policy {name}": value for name, value in asdict(policy).items()}
    settings |= {f"training {name}": value for name, value in asdict(config).items()}
    return {**settings, "corpus": data.fingerprint, "weights": list(data.weights), "version": __version__}


def save_checkpoint(paths: RunPaths, data: Blend, config: TrainConfig, values: dict[str, float]) -> None:
    """Make the policy of the last step: a checkpoint that serves."""
    newest = newest_state(paths.steps)
    assert newest is not None, "a run ends with a saved step"
    facts = {"steps": config.steps, "seed": config.seed, "corpus": ", ".join(data.names)}
    policy = export_policy(newest, paths.checkpoint, facts=facts | {k: f"{v:.4f}" for k, v in values.items()})
    if policy.config.lookahead_ticks == 0:  # one that plays
        calibrate_checkpoint(paths.checkpoint, data, config)


def not_finite(
    parallel: Parallel, saver: StateSaver, step: int, parts: Sequence[Batch], *, is_mine: bool
) -> NonFiniteError:
    """The error of a step whose loss or gradient is no number, the same on all ranks; is_mine: this rank's loss is."""
    saver.close()
    keys = sorted({window.key for part in parts for window in part.windows if window != PADDING})
    found = parallel.gather_json({"bad": is_mine, "clips": keys[:4]})
    rank, bad = next(((rank, each) for rank, each in enumerate(found) if each["bad"]), (0, found[0]))
    last = newest_state(saver.folder)
    what = "loss" if bad["bad"] else "gradient"
    do = f"Look at clips {bad['clips']} (rank {rank}), or lower --lr; the last good checkpoint is {last or 'none yet'}."
    return NonFiniteError(f"step {step} has a {what} that is not finite", got=what, expected="a number", do=do)
