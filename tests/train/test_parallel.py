"""Laws of scale: however a model is shared out, on however many ranks, a run computes what one process computes."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gi_model.batch import Batch
from gi_model.checkpoint import load_policy
from gi_model.config import preset
from gi_model.policy import Policy
from gi_train.config import PRESETS, TrainConfig
from gi_train.preflight import resolve_strategy
from gi_train.run_events import read_events
from gi_train.run_files import RunPaths, read_rows
from gi_train.train_state import StateReader, newest_state
from tests.train.ranks import STOPPED, Ranks, Run, train, train_rank

ROOT = Path(__file__).resolve().parents[2]
STRATEGIES = ("ddp", "fsdp2", "zero1", "zero2", "zero3")
POLICY = preset("debug").replace(height=32, width=48, past_actions="dropout", past_action_dropout=0.3)
TRAIN = TrainConfig(
    steps=6,
    batch_size=12,
    window_ticks=5,
    warmup_steps=2,
    log_every=1,
    evaluate_every=3,
    evaluate_batches=2,
    save_every=3,
    augment=0.5,
    log_windows=True,
)
TIMES = ("frames_per_s", "data_wait", "tokens_per_s", "mfu", "seconds/")  # what no law fixes


def curves(out: Path) -> dict[tuple[str, int, str], float]:
    """Every figure of a run that must repeat, by kind, step, and name."""
    rows = [row for row in read_rows(RunPaths(out).metrics) if row["kind"] in ("train", "val")]
    figures = ((row["kind"], row["step"], name, value) for row in rows for name, value in row.items())
    return {
        (kind, step, name): value
        for kind, step, name, value in figures
        if isinstance(value, float) and not name.startswith(TIMES)
    }


def windows(out: Path, step: int) -> list[list[list[Any]]]:
    """What each rank consumed in one step."""
    files = sorted(out.glob("windows-*.jsonl"))
    rows = [[json.loads(line) for line in file.read_text().splitlines() if line] for file in files]
    return [next(row["windows"] for row in reversed(mine) if row["step"] == step) for mine in rows]


def assert_same_run(got: Path, expected: Path, *, tolerance: float = 1e-4) -> None:
    mine, theirs = curves(got), curves(expected)
    assert mine == pytest.approx(theirs, rel=tolerance, abs=tolerance)
    found, wanted = (load_policy(RunPaths(out).checkpoint) for out in (got, expected))
    for (name, value), own in zip(wanted.named_parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(own, value, atol=2e-4, rtol=0, msg=name)


@pytest.fixture(scope="module")
def alone(corpus_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, one part a step, uninterrupted."""
    out = tmp_path_factory.mktemp("alone")
    train(Run(corpus_path, out, POLICY, TRAIN))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks_learn_what_one_does(strategy: str, alone: Path, corpus_path: Path, tmp_path: Path) -> None:
    """Losses, gradient norms, held-out figures, and weights; past actions are hidden and pictures changed alike."""
    train(Run(corpus_path, tmp_path, POLICY, TRAIN.replace(strategy=strategy)), 2)
    assert_same_run(tmp_path, alone)
    first, second = windows(tmp_path, 0)
    (all_of_them,) = windows(alone, 0)
    assert len(first) == len(second) == 6
    assert [window for pair in zip(first, second, strict=True) for window in pair] == all_of_them


@pytest.mark.slow
def test_accumulated_parts_are_one_batch(alone: Path, corpus_path: Path, tmp_path: Path) -> None:
    config = TRAIN.replace(accumulation=3, activation_checkpointing=True)
    train(Run(corpus_path, tmp_path, POLICY, config))
    assert_same_run(tmp_path, alone)


@pytest.mark.slow
def test_accumulation_under_sharding(alone: Path, corpus_path: Path, tmp_path: Path) -> None:
    """Gradients of the first part wait, whole or in pieces, for the last."""
    for strategy in ("fsdp2", "zero2"):
        config = TRAIN.replace(strategy=strategy, accumulation=2)
        train(Run(corpus_path, tmp_path / strategy, POLICY, config), 2)
        assert_same_run(tmp_path / strategy, alone)


