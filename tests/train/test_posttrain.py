"""Laws of post-training: the base stays bit for bit, resumed equals uninterrupted, what is kept is the best."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from gi_data.demonstrations import take_demonstrations
from gi_model.adapters import ShownPast, load_adapter, read_adapter_fingerprint
from gi_model.attachment import attach
from gi_model.batch import Batch
from gi_model.calibration import load_calibration
from gi_model.checkpoint import load_policy, read_fingerprint, save_policy
from gi_model.config import PolicyConfig, preset
from gi_model.errors import CheckpointError, ConfigError, NonFiniteError
from gi_model.policy import Policy
from gi_train.augment import augment
from gi_train.metrics import evaluate_offline
from gi_train.posttrain import PosttrainResult, build_reader, posttrain
from gi_train.posttrain_config import Method, PosttrainConfig
from gi_train.run_events import read_events
from gi_train.run_files import RunPaths, read_rows
from gi_train.schedule import lr_at
from gi_train.trainee import Trainee

BASE: PolicyConfig = preset("debug").replace(height=32, width=48, past_actions="dropout", past_action_dropout=0.3)
CONFIG = PosttrainConfig(rank=4)
CONFIG = CONFIG.replace(
    train=CONFIG.train.replace(
        steps=12, batch_size=4, window_ticks=5, warmup_steps=2, log_every=1, evaluate_every=3, save_every=4
    )
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base") / "checkpoint"
    save_policy(Policy(BASE), folder)
    return folder


def start(base: Path, corpus: Path, out: Path, config: PosttrainConfig = CONFIG) -> Trainee:
    demonstrations = take_demonstrations(corpus, RunPaths(out).demonstrations, episodes=3)
    return Trainee.start(base, demonstrations, out=out, config=config)


def run(base: Path, corpus: Path, out: Path, config: PosttrainConfig = CONFIG) -> PosttrainResult:
    return posttrain(start(base, corpus, out, config))


def losses(out: Path) -> list[tuple[object, object, object]]:
    return [(row["kind"], row["step"], row["loss"]) for row in read_rows(RunPaths(out).metrics)]


@pytest.fixture(scope="module")
def uninterrupted(base: Path, corpus_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "maze run"
    assert not run(base, corpus_path, out).stopped
    return out


def test_a_run_leaves_an_adapter_curves_and_a_card(base: Path, uninterrupted: Path) -> None:
    paths = RunPaths(uninterrupted)
    adapter = load_adapter(paths.adapter)
    assert (adapter.config.name, adapter.config.fps, adapter.config.rank) == ("maze-run", 20.0, 4)
    assert adapter.config.base_fingerprint == read_fingerprint(base)
    rows = read_rows(paths.metrics)
    assert [row["step"] for row in rows if row["kind"] == "train"] == list(range(1, 13))
    assert [row["step"] for row in rows if row["kind"] == "val"] == [0, 3, 6, 9, 12]
    card = (paths.adapter / "README.md").read_text()
    assert "demonstrations: 3, 1 of them held out" in card
    assert load_calibration(paths.adapter, load_policy(base).space) is not None
    assert [event["kind"] for event in read_events(paths.events)] == ["start", "finish"]


def test_what_is_kept_is_the_best_on_held_out_play(base: Path, corpus_path: Path, uninterrupted: Path) -> None:
    """The adapter, attached to the base, scores what the run noted as its best."""
    held_out = [row for row in read_rows(RunPaths(uninterrupted).metrics) if row["kind"] == "val"]
    policy = load_policy(base)
    attach(policy, load_adapter(RunPaths(uninterrupted).adapter))
    with build_reader(start(base, corpus_path, uninterrupted), "val") as reader:
        found = evaluate_offline(policy, reader)
    assert found["nll"] == pytest.approx(min(row["nll"] for row in held_out), rel=1e-5)
    assert found["nll"] < held_out[0]["nll"] - 0.1


def test_the_base_stays_as_it_is(base: Path, corpus_path: Path, tmp_path: Path) -> None:
    before = read_fingerprint(base)
    trainee, untouched = start(base, corpus_path, tmp_path), dict(load_policy(base).named_parameters())
    posttrain(trainee)
    for name, parameter in trainee.policy.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, untouched[name.replace(".base_layer", "")]), name
    assert read_fingerprint(base) == before


def test_resumed_twice_equals_uninterrupted_bit_for_bit(
    base: Path, uninterrupted: Path, corpus_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after steps 5 and 11 (saved at 4 and 8): the same losses, the same adapter."""
    import gi_train.posttrain as module

    out = tmp_path / "maze run"
    for last in (5, 11):

        def die(config: object, step: int, last: int = last) -> float:
            if step == last:
                raise RuntimeError("killed")
            return lr_at(config, step)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "lr_at", die)
        with pytest.raises(RuntimeError, match="killed"):
            run(base, corpus_path, out)
    monkeypatch.setattr(module, "lr_at", lr_at)
    run(base, corpus_path, out)
    assert losses(out) == losses(uninterrupted)
    adapters = [RunPaths(place).adapter for place in (out, uninterrupted)]
    assert read_adapter_fingerprint(adapters[0]) == read_adapter_fingerprint(adapters[1])


