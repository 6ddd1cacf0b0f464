"""A run starts from an encoder's weights in a file, needs the file only then, and names a file that does not fit."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from gi_data.blend import Blend
from gi_data.corpus import Corpus
from gi_model.checkpoint import load_policy
from gi_model.config import preset
from gi_model.errors import CheckpointError
from gi_train.config import TrainConfig
from gi_train.pretrain import pretrain
from gi_train.run_files import RunPaths

NAME = "resnet10t"
POLICY = preset("debug").replace(height=32, width=48, encoder=NAME)
TRAIN = TrainConfig(steps=2, batch_size=2, window_ticks=5, lr_peak=1e-6, warmup_steps=1, save_every=1)


def test_a_run_starts_from_the_file_and_goes_on_without_it(corpus_path: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    published = timm.create_model(NAME, num_classes=4).state_dict()
    path = tmp_path / "model.safetensors"
    save_file(published, path)
    blend, config = Blend([Corpus(corpus_path)]), TRAIN.replace(encoder_weights=str(path))
    pretrain(blend, tmp_path / "run", POLICY, config.replace(steps=1))
    path.unlink()
    pretrain(blend, tmp_path / "run", POLICY, config)
    learned = load_policy(RunPaths(tmp_path / "run").checkpoint).state_dict()
    name = "layer3.0.conv1.weight"
    torch.testing.assert_close(learned[f"encoder.backbone.{name}"], published[name], atol=1e-4, rtol=0)


def test_a_missing_file_stops_a_run_before_its_first_step(corpus_path: Path, tmp_path: Path) -> None:
    config = TRAIN.replace(encoder_weights=str(tmp_path / "none.safetensors"))
    with pytest.raises(CheckpointError, match=r"none\.safetensors"):
        pretrain(Blend([Corpus(corpus_path)]), tmp_path / "run", POLICY, config)
