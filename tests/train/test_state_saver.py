"""Laws of saving beside training: a step waits for a copy only, errors are never lost, what was there stays."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import gi_train.state_saver as module
from gi_model.config import preset
from gi_model.errors import CheckpointError
from gi_model.policy import Policy
from gi_train.config import TrainConfig
from gi_train.launch import build_parallel
from gi_train.optimizers import build_optimizer
from gi_train.parallel import Parallel
from gi_train.state_saver import StateSaver
from gi_train.train_state import Position, StateReader, newest_state, write_tensors

CONFIG = TrainConfig()


@pytest.fixture
def parallel() -> Parallel:
    """One process, after one step."""
    found = build_parallel(CONFIG)
    found.prepare(Policy(preset("debug")), lambda policy: build_optimizer(policy, CONFIG))
    for parameter in found.policy.parameters():
        parameter.grad = torch.ones_like(parameter)
    found.step(1e-3)
    return found


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The disk writes nothing until it is set."""
    event = threading.Event()

    def slow(*args: object, **kwargs: object) -> None:
        assert event.wait(30)
        write_tensors(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_tensors", slow)
    yield event
    event.set()


def poll_until_whole(saver: StateSaver) -> None:
    while saver.flags[0]:
        pass
    saver.poll(*saver.flags)
    saver.finish()


def test_training_goes_on_while_the_disk_writes_what_was(
    parallel: Parallel, gate: threading.Event, tmp_path: Path
) -> None:
    """Weights that move after `start` are not in what it saves."""
    saver = StateSaver(tmp_path, parallel, keep=2)
    before = {name: parameter.detach().clone() for name, parameter in parallel.parameters.items()}
    saver.start(Position(1, {}))
    assert saver.flags == [1.0, 0.0]
    saver.poll(*saver.flags)
    assert newest_state(tmp_path) is None
    with torch.no_grad():
        for parameter in parallel.parameters.values():
            parameter.add_(1.0)
    gate.set()
    poll_until_whole(saver)
    with StateReader(tmp_path / "000001") as state:
        assert all(torch.equal(value, before[name]) for name, value in state.weights().items())
        assert set(state.moments("decoder.slots")) == {"exp_avg", "exp_avg_sq", "step"}
    saver.close()


def test_a_second_save_waits_for_the_first(parallel: Parallel, gate: threading.Event, tmp_path: Path) -> None:
    saver = StateSaver(tmp_path, parallel, keep=2)
    saver.start(Position(1, {}))
    threading.Timer(0.05, gate.set).start()
    saver.start(Position(2, {}))
    assert newest_state(tmp_path) == tmp_path / "000001"
    saver.close()
    assert newest_state(tmp_path) == tmp_path / "000002"


@pytest.mark.parametrize("broken", ["write_tensors", "commit"])
@pytest.mark.parametrize("chance", [poll_until_whole, StateSaver.close, lambda saver: saver.start(Position(3, {}))])
def test_a_full_disk_is_told_at_the_next_chance(
    parallel: Parallel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    chance: Callable[[StateSaver], None],
) -> None:
    saver = StateSaver(tmp_path, parallel, keep=2)
    saver.start(Position(1, {}))
    saver.finish()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, broken, full)
    saver.start(Position(2, {}))
    with pytest.raises(CheckpointError, match=r"No space left.*Free disk space"):
        chance(saver)
    assert [path.name for path in tmp_path.iterdir()] == ["000001"]
    saver.close()


def test_another_ranks_error_is_everybodys(parallel: Parallel, tmp_path: Path) -> None:
    saver = StateSaver(tmp_path, parallel, keep=2)
    saver.start(Position(1, {}))
    while saver.flags[0]:
        pass
    with pytest.raises(CheckpointError, match="another rank's error"):
        saver.poll(0.0, 1.0)
    assert list(tmp_path.iterdir()) == []
    saver.close()


def test_what_a_kill_left_is_swept(parallel: Parallel, tmp_path: Path) -> None:
    (tmp_path / "writing-000004").mkdir()
    StateSaver(tmp_path, parallel, keep=2).close()
    assert list(tmp_path.iterdir()) == []
