"""Post-training: a base policy learns a game or a body from a few demonstrations; the loop, written out.

    demonstrations (a view, some held out) -> the base, frozen -> adapt -> train -> keep the best by held-out nats

One process: what is trained is small. Batches, augmentation, optimiser, schedule, and saved steps are those of
pretraining, so a killed run resumes to the very adapter that an uninterrupted one makes. What is best so far always
lies in the run's folder, whole. Rejected: stopping by the training loss (it falls for ever on five demonstrations), and
by the score in play (a robot has no cheap one).
"""

import time
from dataclasses import dataclass
from itertools import islice
from math import inf, isfinite
from pathlib import Path

import torch

from gi_data.corpus import Corpus
from gi_data.reader import Reader, ReaderConfig
from gi_model.calibration import save_calibration
from gi_model.errors import ConfigError, NonFiniteError
from gi_train.augment import augment
from gi_train.calibrate_keys import calibrate_keys
from gi_train.launch import build_parallel
from gi_train.metrics import MetricsLog, evaluate_offline
from gi_train.optimizers import build_optimizer
from gi_train.parallel import Parallel
from gi_train.preflight import lock_run
from gi_train.progress import TrainProgress
from gi_train.row_draws import step_seed, with_draws
from gi_train.run_events import append_event
from gi_train.schedule import lr_at
from gi_train.state_saver import StateSaver
from gi_train.stop import Stop
from gi_train.train_state import Position, StateReader, newest_state
from gi_train.trainee import Trainee


@dataclass(frozen=True)
class PosttrainResult:
    """Where the best adapter (or, trained in full, policy) is, of which step, and what it reached on held-out play."""

    folder: Path
    step: int
    best_step: int
    values: dict[str, float]
    stopped: bool


def posttrain(trainee: Trainee) -> PosttrainResult:
    """Train it, keeping all in its run's folder; resumes. Raises ConfigError, CheckpointError, TrainingError."""
    # ================================================================ set-up
    config, train, paths = trainee.config, trainee.config.train, trainee.paths
    torch.set_num_threads(train.threads)
    parallel = build_parallel(train)
    if parallel.world_size > 1:
        raise ConfigError("post-training runs in one process", got=parallel.world_size, do="Start it without torchrun.")
    lock = lock_run(paths.out, parallel)
    trainee.check_same_run()
    reader, held_out = build_reader(trainee, "train"), build_reader(trainee, "val")
    position = resume(trainee, parallel, reader)
    saver = StateSaver(paths.steps, parallel, keep=train.keep)
    log = MetricsLog(paths.metrics, paths.tensorboard, first_step=position.step or -1)  # -1: step 0 is looked at anew
    progress, stop = TrainProgress(train.steps, position.step, name="posttrain"), Stop()
    step, values, batches = position.step, dict(position.values), iter(reader)
    since = time.perf_counter()
    append_event(paths.events, "resume" if step else "start", step=step, **trainee.facts)

    def evaluate() -> None:
        """Look at held-out play, and keep what is best; the time it takes is no step's."""
        nonlocal since
        begun = time.perf_counter()
        some = (batch.to(parallel.device) for batch in islice(held_out, train.evaluate_batches))
        with parallel.autocast():
            found = evaluate_offline(trainee.policy.eval(), some)
        trainee.learn()
        log.write("val", step, found)
        best = values.get("best", inf)
        values.update(found)
        if found["nll"] < best:
            trainee.save({"step": step, "held-out nats a tick": f"{found['nll']:.3f}"})
            values.update(best=found["nll"], best_step=float(step))
        since += time.perf_counter() - begun

    def is_done() -> bool:
        waited = (step - values["best_step"]) / train.evaluate_every
        return step >= train.steps or (config.patience > 0 and waited >= config.patience)

    with progress, stop.on_signals():
        trainee.learn()
        if step == 0:
            evaluate()
        # ============================================================ the loop
        while not is_done() and not stop.agreed:
            # ======================================================== fetch
            drawn = with_draws(next(batches), seed=train.seed, step=step).to(parallel.device, non_blocking=True)
            batch = augment(drawn, strength=train.augment, seed=train.seed, step=step)
            torch.manual_seed(step_seed(train.seed, step, part=0))
            # ======================================================== forward, backward, clip
            loss, logs = parallel.forward(batch)
            parallel.backward(loss)
            norm = parallel.clip(train.clip_norm)
            # ======================================================== check finite
            shown = torch.stack([loss.detach(), *logs.values(), norm]).tolist()
            if not isfinite(shown[0] + shown[-1]):
                saver.close()
                keys = sorted({window.key for window in batch.windows})[:4]
                do = f"Look at clips {keys}, or lower --lr; the best so far is kept in {trainee.folder}."
                what = f"step {step} has a loss or gradient that is not finite"
                raise NonFiniteError(what, got=shown[0], expected="a number", do=do)
            # ======================================================== step
            parallel.step(lr_at(train, step))
            step += 1
            # ======================================================== log, evaluate, save
            if step % train.log_every == 0:
                rate = train.log_every * train.batch_size * train.window_ticks / (time.perf_counter() - since)
                since = time.perf_counter()
                row = dict(zip(("loss", *logs, "norm"), shown, strict=True))
                log.write("train", step, row | {"lr": lr_at(train, step - 1), "frames_per_s": rate})
                left = (train.steps - step) * train.batch_size * train.window_ticks / rate
                progress.update(step, loss=row["loss"], rate=rate, seconds_left=left)
            if step % train.evaluate_every == 0 or step == train.steps:
                evaluate()
            stop.agreed = stop.asked
            saver.poll(*saver.flags)
            if step % train.save_every == 0 or is_done() or stop.agreed:
                saver.start(Position(step, reader.state_dict(), step, train.optimizer, dict(values)))
        saver.close()

    # ================================================================ the end
    append_event(paths.events, "finish" if is_done() else "stop", step=step, **values)
    log.close()
    if is_done():
        save_calibration(calibrate_keys(trainee.load(), islice(held_out, train.evaluate_batches)), trainee.folder)
    reader.close()
    held_out.close()
    if lock:
        lock.release()
    return PosttrainResult(trainee.folder, step, int(values["best_step"]), values, stopped=not is_done())


def build_reader(trainee: Trainee, split: str) -> Reader:
    """Every window of the demonstrations equally often, at another phase in each pass; of "val", all in order."""
    policy, train = trainee.policy.config, trainee.config.train
    settings = ReaderConfig(
        height=policy.height,
        width=policy.width,
        window_ticks=train.window_ticks,
        batch_size=train.batch_size,
        split=split,
        seed=train.seed,
        temperature=1.0,
        block_mb=train.block_mb,
        cache_mb=train.cache_mb,
        decode_threads=train.decode_threads,
        num_commands=len(trainee.body.command_space) if trainee.body else 0,
    )
    return Reader(Corpus(trainee.demonstrations.folder), settings, action_space=trainee.policy.space)


def resume(trainee: Trainee, parallel: Parallel, reader: Reader) -> Position:
    """Put the policy to work, as it was in the newest saved step if there is one. Raises CheckpointError."""
    train, newest = trainee.config.train, newest_state(trainee.paths.steps)
    parallel.prepare(trainee.policy, lambda policy: build_optimizer(policy, train))
    if newest is None:
        return Position(0, reader.state_dict(), optimizer=train.optimizer)
    with StateReader(newest) as state, torch.no_grad():
        reader.load_state_dict(state.position.reader)
        for name, parameter in parallel.parameters.items():
            parameter.copy_(state.tensor(f"weights/{name}"))
            parallel.write(name, state.moments(name))
        return state.position
