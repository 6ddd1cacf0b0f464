"""Checkpoints: round trip, refusals by name, and nothing lost on a full disk."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gi_model.checkpoint import CONFIG, SPACE, WEIGHTS, load_policy, read_fingerprint, save_policy
from gi_model.errors import CheckpointError
from tests.model.factories import DEBUG, make_policy, random_batch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_policy(make_policy(), tmp_path / "policy", facts={"steps": 3})
    return tmp_path / "policy"


def test_load_inverts_save(folder: Path) -> None:
    batch, loaded = random_batch(2, 5), load_policy(folder)
    with torch.inference_mode():
        assert (loaded.features(batch) == make_policy().features(batch)).all()
    assert loaded.config == DEBUG
    assert "steps: 3" in (folder / "README.md").read_text()


def test_batch_norm_statistics_are_kept(tmp_path: Path) -> None:
    policy = make_policy(DEBUG.replace(encoder="resnet10t", height=64, width=64))
    policy.train()(random_batch(2, 3, policy.config))
    save_policy(policy, tmp_path / "policy")
    batch = random_batch(1, 3, policy.config, seed=4)
    with torch.inference_mode():
        assert (load_policy(tmp_path / "policy").features(batch) == policy.eval().features(batch)).all()


def test_fingerprint_follows_the_weights(folder: Path, tmp_path: Path) -> None:
    save_policy(make_policy(), tmp_path / "same")
    save_policy(make_policy(seed=1), tmp_path / "other")
    assert read_fingerprint(folder) == read_fingerprint(tmp_path / "same")
    assert read_fingerprint(folder) != read_fingerprint(tmp_path / "other")


def break_space(folder: Path) -> None:
    data = json.loads((folder / SPACE).read_text())
    (folder / SPACE).write_text(json.dumps({**data, "fingerprint": "other"}))


def drop_config_field(folder: Path) -> None:
    data = json.loads((folder / CONFIG).read_text())
    del data["window_ticks"]
    (folder / CONFIG).write_text(json.dumps(data))


def truncate_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def rename_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file(
        {name.replace("decoder.slots", "decoder.slotz"): tensor for name, tensor in weights.items()}, folder / WEIGHTS
    )


def reshape_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({**weights, "decoder.slots": torch.zeros(2, 2)}, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_space, "another action space"),
        (drop_config_field, "window_ticks"),
        (truncate_weights, "cannot read weights"),
        (rename_weight, "decoder.slot"),
        (reshape_weight, "decoder.slots in .* another shape"),
        (lambda folder: (folder / CONFIG).write_text("{"), "cannot read"),
        (lambda folder: (folder / SPACE).unlink(), "no checkpoint at"),
    ],
)
def test_damage_is_named(folder: Path, damage: object, words: str) -> None:
    damage(folder)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=words):
        load_policy(folder)


def test_a_failed_save_leaves_the_one_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_fingerprint(folder)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gi_model.checkpoint.save_file", full_disk)
    with pytest.raises(CheckpointError, match="Free disk space"):
        save_policy(make_policy(seed=2), folder)
    assert read_fingerprint(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["policy"]
