"""Presets keep their function, old checkpoints their meaning, and odd ones are refused."""

import pytest
import torch

from gi_model.config import PRESETS, PolicyConfig, preset
from gi_model.errors import CheckpointError, ConfigError
from gi_model.policy import Policy
from tests.model.factories import random_batch

FINGERPRINTS = {  # sum |weight| and loss of `random_batch(2, 12)` at seed 0, as of the first version of each preset
    "debug": (5759.1375889678475, 57.5709228515625),
    "tiny": (69564.81571217031, 57.135128021240234),
}


@pytest.mark.parametrize("name", list(FINGERPRINTS))
def test_a_preset_starts_with_the_weights_and_loss_it_always_had(name: str) -> None:
    torch.manual_seed(0)
    policy = Policy(preset(name)).train()
    weights, loss = FINGERPRINTS[name]
    total = sum(float(parameter.detach().double().abs().sum()) for parameter in policy.parameters())
    assert total == pytest.approx(weights, rel=1e-12)
    assert float(policy(random_batch(2, 12, policy.config))[0].detach()) == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("name", list(PRESETS))
def test_json_keeps_a_config(name: str) -> None:
    assert PolicyConfig.from_dict(preset(name).to_dict()) == preset(name)


def test_a_config_from_before_a_field_means_what_it_meant() -> None:
    data = preset("tiny").to_dict()
    for name in ("lookahead_ticks", "encoder_dim", "encoder_layers"):
        del data[name]
    assert PolicyConfig.from_dict(data) == preset("tiny")


def test_fields_that_are_unknown_or_were_always_there_are_named() -> None:
    data = preset("tiny").to_dict()
    with pytest.raises(CheckpointError, match="colour"):
        PolicyConfig.from_dict({**data, "colour": True})
    del data["dim"]
    with pytest.raises(CheckpointError, match="dim"):
        PolicyConfig.from_dict(data)


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"debug \| tiny \| small \| base \| large \| xl"):
        preset("huge")


def test_sizes_above_tiny_are_cut_for_a_gpu() -> None:
    """Ten seconds at 20 Hz, 192 pixels, widths in tiles of 128."""
    for config in (PRESETS[name] for name in ("small", "base", "large", "xl")):
        assert (config.height, config.width, config.fps, config.window_ticks) == (192, 192, 20.0, 200)
        assert config.dim % 128 == config.encoder_dim % 128 == config.decoder_dim % 128 == 0
        assert config.head_dim in (64, 128)
        assert config.num_kv_heads < config.num_heads