@pytest.mark.slow
def test_a_run_goes_on_under_another_strategy_and_world_size(alone: Path, corpus_path: Path, tmp_path: Path) -> None:
    """Stopped by SIGTERM to one rank at 2 x zero3, then at 1 process, then finished by 3 x fsdp2."""
    calm = dataclasses.replace(Run(corpus_path, tmp_path / "calm", POLICY, TRAIN.replace(steps=60, save_every=10)))
    train(calm)
    storm = dataclasses.replace(calm, out=tmp_path / "storm")
    for world_size, strategy, step in ((2, "zero3", 8), (1, "ddp", 25)):
        with Ranks(dataclasses.replace(storm, config=storm.config.replace(strategy=strategy)), world_size) as ranks:
            assert ranks.wait_for_step(step)
            ranks.signal(signal.SIGTERM, world_size - 1)
            assert ranks.join() == [STOPPED] * world_size
        saved = newest_state(RunPaths(storm.out).steps)
        assert saved is not None
        assert len(list(saved.glob("tensors-*"))) == world_size
    train(dataclasses.replace(storm, config=storm.config.replace(strategy="fsdp2")), 3)
    assert_same_run(storm.out, calm.out, tolerance=2e-3)


@pytest.mark.slow
def test_bf16_learns_and_keeps_float32_weights(alone: Path, corpus_path: Path, tmp_path: Path) -> None:
    for strategy in ("ddp", "fsdp2", "zero2"):
        out = tmp_path / strategy
        train(Run(corpus_path, out, POLICY, TRAIN.replace(strategy=strategy, precision="bf16")), 2)
        assert curves(out)["val", 6, "loss"] == pytest.approx(curves(alone)["val", 6, "loss"], rel=1e-2)
        saved = newest_state(RunPaths(out).steps)
        assert saved is not None
        with StateReader(saved) as state:
            assert {state.tensor(name).dtype for name in state.names()} == {torch.float32}


@pytest.mark.slow
def test_accelerate_launch_is_the_flag(alone: Path, corpus_path: Path, tmp_path: Path) -> None:
    """train/configs/zero2.yaml through `accelerate launch` does what --strategy zero2 does, and says so."""
    bin_folder = Path(sys.executable).parent
    argv = [bin_folder / "accelerate", "launch", "--config_file", ROOT / "train" / "configs" / "zero2.yaml"]
    argv += ["--no_python", bin_folder / "gi", "pretrain", "--data", corpus_path, "--out", tmp_path]
    argv += ["--preset", "debug", "--window-ticks", TRAIN.window_ticks]
    odd = {name: value for name, value in vars(POLICY).items() if value != vars(preset("debug"))[name]}
    odd |= {name: value for name, value in vars(TRAIN).items() if value != vars(PRESETS["debug"])[name]}
    del odd["window_ticks"]  # the policy has one, too
    argv += [word for name, value in odd.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    ran = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False, timeout=280)
    assert ran.returncode == 0, ran.stderr
    assert "2 processes, zero2" in ran.stderr.replace("\n", " ")
    assert ran.stdout.count("policy:") == 1
    assert_same_run(tmp_path, alone)


def test_every_config_is_one_that_preflight_knows() -> None:
    """What `accelerate launch` would set for each is resolved to the strategy in its name."""
    for path in sorted((ROOT / "train" / "configs").glob("*.yaml")):
        settings = yaml.safe_load(path.read_text())
        zero, fsdp = settings.get("deepspeed_config", {}), settings.get("fsdp_config", {})
        environment = {
            "ACCELERATE_USE_DEEPSPEED": str(bool(zero)),
            "ACCELERATE_DEEPSPEED_ZERO_STAGE": str(zero.get("zero_stage", 0)),
            "ACCELERATE_USE_FSDP": str(bool(fsdp)),
            "FSDP_VERSION": str(fsdp.get("fsdp_version", 1)),
        }
        strategy = resolve_strategy(TrainConfig(), environment)
        assert path.stem.startswith(strategy) or (path.stem, strategy) == ("multi-node", "fsdp2")
        assert not settings["use_cpu"]


@pytest.mark.slow
def test_one_ranks_bad_loss_stops_all_before_the_optimiser_moves(corpus_path: Path, tmp_path: Path) -> None:
    run = Run(corpus_path, tmp_path, POLICY, TRAIN.replace(save_every=2))
    with Ranks(run, 2, target=train_poisoned) as ranks:
        assert ranks.join() == [1, 1]
    (event,) = [event for event in read_events(RunPaths(tmp_path).events) if event["kind"] == "fail"]
    assert re.search(r"step 4 has a loss.*clips \['.*\(rank 1\).*last good checkpoint is .*000004", event["error"])
    clips = {str(key) for key, _ in windows(tmp_path, 4)[1]}
    assert set(re.findall(r"'([^']+)'", event["error"])) <= clips


def train_poisoned(run: Run, rank: int, world_size: int, port: int) -> None:
    """Rank 1's loss is no number in step 4."""
    forward, calls = Policy.forward, 0

    def poisoned(self: Policy, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        nonlocal calls
        calls += 1
        loss, logs = forward(self, batch)
        return (loss * torch.nan if rank == 1 and calls == 5 else loss), logs

    Policy.forward = poisoned  # type: ignore[method-assign]
    train_rank(run, rank, world_size, port)
