"""Ranks of a training run: real processes that can be killed, forked from a server that has torch imported already."""

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from gi_data.blend import Blend
from gi_data.corpus import Corpus
from gi_model.config import PolicyConfig
from gi_train.config import TrainConfig
from gi_train.run_files import RunPaths, read_rows

Target = Callable[["Run", int, int, int], None]
STOPPED = 143  # as `gi pretrain` exits


@dataclass(frozen=True)
class Run:
    """What to train, and where."""

    corpus: Path
    out: Path
    policy: PolicyConfig
    config: TrainConfig


class Ranks:
    """`world_size` processes of one run; a context manager that leaves none behind."""

    def __init__(self, run: Run, world_size: int, *, target: "Target | None" = None) -> None:
        """target: what each rank does instead of `train_rank`."""
        self.run = run
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["gi_train.pretrain", "deepspeed"])
        port = _free_port()
        self.processes: list[BaseProcess] = [
            context.Process(target=target or train_rank, args=(run, rank, world_size, port))
            for rank in range(world_size)
        ]

    def __enter__(self) -> "Ranks":
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def wait_for_step(self, step: int, *, timeout_s: float = 120.0) -> bool:
        """Wait until rank 0 logged `step`; False if the run ended before."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if last_step(self.run.out) >= step:
                return True
            if self.processes[0].exitcode is not None:
                return False
            time.sleep(0.005)
        raise AssertionError(f"no step {step} within {timeout_s} s; at {last_step(self.run.out)}")

    def signal(self, number: int, rank: int) -> None:
        """Send a signal to one rank."""
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, number)

    def join(self, *, timeout_s: float = 120.0) -> list[int | None]:
        """Exit codes, once all have ended. None: it did not."""
        for process in self.processes:
            process.join(timeout_s)
        return [process.exitcode for process in self.processes]


def train(run: Run, world_size: int = 1) -> None:
    """Run to the end, undisturbed."""
    with Ranks(run, world_size) as ranks:
        assert ranks.join() == [0] * world_size


def last_step(out: Path) -> int:
    """The newest step in the run's metrics; 0 before any."""
    metrics = RunPaths(out).metrics
    return max((int(row["step"]) for row in (read_rows(metrics) if metrics.exists() else [])), default=0)


def train_rank(run: Run, rank: int, world_size: int, port: int) -> None:
    """One rank, in a process of its own; exits as `gi pretrain` does."""
    from gi_train.pretrain import pretrain

    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
    os.environ.update({name: str(value) for name, value in ranks.items()} if world_size > 1 else {})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    result = pretrain(Blend([Corpus(run.corpus)]), run.out, run.policy, run.config)
    raise SystemExit(STOPPED if result.stopped else 0)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
