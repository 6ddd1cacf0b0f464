"""`gi posttrain`, and what is done with what it makes: played beside its base, merged, compared with no training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from gi_data.agents import make_agent
from gi_model.calibration import load_calibration
from gi_model.checkpoint import load_policy, read_fingerprint, save_policy
from gi_model.cli import build_app
from gi_model.config import preset
from gi_model.errors import BaseMismatchError, ConfigError, GiError
from gi_model.policy import Policy
from gi_train.run_files import RunPaths
from tests.train.fake_game import FakeGame

SMALL = ("--steps", "3", "--batch-size", "4", "--set", "evaluate_every=3", "--set", "window_ticks=5", "--rank", "2")


def gi(*words: object) -> Result:
    return CliRunner().invoke(build_app(), list(map(str, words)))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base") / "checkpoint"
    save_policy(Policy(preset("debug")), folder)
    return folder


@pytest.fixture(scope="module")
def run(base: Path, corpus_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    out = tmp_path_factory.mktemp("runs") / "maze"
    result = gi("posttrain", "--base", base, "--data", corpus_path, "--out", out, *SMALL, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["folder"], facts["step"]) == (str(out / "adapter"), 3)
    assert facts["best_step"] in (0, 3)
    assert isinstance(facts["best_step"], int)
    return RunPaths(out)


def play(spec: str) -> list[object]:
    game = FakeGame("fake/steady")
    agent = make_agent(spec, game)
    agent.reset(seed=1)
    generator = np.random.default_rng(0)
    return [agent.act(generator.integers(0, 256, (32, 40, 3), dtype=np.uint8)) for _ in range(12)]


def test_an_adapter_plays_as_its_merged_policy_does(base: Path, run: RunPaths, tmp_path: Path) -> None:
    assert gi("export", "merged", base, run.adapter, tmp_path / "merged").exit_code == 0
    attached = play(f"policy:{base}+{run.adapter}")
    assert attached == play(f"policy:{tmp_path / 'merged'}")
    merged = load_policy(tmp_path / "merged")
    assert merged.config.fps == 20.0  # of its demonstrations, not of its base
    assert load_calibration(tmp_path / "merged", merged.space) == load_calibration(run.adapter, merged.space)
    assert len(play(f"policy:{base}+{run.adapter},keys=calibrated")) == 12


def test_an_untrained_policy_has_the_shape_and_not_the_weights(base: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("again", 1), ("b", 2)):
        assert gi("export", "untrained", base, tmp_path / name, "--seed", seed).exit_code == 0
    prints = {name: read_fingerprint(tmp_path / name) for name in ("a", "again", "b")}
    assert prints["a"] == prints["again"] != prints["b"]
    assert load_policy(tmp_path / "a").config == load_policy(base).config


def test_an_adapter_of_another_base_is_refused_by_name(base: Path, run: RunPaths, tmp_path: Path) -> None:
    gi("export", "untrained", base, tmp_path / "other", "--seed", 1)
    with pytest.raises(BaseMismatchError, match="adapter maze is of another base; got other"):
        play(f"policy:{tmp_path / 'other'}+{run.adapter}")
    refused = gi("export", "merged", tmp_path / "other", run.adapter, tmp_path / "merged")
    assert isinstance(refused.exception, BaseMismatchError)


def test_a_folder_may_have_a_plus_in_its_name(base: Path, tmp_path: Path) -> None:
    save_policy(load_policy(base), tmp_path / "a+b")
    with pytest.raises(ConfigError, match="another rate than the policy"):  # loaded: the fake game is quicker
        play(f"policy:{tmp_path / 'a+b'}")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--set", "windows=3"), "unknown setting"),
        (("--set", "encoder=vit"), "cannot read --set"),
        (("--modules", "backbone,tail"), "unknown part of a policy"),
        (("--episodes", "9"), "too few demonstrations"),
        (("--rank", "0"), "rank out of range"),
        (("--base", "nowhere"), "no checkpoint at nowhere"),
        (("--embodiment", "nowhere.toml"), "nowhere.toml cannot be read"),
    ],
)
def test_the_command_says_what_is_wrong(
    base: Path, corpus_path: Path, tmp_path: Path, flags: tuple[str, ...], words: str
) -> None:
    result = gi("posttrain", "--base", base, "--data", corpus_path, "--out", tmp_path / "run", *SMALL, *flags)
    assert isinstance(result.exception, GiError)
    assert words in str(result.exception)
