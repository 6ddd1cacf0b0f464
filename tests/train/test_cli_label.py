"""The commands from a small labelled part to a labelled corpus, as a person would call them."""

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from gi_model.checkpoint import load_policy
from gi_model.cli import build_app


def gi(*words: object) -> Result:
    return CliRunner().invoke(build_app(), [str(word) for word in words])


def test_strip_train_and_label(corpus_path: Path, tmp_path: Path) -> None:
    video, labelled, run = tmp_path / "video", tmp_path / "labelled", tmp_path / "idm"
    stripped = gi("strip-labels", corpus_path, video, "--keep", 0.3, "--json")
    assert len(json.loads(stripped.stdout)["labelled_recordings"]) == 2
    assert gi("subset", video, labelled, "--where", "known_ratio > 0.5").exit_code == 0
    size = ("--set", "height=32", "--set", "width=48", "--batch-size", 2)
    trained = gi(
        "pretrain", "--task", "idm", "--preset", "debug", "--steps", 2, "--data", labelled, "--out", run, *size
    )
    assert trained.exit_code == 0, trained.output
    config = load_policy(run / "checkpoint").config
    assert (config.lookahead_ticks, config.past_actions) == (config.window_ticks - 1, "none")
    made = gi("label", video, tmp_path / "out", "--idm", run / "checkpoint", "--jobs", 1, "--json")
    facts = json.loads(made.stdout)
    assert facts["ticks"]["idm"] > 0
    assert facts["ticks"]["player"] > 0
    assert gi("verify", tmp_path / "out").exit_code == 0


def test_an_idm_takes_no_past_actions(corpus_path: Path, tmp_path: Path) -> None:
    words = ("pretrain", "--task", "idm", "--data", corpus_path, "--out", tmp_path, "--preset", "debug")
    result = gi(*words, "--past-actions", "full")
    assert result.exit_code
    assert "past_actions of a model that sees later frames" in str(result.exception)
