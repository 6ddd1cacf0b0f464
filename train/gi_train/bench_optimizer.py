"""Optimisers racing to one held-out loss: the same windows, weights, and schedule; what differs is the step they take.

A grid of learning rates is tried on short runs of equal steps; then the best rate of each optimiser runs for equal
seconds, with several seeds. The measure is seconds of the training thread, not steps: Muon's products cost time that
AdamW spends on more steps. Reading, which is alike for all, and validation are not counted. Rejected: `pretrain`
itself, whose loop also saves and reports; one learning rate for all, which favours the optimiser it was tuned for.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import mean

import torch

from gi_data.blend import Blend
from gi_data.reader import Reader, ReaderConfig
from gi_model.batch import Batch
from gi_model.config import PolicyConfig
from gi_model.policy import Policy
from gi_train.config import TrainConfig
from gi_train.optimizers import build_optimizer

EVALUATIONS = 20  # in a run


@dataclass(frozen=True)
class Point:
    """A place on a curve. seconds: of the training thread on a CPU, of the clock on a GPU."""

    step: int
    seconds: float
    loss: float  # held out, nats a tick


@dataclass(frozen=True)
class Run:
    """One optimiser, learning rate, and seed, and how its loss fell."""

    optimizer: str
    lr: float
    seed: int
    steps: int
    points: tuple[Point, ...]

    @property
    def name(self) -> str:
        """For tables and charts."""
        return f"{self.optimizer} {self.lr:g}"

    @property
    def final(self) -> Point:
        """The last point."""
        return self.points[-1]

    def reached(self, target: float) -> Point | None:
        """Where the loss first fell to `target`, between two points on a straight line; None if it never did."""
        for before, after in zip((self.points[0], *self.points), self.points, strict=False):
            if after.loss <= target:
                fall = before.loss - after.loss
                share = min(1.0, max(0.0, (before.loss - target) / fall)) if fall > 0 else 1.0
                steps = before.step + share * (after.step - before.step)
                return Point(round(steps), before.seconds + share * (after.seconds - before.seconds), target)
        return None


@dataclass(frozen=True)
class Race:
    """What runs: every optimiser with all of `lrs` over `steps`, first seed; then its best for `final_seconds`."""

    optimizers: tuple[str, ...] = ("adamw", "muon")
    lrs: tuple[float, ...] = (5e-4, 1e-3, 2e-3)
    steps: int = 400
    final_seconds: float = 120.0  # 0: no finals
    seeds: tuple[int, ...] = (0, 1)


def race(
    data: Blend, policy: PolicyConfig, config: TrainConfig, rules: Race, *, on_run: Callable[[Run], None]
) -> tuple[list[Run], list[Run]]:
    """Runs of the grid, and the finals; `on_run` sees each as it ends."""

    def run(optimizer: str, lr: float, seed: int, steps: int) -> Run:
        settings = config.replace(
            optimizer=optimizer,
            lr_peak=lr,
            seed=seed,
            steps=steps,
            evaluate_every=max(1, steps // EVALUATIONS),
            warmup_steps=min(config.warmup_steps, steps // 2),
        )
        done = Run(optimizer, lr, seed, steps, tuple(train(data, policy, settings)))
        on_run(done)
        return done

    grid = [run(name, lr, rules.seeds[0], rules.steps) for lr in rules.lrs for name in rules.optimizers]
    if not rules.final_seconds:
        return grid, []
    best = [best_of(grid, name) for name in rules.optimizers]
    steps = [max(1, round(rules.final_seconds / one.final.seconds * one.steps)) for one in best]
    entrants = list(zip(best, steps, strict=True))
    return grid, [run(one.optimizer, one.lr, seed, length) for seed in rules.seeds for one, length in entrants]


def best_of(runs: Sequence[Run], optimizer: str) -> Run:
    """The run of `optimizer` that ended lowest."""
    return min((run for run in runs if run.optimizer == optimizer), key=lambda run: run.final.loss)


def common_target(runs: Sequence[Run]) -> float:
    """The loss that every run reached: the worst of their lowest."""
    return max(min(point.loss for point in run.points) for run in runs)


def mean_seconds(runs: Sequence[Run], optimizer: str, target: float) -> float | None:
    """Mean seconds of an optimiser's runs to `target`; None where one did not reach it."""
    reached = [run.reached(target) for run in runs if run.optimizer == optimizer]
    seconds = [point.seconds for point in reached if point is not None]
    return mean(seconds) if seconds and len(seconds) == len(reached) else None


def train(data: Blend, policy_config: PolicyConfig, config: TrainConfig) -> Iterator[Point]:
    """Train one policy as `pretrain` does, on one device; yields a point at every evaluation and at the end."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    policy = Policy(policy_config).to(device)
    optimizer = build_optimizer(policy, config)
    held_out = _held_out(data, policy_config, config, device)
    seconds = 0.0
    with Reader(data, _reader_config(policy_config, config, "train")) as reader:
        for step, batch in enumerate(islice(reader, config.steps)):
            started = _clock(device)
            for group in optimizer.param_groups:
                group["lr"] = config.lr_at(step) * group["lr_scale"]
            loss, _ = policy(batch.to(device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), config.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            seconds += _clock(device) - started
            if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
                yield Point(step + 1, seconds, validate(policy, held_out))


@torch.no_grad()
def validate(policy: Policy, batches: Sequence[Batch]) -> float:
    """Mean loss of a known tick, nats."""
    policy.eval()
    total, num_ticks = 0.0, 0
    for batch in batches:
        loss, _ = policy(batch)
        total, num_ticks = total + float(loss) * int(batch.known.sum()), num_ticks + int(batch.known.sum())
    policy.train()
    return total / max(1, num_ticks)


def _held_out(data: Blend, policy: PolicyConfig, config: TrainConfig, device: torch.device) -> list[Batch]:
    with Reader(data, _reader_config(policy, config, "val")) as reader:
        return [batch.to(device) for batch in islice(reader, config.evaluate_batches)]


def _reader_config(policy: PolicyConfig, config: TrainConfig, split: str) -> ReaderConfig:
    return ReaderConfig(
        height=policy.height,
        width=policy.width,
        window_ticks=config.window_ticks,
        batch_size=config.batch_size,
        split=split,
        seed=config.seed,
        temperature=config.temperature,
        block_mb=config.block_mb,
        cache_mb=config.cache_mb,
        decode_threads=config.decode_threads,
    )


def _clock(device: torch.device) -> float:
    """Seconds of this thread, which does all the work on a CPU; of the clock, when a GPU has finished."""
    if device.type == "cpu":
        return time.thread_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
