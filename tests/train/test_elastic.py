"""torchrun's elastic agent brings a run back whose worker was killed; it ends as one that nothing befell."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gi_model.config import preset
from gi_train.config import PRESETS
from gi_train.run_events import read_events
from gi_train.run_files import RunPaths
from tests.train.ranks import Ranks, Run, last_step, train_rank
from tests.train.test_kill_campaign import losses

SETTINGS = {"height": 32, "width": 48, "save_every": 10, "evaluate_every": 60, "evaluate_batches": 2, "log_every": 1}


def launch(corpus: Path, out: Path) -> "subprocess.Popen[str]":
    """Two workers under torchrun, which may start them anew twice."""
    agent = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=2"]
    agent += ["--monitor-interval=0.2", "--no-python", str(Path(sys.executable).parent / "gi"), "pretrain"]
    flags = ["--data", str(corpus), "--out", str(out), "--preset", "debug", "--steps", "60", "--batch-size", "4"]
    sets = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*agent, *flags, *sets], env=environment, stderr=subprocess.PIPE, text=True)


def workers(agent: int) -> dict[int, int]:
    """Process ids of an agent's workers by rank."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (process / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        rank = next((int(each[5:]) for each in variables if each.startswith(b"RANK=")), None)
        if parent == agent and rank is not None:
            found[rank] = int(process.name)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_worker_comes_back_and_nothing_is_lost(corpus_path: Path, tmp_path: Path) -> None:
    calm = launch(corpus_path, tmp_path / "calm")
    _, errors = calm.communicate(timeout=240)
    assert calm.returncode == 0, errors
    agent = launch(corpus_path, tmp_path / "storm")
    deadline = time.monotonic() + 120
    while last_step(tmp_path / "storm") < 25 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(workers(agent.pid)[1], signal.SIGKILL)
    _, errors = agent.communicate(timeout=240)
    assert agent.returncode == 0, errors
    assert losses(tmp_path / "storm") == losses(tmp_path / "calm")
    events = [event["kind"] for event in read_events(RunPaths(tmp_path / "storm").events)]
    assert [kind for kind in events if kind != "straggler"] == ["start", "resume", "finish"]


def slow_end(run: Run, rank: int, world_size: int, port: int) -> None:
    """A rank of a run whose checkpoint takes long to write; ends with 9 if it ends before that is there."""
    from gi_train import pretrain

    whole = pretrain.save_checkpoint

    def save(*args: object) -> None:
        time.sleep(2)
        whole(*args)  # type: ignore[arg-type]

    pretrain.save_checkpoint = save  # type: ignore[assignment]
    try:
        train_rank(run, rank, world_size, port)
    except SystemExit as end:
        raise SystemExit(end.code if RunPaths(run.out).checkpoint.exists() else 9) from None


@pytest.mark.slow
def test_no_rank_succeeds_before_the_checkpoint_is_whole(corpus_path: Path, tmp_path: Path) -> None:
    """A job may be over as soon as one of its pods succeeded."""
    run = Run(corpus_path, tmp_path, preset("debug"), PRESETS["debug"].replace(steps=4))
    with Ranks(run, 2, target=slow_end) as ranks:
        assert ranks.join() == [0, 0]
