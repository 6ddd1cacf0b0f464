"""Adapters on disk: round trip, refusals by name, nothing lost on a full disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gi_model.adapters import CONFIG, EMBODIMENT, WEIGHTS, Adapter, load_adapter, read_adapter_fingerprint, save_adapter
from gi_model.embodiment import parse_embodiment
from gi_model.errors import CheckpointError, ConfigError, GiError
from tests.model.adapter_factory import make_adapter, make_config
from tests.model.factories import make_policy
from tests.model.test_embodiment import ROVER

POLICY = make_policy()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_adapter(make_adapter(POLICY), tmp_path / "rover", facts={"demonstrations": 25})
    return tmp_path / "rover"


def test_load_inverts_save(folder: Path) -> None:
    adapter, loaded = make_adapter(POLICY), load_adapter(folder)
    assert loaded.config.to_dict() == adapter.config.to_dict()
    assert set(loaded.tensors) == set(adapter.tensors)
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in adapter.tensors.items())
    assert "demonstrations: 25" in (folder / "README.md").read_text()
    assert not (folder / EMBODIMENT).exists()


def test_the_body_travels_with_the_adapter(folder: Path) -> None:
    body, before = parse_embodiment(ROVER), read_adapter_fingerprint(folder)
    save_adapter(make_adapter(POLICY, embodiment=body), folder)
    assert load_adapter(folder).config.embodiment == body
    assert load_adapter(folder).config.fingerprint != before
    (folder / EMBODIMENT).write_text("name = 3")
    with pytest.raises(ConfigError, match=EMBODIMENT):
        load_adapter(folder)


def test_fingerprint_follows_tensors_and_config(folder: Path, tmp_path: Path) -> None:
    for name, adapter in {
        "same": make_adapter(POLICY),
        "tensors": make_adapter(POLICY, seed=1),
        "config": make_adapter(POLICY, alpha=1.0),
    }.items():
        save_adapter(adapter, tmp_path / name)
    fingerprint = load_adapter(folder).config.fingerprint
    assert fingerprint == read_adapter_fingerprint(tmp_path / "same")
    others = {read_adapter_fingerprint(tmp_path / name) for name in ("tensors", "config")}
    assert len({fingerprint, *others}) == 3


def test_an_adapter_of_before_sees_its_past(folder: Path) -> None:
    edit_config(past_actions=None)(folder)
    assert not load_adapter(folder).config.hides_past


def edit_config(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        data = json.loads((folder / CONFIG).read_text()) | changes
        (folder / CONFIG).write_text(json.dumps({name: value for name, value in data.items() if value is not None}))

    return edit


def edit_tensors(**changes: torch.Tensor | None) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = {**load_file(folder / WEIGHTS), **{name.replace("__", "."): each for name, each in changes.items()}}
        save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / WEIGHTS)

    return edit


def truncate(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-50])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "cannot read the adapter"),
        (lambda folder: (folder / WEIGHTS).unlink(), "cannot read the adapter"),
        (lambda folder: (folder / CONFIG).unlink(), "no adapter at .*gi posttrain"),
        (lambda folder: (folder / CONFIG).write_text("{"), "cannot read"),
        (lambda folder: (folder / CONFIG).write_text("[]"), "a JSON object"),
        (edit_config(format="peft"), "not an adapter that this version reads"),
        (edit_config(version=2), "not an adapter that this version reads"),
        (edit_config(rank=None), "other fields.*rank"),
        (edit_config(lora_dropout=0.1), "other fields.*lora_dropout"),
        (edit_config(rank="3"), "rank of another type"),
        (edit_config(rank=True), "rank of another type"),
        (edit_config(targets="all"), "targets of another type"),
        (edit_config(rank=0), "rank.*at least 1"),
        (edit_config(alpha=-1.0), "alpha"),
        (edit_config(fps=0.0), "fps"),
        (edit_config(name="../rover"), "name"),
        (edit_config(targets=[], replaced=[]), "changes nothing"),
        (edit_config(replaced=["past.project"]), "both updated and replaced.*past.project"),
        (edit_tensors(past__project__lora_B=None), "lacks tensors.*past.project.lora_B"),
        (edit_tensors(backbone__norm__weight=None), r"lacks tensors.*backbone.norm.\*"),
        (edit_tensors(past__unknown=torch.zeros(2)), "odd tensors.*past.unknown"),
        (edit_tensors(backbone__norm__weight=torch.full((32,), torch.nan)), "backbone.norm.weight is not finite"),
    ],
)
def test_damage_is_named(folder: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(folder)
    with pytest.raises(GiError, match=words) as refused:
        load_adapter(folder)
    assert isinstance(refused.value, CheckpointError | ConfigError)


def test_a_tensor_that_its_config_does_not_name_is_refused_where_it_is_made() -> None:
    tensors = make_adapter(POLICY).tensors
    with pytest.raises(CheckpointError, match="odd tensors"):
        Adapter(make_config(POLICY, replaced=()), tensors)


def test_a_failed_save_leaves_the_one_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_adapter_fingerprint(folder)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gi_model.adapters.save_file", full_disk)
    with pytest.raises(CheckpointError, match="Free disk space"):
        save_adapter(make_adapter(POLICY, seed=2), folder)
    assert read_adapter_fingerprint(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["rover"]
