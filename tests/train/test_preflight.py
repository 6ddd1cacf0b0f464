"""Every trap that is silent elsewhere is refused here, in words that name it."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gi_model.errors import ConfigError
from gi_train.config import TrainConfig
from gi_train.launch import build_parallel
from gi_train.parallel import Parallel
from gi_train.preflight import (
    LOCK,
    RunLock,
    check_agreement,
    check_environment,
    check_group,
    describe,
    is_launched_to_offload,
    lock_run,
    resolve_strategy,
)

TWO = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "RANK": "0"}
ZERO = {**TWO, "ACCELERATE_USE_DEEPSPEED": "true"}
FSDP = {**TWO, "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


@dataclass
class FakeAccelerator:
    """What accelerate says it is."""

    num_processes: int = 2
    distributed_type: Any = field(default_factory=lambda: FakeType("MULTI_CPU"))


@dataclass
class FakeType:
    value: str


class TwoRanks(Parallel):
    """This process, and another that says what it is told to."""

    def __init__(self, other: Mapping[int, Any]) -> None:
        super().__init__(build_parallel(TrainConfig()).accelerator, TrainConfig())
        self.other = other
        self.num_gathered = 0

    def gather_json(self, value: Any) -> list[Any]:
        other = self.other.get(self.num_gathered, value)
        self.num_gathered += 1
        return [value, other]


def check(environment: Mapping[str, str], **settings: Any) -> None:
    check_environment(TrainConfig(**{"strategy": "ddp", "batch_size": 12, **settings}), environment)


@pytest.mark.parametrize(
    ("environment", "strategy"),
    [
        ({}, "ddp"),
        (TWO, "ddp"),
        (ZERO, "zero2"),
        ({**ZERO, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, "zero3"),
        (FSDP, "fsdp2"),
    ],
)
def test_auto_is_what_was_launched(environment: Mapping[str, str], strategy: str) -> None:
    assert resolve_strategy(TrainConfig(), environment) == strategy


def test_a_deepspeed_config_names_its_stage(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    environment = {**ZERO, "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path)}
    with pytest.raises(ConfigError, match="cannot read the DeepSpeed config"):
        resolve_strategy(TrainConfig(), environment)
    path.write_text('{"zero_optimization": {"stage": 1}}')
    assert resolve_strategy(TrainConfig(), environment) == "zero1"


def test_flag_and_launch_must_agree() -> None:
    with pytest.raises(ConfigError, match=r"another strategy; got fsdp2; expected zero2.*Leave --strategy out"):
        resolve_strategy(TrainConfig(strategy="fsdp2"), ZERO)
    with pytest.raises(ConfigError, match="FSDP 1 is not supported"):
        resolve_strategy(TrainConfig(), {**FSDP, "FSDP_VERSION": "1"})


@pytest.mark.parametrize(
    ("environment", "settings", "words"),
    [
        ({}, {"strategy": "zero2"}, "zero2 needs a group of processes.*torchrun"),
        ({}, {"offload": True}, "offload needs a sharded strategy"),
        (
            {**ZERO, "ACCELERATE_USE_CPU": "true"},
            {"strategy": "zero2"},
            "accelerate drops DeepSpeed when told to use the CPU",
        ),
        (ZERO, {"strategy": "zero1", "optimizer": "muon"}, "Muon needs whole matrices"),
        (TWO, {"batch_size": 9}, "batch cannot be shared equally; got 9 windows over 2 ranks x 1 parts"),
        (TWO, {"batch_size": 6, "accumulation": 2}, "expected a multiple of 4"),
        ({**TWO, "ACCELERATE_MIXED_PRECISION": "bf16"}, {}, "another precision.*Pass --precision bf16"),
        ({**TWO, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, {}, "another accumulation.*Pass --accumulation 4"),
    ],
)
def test_what_cannot_work_is_refused(environment: Mapping[str, str], settings: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check(environment, **settings)


def test_what_works_is_let_through() -> None:
    check({})
    check({**TWO, "ACCELERATE_MIXED_PRECISION": "no"}, precision="bf16", accumulation=3)
    check(FSDP, strategy="fsdp2", offload=True, optimizer="muon")
    check(ZERO, strategy="zero3", offload=True)


@pytest.mark.parametrize("package", ["deepspeed", "transformers"])
def test_zero_says_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(ConfigError, match=rf"no {package}.*gi-model\[deepspeed\]"):
        check(ZERO, strategy="zero2")


def test_ranks_that_all_believe_they_are_alone() -> None:
    with pytest.raises(ConfigError, match="believes that it is the only one; got 1; expected 2"):
        check_group(TrainConfig(strategy="ddp"), FakeAccelerator(num_processes=1), TWO)


def test_deepspeed_that_was_dropped() -> None:
    with pytest.raises(ConfigError, match="dropped DeepSpeed; got MULTI_CPU"):
        check_group(TrainConfig(strategy="zero2"), FakeAccelerator(), ZERO)
    check_group(TrainConfig(strategy="zero2"), FakeAccelerator(distributed_type=FakeType("DEEPSPEED")), ZERO)


def test_offload_may_come_from_the_launch() -> None:
    assert is_launched_to_offload({**FSDP, "FSDP_OFFLOAD_PARAMS": "true"})
    assert is_launched_to_offload({**ZERO, "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu"})
    assert not is_launched_to_offload({**ZERO, "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "none"})
    assert not is_launched_to_offload({**TWO, "FSDP_OFFLOAD_PARAMS": "true"})


def test_ranks_that_were_given_different_settings() -> None:
    facts = {"training seed": 0, "corpus": "abc"}
    check_agreement(TwoRanks({}), facts)
    with pytest.raises(ConfigError, match=r"ranks \[1\] .*'corpus'"):
        check_agreement(TwoRanks({0: {"training seed": "?", "corpus": "other"}}), facts)


def test_one_run_a_folder(tmp_path: Path) -> None:
    parallel = build_parallel(TrainConfig())
    lock = lock_run(tmp_path, parallel)
    with pytest.raises(ConfigError, match=r"another run is writing .*choose another --out"):
        lock_run(tmp_path, parallel)
    assert lock is not None
    lock.release()
    RunLock(tmp_path).release()
    assert (tmp_path / LOCK).exists()


def test_ranks_that_see_different_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rank 1 does not.*all nodes share"):
        lock_run(tmp_path, TwoRanks({1: False}))


def test_what_was_detected_is_said_in_a_line() -> None:
    parallel = build_parallel(TrainConfig(precision="bf16", accumulation=2, batch_size=20))
    text = describe(parallel)
    assert "one process" in text
    assert "bf16 (autocast over float32 weights)" in text
    assert "20 windows a step = 1 ranks x 2 parts x 10" in text
