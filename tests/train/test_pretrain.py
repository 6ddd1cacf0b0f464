"""Laws of training: resumed equals uninterrupted, a bad loss moves nothing, and what is saved is whole."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gi_data.blend import Blend
from gi_data.corpus import Corpus
from gi_data.reader import Reader, ReaderConfig
from gi_model.actions import ActionSpace
from gi_model.batch import Batch
from gi_model.checkpoint import load_policy, read_fingerprint
from gi_model.config import PolicyConfig, preset
from gi_model.errors import CheckpointError, CorpusError, TrainingError
from gi_model.policy import Policy
from gi_train.config import TrainConfig
from gi_train.metrics import evaluate_offline
from gi_train.pretrain import PretrainResult, pretrain
from gi_train.run_files import Row, RunPaths, read_rows
from gi_train.schedule import lr_at
from gi_train.train_state import newest_state

POLICY: PolicyConfig = preset("debug").replace(height=32, width=48, past_actions="dropout", past_action_dropout=0.3)
TRAIN = TrainConfig(
    steps=12,
    batch_size=4,
    window_ticks=5,
    warmup_steps=2,
    log_every=1,
    evaluate_every=6,
    evaluate_batches=2,
    save_every=4,
)


def run(corpus: Path, out: Path, config: TrainConfig = TRAIN) -> PretrainResult:
    return pretrain(Blend([Corpus(corpus)]), out, POLICY, config)


def losses(out: Path) -> list[tuple[object, object, object]]:
    """(kind, step, loss) of every row: all that must repeat."""
    rows = read_rows(RunPaths(out).metrics)
    return [(row["kind"], row["step"], row["loss"]) for row in rows if row["kind"] != "data"]


@pytest.fixture(scope="module")
def uninterrupted(corpus_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    run(corpus_path, out)
    return out


def test_a_run_leaves_a_policy_curves_and_a_card(uninterrupted: Path) -> None:
    policy = load_policy(RunPaths(uninterrupted).checkpoint)
    assert policy.config == POLICY
    rows = read_rows(RunPaths(uninterrupted).metrics)
    assert [row["step"] for row in rows if row["kind"] == "train"] == list(range(1, 13))
    val = [row for row in rows if row["kind"] == "val"]
    assert [row["step"] for row in val] == [6, 12]
    assert {"loss", "accuracy/keys", "majority/keys", "repeat/keys", "copycat/keys"} <= set(val[-1])
    assert float(val[-1]["loss"]) < float(val[0]["loss"])
    assert "steps: 12" in (RunPaths(uninterrupted).checkpoint / "README.md").read_text()
    assert list(RunPaths(uninterrupted).tensorboard.glob("events*"))


def test_the_same_seed_gives_the_same_policy(uninterrupted: Path, corpus_path: Path, tmp_path: Path) -> None:
    run(corpus_path, tmp_path)
    assert read_fingerprint(RunPaths(tmp_path).checkpoint) == read_fingerprint(RunPaths(uninterrupted).checkpoint)


def test_resumed_twice_equals_uninterrupted_bit_for_bit(
    uninterrupted: Path, corpus_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after steps 6 and 10 (saved at 4 and 8): the same losses, the same weights."""
    import gi_train.pretrain as module

    for last in (6, 10):

        def die(config: TrainConfig, step: int, last: int = last) -> float:
            if step == last:
                raise RuntimeError("killed")
            return lr_at(config, step)

        monkeypatch.setattr(module, "lr_at", die)
        with pytest.raises(RuntimeError, match="killed"):
            run(corpus_path, tmp_path)
    monkeypatch.setattr(module, "lr_at", lr_at)
    run(corpus_path, tmp_path)
    assert losses(tmp_path) == losses(uninterrupted)
    assert read_fingerprint(RunPaths(tmp_path).checkpoint) == read_fingerprint(RunPaths(uninterrupted).checkpoint)


