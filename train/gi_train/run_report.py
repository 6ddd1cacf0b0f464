"""`RunReport`: all that a run tells: curves, the live line, events, whether data or a rank holds it up.

Rank 0 writes; the others only take part where a figure needs all of them.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict

import torch

from gi_data.reader import Reader
from gi_model.config import PolicyConfig
from gi_train.data_watch import DataWatch, print_shares, share_facts
from gi_train.kubeflow_status import KubeflowStatus, RunStatus
from gi_train.metrics import MetricsLog
from gi_train.parallel import Parallel
from gi_train.preflight import describe
from gi_train.progress import TrainProgress
from gi_train.run_events import EventKind, append_event
from gi_train.run_files import RunPaths
from gi_train.step_clock import StepClock, find_straggler
from gi_train.throughput import Throughput


class RunReport:
    """Of one run, from step `first` on."""

    def __init__(self, paths: RunPaths, parallel: Parallel, policy: PolicyConfig, reader: Reader, first: int) -> None:
        self._paths, self._parallel, self._step = paths, parallel, first
        self.clock = StepClock(parallel.device)
        self.progress = TrainProgress(parallel.config.steps, first, enabled=parallel.is_main)
        self._watch = DataWatch(reader, self.progress.say)
        self._log: MetricsLog | None = None
        self._told_straggler = False
        self._trained_s, self._first = 0.0, first
        self._kubeflow: KubeflowStatus | None = None
        if parallel.is_main:
            self._log = MetricsLog(paths.metrics, paths.tensorboard, first_step=first)
            self._throughput = _throughput(policy, parallel)
            self.progress.say(describe(parallel))
            self._kubeflow = KubeflowStatus.from_environment(os.environ, say=self.progress.say)
            print_shares(reader.streams)
            self._log.write("data", first, share_facts(reader.streams))
            settings = {"policy": policy.to_dict(), "train": asdict(parallel.config)}
            self.event("resume" if first else "start", first, **settings)
        self._since = time.perf_counter()

    def step(self, step: int, means: Mapping[str, float], *, lr: float, norm: float) -> None:
        """After optimiser step `step`, counted from 1; all ranks must call it for the same steps."""
        config, now = self._parallel.config, time.perf_counter()
        seconds, num_steps = now - self._since, step - self._step
        self._since, self._step, self._trained_s = now, step, self._trained_s + seconds
        parts = self.clock.read()
        if num_steps > 1 or config.log_every == 1:  # the very first step waits for everything
            self._name_straggler(step, parts)
        if not self._log:
            return
        rate = num_steps * config.batch_size * config.window_ticks / seconds
        run = {"lr": lr, "norm": norm, "frames_per_s": rate, "data_wait": self._watch.waited(seconds)}
        times = {f"seconds/{name}": value / num_steps for name, value in parts.items()}
        self._log.write("train", step, {**means, **run, **self._throughput.facts(rate), **times})
        left_s = (config.steps - step) * self._trained_s / (step - self._first)
        self.progress.update(step, loss=means["loss"], rate=rate, seconds_left=left_s)
        if self._kubeflow:
            figures = {"loss": means["loss"], "frames_per_s": rate, "step": step}
            self._kubeflow.report(RunStatus(step, config.steps, left_s, figures))

    def evaluated(self, step: int, values: Mapping[str, float]) -> None:
        """Held-out figures; the time they took is no step's."""
        if self._log:
            self._log.write("val", step, values)

    def skip_time(self, begun: float) -> None:
        """Leave what began at `begun` (perf_counter) and ends now out of the rate."""
        self._since += time.perf_counter() - begun

    def event(self, kind: EventKind, step: int, **facts: object) -> None:
        """Note what befell the run."""
        if self._parallel.is_main:
            append_event(self._paths.events, kind, step=step, run=describe(self._parallel), **facts)

    def close(self) -> None:
        """Close the files."""
        if self._log:
            self._log.close()
        if self._kubeflow:
            self._kubeflow.close()

    def _name_straggler(self, step: int, parts: dict[str, float]) -> None:
        if self._parallel.world_size == 1 or self._told_straggler:
            return
        text = find_straggler(parts, self._parallel.gather, self._parallel.device)
        if text:
            self._told_straggler = True
            self.event("straggler", step, text=text)
            if self._parallel.is_main:
                self.progress.say(text)


def _throughput(policy: PolicyConfig, parallel: Parallel) -> Throughput:
    config = parallel.config
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    ticks, ranks = config.window_ticks, parallel.world_size
    return Throughput(policy, world_size=ranks, device=parallel.device, dtype=dtype, window_ticks=ticks)