def test_a_signal_saves_and_the_same_call_goes_on(
    base: Path, uninterrupted: Path, corpus_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gi_train.posttrain as module

    def interrupt(batch: Batch, *, strength: float, seed: int, step: int) -> Batch:
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return augment(batch, strength=strength, seed=seed, step=step)

    out = tmp_path / "maze run"
    with monkeypatch.context() as patch:
        patch.setattr(module, "augment", interrupt)
        result = run(base, corpus_path, out)
    assert (result.stopped, result.step) == (True, 6)
    assert not run(base, corpus_path, out).stopped
    assert losses(out) == losses(uninterrupted)


def test_training_ends_when_it_has_not_helped_for_long(
    base: Path, corpus_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([5.0, 4.0, 4.5, 4.0, 1.0])  # at steps 0, 3, 6, 9
    monkeypatch.setattr("gi_train.posttrain.evaluate_offline", lambda *_: {"loss": 1.0, "nll": next(figures)})
    result = run(base, corpus_path, tmp_path, CONFIG.replace(patience=2))
    assert (result.step, result.best_step, result.values["best"]) == (9, 3, 4.0)
    assert not result.stopped


@pytest.mark.parametrize(("method", "num_tensors"), [("full", 0), ("head", 2)])
def test_other_methods(base: Path, corpus_path: Path, tmp_path: Path, method: Method, num_tensors: int) -> None:
    result = run(base, corpus_path, tmp_path, CONFIG.replace(method=method, train=CONFIG.train.replace(steps=3)))
    if method == "full":
        assert load_policy(result.folder).fingerprint != read_fingerprint(base)
        assert "base: " in (result.folder / "README.md").read_text()
    else:
        assert len(load_adapter(result.folder).tensors) == num_tensors
    assert result.values["best"] <= result.values["nll"]


@pytest.mark.parametrize("past_actions", ["hidden", "seen"])
def test_what_is_kept_plays_with_the_past_that_it_was_trained_with(
    base: Path, corpus_path: Path, tmp_path: Path, past_actions: ShownPast
) -> None:
    config = CONFIG.replace(past_actions=past_actions, train=CONFIG.train.replace(steps=3))
    adapter = load_adapter(run(base, corpus_path, tmp_path / "lora", config).folder)
    assert adapter.config.past_actions == past_actions
    assert ("past.project" in adapter.config.targets) == (past_actions == "seen")
    full = load_policy(run(base, corpus_path, tmp_path / "full", config.replace(method="full")).folder)
    assert full.hides_past == (past_actions == "hidden")
    assert CONFIG.past_actions == "hidden"


def test_a_loss_that_is_no_number_keeps_the_best(
    base: Path, corpus_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = Policy.forward, 0

    def poisoned(self: Policy, batch: object) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        nonlocal calls
        calls += 1
        loss, logs = forward(self, batch)  # type: ignore[arg-type]
        return (loss * float("nan"), logs) if calls == 6 else (loss, logs)

    monkeypatch.setattr(Policy, "forward", poisoned)
    with pytest.raises(NonFiniteError, match=r"step 5 .*clips \['.*best so far is kept"):
        run(base, corpus_path, tmp_path)
    load_adapter(RunPaths(tmp_path).adapter)


def test_a_run_goes_on_with_its_own_settings_only(base: Path, corpus_path: Path, uninterrupted: Path) -> None:
    other = CONFIG.replace(rank=5)
    with pytest.raises(CheckpointError, match=r"is of another run.*settings"):
        run(base, corpus_path, uninterrupted, other)


def test_a_base_that_looks_ahead_is_refused(corpus_path: Path, tmp_path: Path) -> None:
    save_policy(Policy(BASE.replace(past_actions="none", lookahead_ticks=2)), tmp_path / "idm")
    with pytest.raises(ConfigError, match=r"sees later frames.*lookahead 2"):
        start(tmp_path / "idm", corpus_path, tmp_path / "run")


def test_statistics_of_a_frozen_encoder_stay(corpus_path: Path, tmp_path: Path) -> None:
    """Batch norms learn by being looked through: in training mode they would drift away from the base."""
    save_policy(Policy(BASE.replace(encoder="resnet10t")), tmp_path / "base")
    trainee = start(tmp_path / "base", corpus_path, tmp_path / "run", CONFIG.replace(modules=("stem", "head")))
    before = {name: buffer.clone() for name, buffer in trainee.policy.named_buffers()}
    posttrain(trainee)
    assert all(torch.equal(buffer, before[name]) for name, buffer in trainee.policy.named_buffers())


def test_a_policy_trained_in_full_ticks_as_its_demonstrations(base: Path, corpus_path: Path, tmp_path: Path) -> None:
    result = run(base, corpus_path, tmp_path, CONFIG.replace(method="full", train=CONFIG.train.replace(steps=1)))
    assert (load_policy(base).config.fps, load_policy(result.folder).config.fps) == (17.5, 20.0)


def test_settings_are_written_down(uninterrupted: Path) -> None:
    facts = json.loads((uninterrupted / "posttrain.json").read_text())
    assert facts["settings"]["train"]["steps"] == 12
    assert len(facts["train"]) == 2