def test_a_loss_that_is_no_number_stops_before_the_optimiser_moves(
    corpus_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Policy.forward
    calls = 0

    def poisoned(self: Policy, batch: object) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        nonlocal calls
        calls += 1
        loss, logs = forward(self, batch)  # type: ignore[arg-type]
        return (loss * float("nan"), logs) if calls == 6 else (loss, logs)

    monkeypatch.setattr(Policy, "forward", poisoned)
    with pytest.raises(TrainingError, match=r"step 5 .*clips \['.*last good checkpoint is .*000004"):
        run(corpus_path, tmp_path)
    assert newest_state(RunPaths(tmp_path).steps) == RunPaths(tmp_path).steps / "000004"


def test_a_stop_during_an_evaluation_saves_and_makes_up_for_it(
    uninterrupted: Path, corpus_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM after the first held-out batch of step 6: the figures of step 6 come when the run goes on."""
    import gi_train.pretrain as module

    def interrupted(policy: Policy, batches: Iterator[Batch], **rest: object) -> dict[str, float]:
        next(batches)
        os.kill(os.getpid(), signal.SIGTERM)
        assert list(batches) == []
        return {"loss": 0.0}

    with monkeypatch.context() as patch:
        patch.setattr(module, "evaluate_offline", interrupted)
        result = run(corpus_path, tmp_path)
    assert result.stopped
    assert newest_state(RunPaths(tmp_path).steps) == RunPaths(tmp_path).steps / "000006"
    assert [step for kind, step, _ in losses(tmp_path) if kind == "val"] == []
    run(corpus_path, tmp_path)
    assert losses(tmp_path) == losses(uninterrupted)


@pytest.mark.parametrize(
    ("policy", "train", "words"),
    [
        (POLICY.replace(dim=64), TRAIN, "other settings.*'dim': 64"),
        (POLICY, TRAIN.replace(optimizer="muon"), "'optimizer': 'muon'"),
        (POLICY, TRAIN.replace(seed=1), "another seed"),
        (POLICY, TRAIN.replace(window_ticks=6), "another window_ticks"),
    ],
)
def test_a_run_goes_on_with_its_own_settings_only(
    uninterrupted: Path, corpus_path: Path, policy: PolicyConfig, train: TrainConfig, words: str
) -> None:
    with pytest.raises((CheckpointError, CorpusError), match=words):
        pretrain(Blend([Corpus(corpus_path)]), uninterrupted, policy, train)


def test_a_full_disk_keeps_the_step_before(corpus_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save_file

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        if "000008" in str(path):
            raise OSError(28, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr("gi_train.train_state.save_file", full)
    with pytest.raises(CheckpointError, match="Free disk space"):
        run(corpus_path, tmp_path)
    assert [path.name for path in RunPaths(tmp_path).steps.iterdir()] == ["000004"]


def test_a_damaged_step_is_named(uninterrupted: Path, corpus_path: Path, tmp_path: Path) -> None:
    run(corpus_path, tmp_path, TRAIN.replace(steps=4))
    weights = RunPaths(tmp_path).steps / "000004" / "tensors-00000-of-00001.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"Delete .*000004"):
        run(corpus_path, tmp_path)


def test_only_the_newest_steps_are_kept(uninterrupted: Path) -> None:
    assert sorted(path.name for path in RunPaths(uninterrupted).steps.iterdir()) == ["000008", "000012"]


def test_learning_rate_warms_up_and_falls() -> None:
    config = TRAIN.replace(steps=100, warmup_steps=10)
    rates = [config.lr_at(step) for step in range(100)]
    assert rates[9] == pytest.approx(config.lr_peak)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.02 * config.lr_peak


def test_trivial_players_are_scored_by_hand(corpus_path: Path, uninterrupted: Path) -> None:
    """Barcode labels hold KeyW on every third tick, so repeating the last keys is right one time in three."""
    policy = load_policy(RunPaths(uninterrupted).checkpoint)
    settings = ReaderConfig(height=32, width=48, window_ticks=8, batch_size=4, split="val")
    with Reader(Corpus(corpus_path), settings, action_space=ActionSpace()) as reader:
        values = evaluate_offline(policy, reader)
    assert values["majority/keys"] == pytest.approx(2 / 3, abs=0.05)
    assert values["repeat/keys"] == pytest.approx(1 / 3, abs=0.05)
    assert values["repeat/wheel"] == values["majority/wheel"] == 1.0


def command(corpus: Path, out: Path, *more: str) -> list[str]:
    size = ("--set", "height=32", "--set", "width=48", "--set", "log_every=1", "--set", "save_every=4")
    flags = ("--data", str(corpus), "--out", str(out), "--preset", "debug", "--batch-size", "4", "--window-ticks", "5")
    return [str(Path(sys.executable).parent / "gi"), "pretrain", *flags, *size, *more]


def wait_for_step(out: Path, step: int) -> list[Row]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        metrics = RunPaths(out).metrics
        rows = read_rows(metrics) if metrics.exists() else []
        if rows and int(rows[-1]["step"]) >= step:
            return rows
        time.sleep(0.05)
    raise AssertionError(f"no step {step} in time")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(corpus_path: Path, tmp_path: Path, number: int) -> None:
    argv = command(corpus_path, tmp_path, "--steps", "2000", "--set", "save_every=1000", "--set", "evaluate_every=2000")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    wait_for_step(tmp_path, 3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "saved; run the same command to go on" in errors
    assert "Traceback" not in errors
    saved = newest_state(RunPaths(tmp_path).steps)
    assert saved is not None
    done = json.loads((saved / "position.json").read_text())["step"]
    assert 3 <= done < 2000


def test_the_command_says_what_is_wrong(corpus_path: Path, tmp_path: Path) -> None:
    for flags, words in (
        (("--preset", "huge"), "debug | tiny"),
        (("--set", "windows=3"), "unknown setting"),
        (("--set", "encoder=vit"), "NAME=JSON"),
    ):
        ran = subprocess.run(command(corpus_path, tmp_path, *flags), capture_output=True, text=True, check=False)
        assert ran.returncode == 2
        assert words in ran.stderr.replace("\n", " ")
        assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_two_processes_learn_what_one_does(corpus_path: Path, tmp_path: Path) -> None:
    """Gloo, two ranks, the same global batch: the weights agree to float tolerance."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, prefix in (("one", []), ("two", launch)):
        argv = [*prefix, *command(corpus_path, tmp_path / name, "--steps", "6")]
        subprocess.run(argv, check=True, env=environment, timeout=240)
    one, two = (load_policy(RunPaths(tmp_path / name).checkpoint) for name in ("one", "two"))
    for (name, expected), got in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(got, expected, atol=2e-4, rtol=0, msg=name)
