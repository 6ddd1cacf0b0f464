"""Laws of what a run keeps: whole tensors, each in one file, readable by anyone; and nothing half written counts."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gi_model.checkpoint import load_policy
from gi_model.cli import build_app
from gi_model.config import preset
from gi_model.errors import CheckpointError
from gi_model.policy import Policy
from gi_train.train_state import (
    Position,
    StateReader,
    check_same_run,
    commit,
    export_policy,
    file_of,
    find_state,
    newest_state,
    owners,
    prune_states,
    sweep,
    write_tensors,
)

POLICY = preset("debug")


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.manual_seed(0)
    return Policy(POLICY)


def save(policy: Policy, folder: Path, *, step: int = 7, world_size: int = 3) -> Path:
    """As `world_size` ranks save: moments are the weights halved."""
    parameters = dict(policy.named_parameters())
    shares = owners({name: value.numel() for name, value in parameters.items()}, world_size)
    writing = folder / f"writing-{step:06d}"
    for rank in range(world_size):
        mine = {name: value.detach() for name, value in parameters.items() if shares[name] == rank}
        tensors = {f"weights/{name}": value for name, value in mine.items()}
        tensors |= {f"exp_avg/{name}": value / 2 for name, value in mine.items()}
        write_tensors(writing, tensors, rank=rank, world_size=world_size)
    target = folder / f"{step:06d}"
    commit(writing, target, policy, Position(step, {"position": 21, "order": {}}, evaluated=5))
    return target


@given(st.dictionaries(st.text(min_size=1), st.integers(1, 10**9), min_size=1), st.integers(1, 9))
def test_owners_share_bytes_evenly(sizes: dict[str, int], world_size: int) -> None:
    """Nobody writes more than an even share and the largest tensor; the order of names does not matter."""
    found = owners(sizes, world_size)
    assert found == owners(dict(reversed(sizes.items())), world_size)
    assert set(found) == set(sizes)
    loads = [sum(sizes[name] for name in sizes if found[name] == rank) for rank in range(world_size)]
    assert max(loads) <= sum(sizes.values()) / world_size + max(sizes.values())


def test_what_three_ranks_wrote_one_reads(policy: Policy, tmp_path: Path) -> None:
    with StateReader(save(policy, tmp_path)) as state:
        weights = state.weights()
        for name, parameter in policy.named_parameters():
            assert torch.equal(weights[name], parameter)
            assert torch.equal(state.moments(name)["exp_avg"], parameter / 2)
        assert state.position == Position(7, {"position": 21, "order": {}}, evaluated=5)
        assert state.config == POLICY


def test_a_saved_step_becomes_a_policy(policy: Policy, tmp_path: Path) -> None:
    step = save(policy, tmp_path)
    for dtype, rtol in ((torch.float32, 0.0), (torch.bfloat16, 2**-8)):
        export_policy(step, tmp_path / "policy", dtype=dtype, facts={"step": 7})
        exported = load_policy(tmp_path / "policy")
        for value, expected in zip(exported.parameters(), policy.parameters(), strict=True):
            torch.testing.assert_close(value.float(), expected, rtol=rtol, atol=0)
    assert "step: 7" in (tmp_path / "policy" / "README.md").read_text()


def test_the_command_exports_a_run_or_a_step(policy: Policy, tmp_path: Path) -> None:
    step, app = save(policy, tmp_path / "steps"), build_app()
    sizes = []
    for source, dtype in ((tmp_path, "float32"), (step, "bf16")):
        ran = CliRunner().invoke(app, ["export", "checkpoint", str(source), str(tmp_path / "out"), "--dtype", dtype])
        assert ran.exit_code == 0, ran.output
        sizes.append((tmp_path / "out" / "model.safetensors").stat().st_size)
    assert sizes[1] < 0.55 * sizes[0]
    ran = CliRunner().invoke(app, ["export", "checkpoint", str(tmp_path / "out"), str(tmp_path / "again")])
    assert isinstance(ran.exception, CheckpointError)


def test_half_a_step_is_none(policy: Policy, tmp_path: Path) -> None:
    """A kill before the rename, and one that took a file away."""
    whole = save(policy, tmp_path, step=7)
    write_tensors(tmp_path / "writing-000009", {"weights/a": torch.ones(1)})
    assert newest_state(tmp_path) == whole
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["000007"]
    (whole / file_of(1, 3)).unlink()
    with pytest.raises(CheckpointError, match=r"not a whole set.*Delete .*000007"):
        StateReader(whole)


@pytest.mark.parametrize("name", [file_of(0, 3), "position.json", "config.json"])
def test_damage_is_named(policy: Policy, tmp_path: Path, name: str) -> None:
    step = save(policy, tmp_path)
    (step / name).write_bytes((step / name).read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=r"cannot read the saved step .*000007"):
        StateReader(step)


def test_a_run_goes_on_with_its_own_settings_only(policy: Policy, tmp_path: Path) -> None:
    with StateReader(save(policy, tmp_path)) as state:
        check_same_run(state, POLICY, "adamw")
        with pytest.raises(CheckpointError, match=r"other settings.*'dim': 64.*'dim': 32"):
            check_same_run(state, POLICY.replace(dim=64), "adamw")
        with pytest.raises(CheckpointError, match=r"'optimizer': 'muon'"):
            check_same_run(state, POLICY, "muon")


def test_only_the_newest_are_kept(policy: Policy, tmp_path: Path) -> None:
    for step in (1, 20, 3):
        save(policy, tmp_path, step=step, world_size=1)
    prune_states(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000003", "000020"]


def test_no_pickle_is_written(policy: Policy, tmp_path: Path) -> None:
    step = save(policy, tmp_path)
    assert {path.suffix for path in step.iterdir()} == {".safetensors", ".json"}
    assert json.loads((step / "position.json").read_text())["step"] == 7


def test_where_nothing_was_saved(tmp_path: Path) -> None:
    assert newest_state(tmp_path) is None
    with pytest.raises(CheckpointError, match="no saved step"):
        find_state(tmp_path)
