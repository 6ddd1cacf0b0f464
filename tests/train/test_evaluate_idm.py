"""Scores of labels, on answers whose scores are known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gi_data.blend import Blend
from gi_data.corpus import Corpus
from gi_data.recording import RecordingWriter
from gi_data.relabel import strip_labels
from gi_data.shards import refresh
from gi_model.actions import InputColumns, InputState
from gi_model.checkpoint import save_policy
from gi_model.cli import build_app
from gi_model.config import preset
from gi_model.errors import ConfigError, CorpusError
from gi_model.policy import Policy
from gi_train.config import PRESETS
from gi_train.evaluate_idm import ClipAnswers, evaluate_idm, score
from gi_train.idm import as_idm, intent_share
from gi_train.labeller import Labeller, load_labeller
from tests.conftest import Barcodes, MakeCorpus

IDM = preset("debug").replace(height=32, width=48, window_ticks=6, lookahead_ticks=5, past_actions="none")


def clip(truth: list[InputState], answer: list[InputState], scored: list[bool] | None = None) -> ClipAnswers:
    num = len(truth)
    mask = np.ones(num, dtype=bool) if scored is None else np.array(scored)
    return ClipAnswers(InputColumns.of(truth), InputColumns.of(answer), np.linspace(0, 1, num), mask)


def holding(*keys: str, motion: tuple[int, int] = (0, 0)) -> InputState:
    return InputState(keys=frozenset(keys), motion=motion)


PLAY = [
    holding("KeyW", motion=(3, 0)),
    holding(motion=(-2, 0)),
    holding("KeyW", "KeyA"),
    holding("KeyA", motion=(9, 1)),
]


def test_the_truth_scores_one_everywhere() -> None:
    found = score([clip(PLAY, PLAY)])
    assert found.key_f1 == found.transition_f1 == 1
    assert set(found.motion) == {"mouse x", "mouse y"}  # sticks never moved: not scored
    for axis in found.motion.values():
        assert (axis.pearson, axis.scale, axis.r2) == pytest.approx((1, 1, 1))
    assert all(one.controls_right == 1 for one in found.trusted)


def test_a_model_that_always_holds_scores_on_keys_but_not_on_transitions() -> None:
    truth = [holding("KeyW")] * 8 + [holding()] + [holding("KeyW")] * 8
    found = score([clip(truth, [holding("KeyW")] * 17)])
    assert found.key_f1 == pytest.approx(2 * 16 / 33)
    assert found.transition_f1 == 0


def test_a_press_that_comes_a_tick_late_is_two_mistakes() -> None:
    truth = [holding(), holding("KeyW"), holding("KeyW"), holding("KeyW")]
    late = [holding(), holding(), holding("KeyW"), holding("KeyW")]
    assert score([clip(truth, late)]).transition_f1 == 0


def test_halved_motion_is_right_in_direction_and_timid_in_scale() -> None:
    truth = [holding(motion=(x, 0)) for x in (-8, 4, 0, 12, -4)]
    found = score([clip(truth, [holding(motion=(s.motion[0] // 2, 0)) for s in truth])]).motion["mouse x"]
    assert (found.pearson, found.scale) == pytest.approx((1, 0.5))
    assert 0 < found.r2 < 1


def test_a_model_that_never_moves_has_no_correlation() -> None:
    found = score([clip(PLAY, [holding()] * 4)])
    assert (found.motion["mouse x"].pearson, found.motion["mouse x"].scale) == (0, 0)


def test_ticks_that_are_not_scored_do_not_count_and_part_transitions() -> None:
    wrong = [PLAY[0], holding("Space", motion=(500, 0)), *PLAY[2:]]
    found = score([clip(PLAY, wrong, [True, False, True, True])])
    assert found.key_f1 == found.transition_f1 == 1
    assert found.num_ticks == 3


def test_clips_do_not_run_into_each_other() -> None:
    """The last tick of one clip and the first of the next are no transition."""
    found = score([clip([holding()], [holding()]), clip([holding("KeyW")], [holding("KeyW")])])
    assert found.transition_f1 is None


def test_confidence_buys_accuracy_for_ticks() -> None:
    truth = [holding("KeyW")] * 10
    answer = [holding()] * 5 + truth[5:]  # confidences rise from 0 to 1
    found = {one.min_confidence: one for one in score([clip(truth, answer)]).trusted}
    assert (found[0.0].share, found[0.0].controls_right) == (1.0, 0.5)
    assert (found[0.5].share, found[0.5].controls_right) == (0.5, 1.0)


@pytest.fixture(scope="module")
def idm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("idm") / "checkpoint"
    save_policy(Policy(IDM), folder)
    return folder


def test_the_command_scores_held_out_clips_by_game(idm: Path, corpus_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    words = ["evaluate", "--task", "idm", str(idm), str(corpus_path), "--json", str(out)]
    result = CliRunner().invoke(build_app(), words, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "transition F1" in result.output
    scores = json.loads(out.read_text())
    assert set(scores) == {"arena", "maze", "all"}
    assert scores["all"]["num_ticks"] == scores["arena"]["num_ticks"] + scores["maze"]["num_ticks"]
    corpus = Corpus(corpus_path)
    held_out = [corpus.row(clip_id) for clip_id in corpus.select("val").tolist()]
    assert scores["all"]["num_ticks"] == sum(row.num_ticks - 1 for row in held_out)
    assert {"pearson", "scale", "r2"} == set(scores["all"]["motion"]["mouse x"])


def test_a_policy_and_an_unlabelled_corpus_are_refused(idm: Path, corpus_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot label"):
        Labeller(Policy(preset("debug")))
    strip_labels(Corpus(corpus_path), tmp_path / "video", lambda _: False)
    refresh(tmp_path / "video")
    with pytest.raises(CorpusError, match="no labelled tick"):
        evaluate_idm(load_labeller(idm), Corpus(tmp_path / "video"), split="train", advance=lambda: None)


def test_an_idm_is_the_same_size_without_past_actions() -> None:
    for name in ("debug", "tiny", "small"):
        policy, train = as_idm(preset(name), PRESETS[name] if name in PRESETS else PRESETS["tiny"])
        assert policy.lookahead_ticks == policy.window_ticks - 1 == train.window_ticks - 1
        assert (policy.past_actions, policy.dim) == ("none", preset(name).dim)
    assert as_idm(preset("tiny"), PRESETS["tiny"], window_ticks=5)[0].window_ticks == 5


def test_intents_are_found_and_unlabelled_video_is_no_training_data(
    corpus_path: Path, barcodes: Barcodes, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    assert intent_share(Blend([Corpus(corpus_path)])) == 0
    shoved = tmp_path / "recordings"
    with RecordingWriter(shoved, "shoved", barcodes.info(demonstrator="scripted (perturbed)")) as writer:
        writer.append(barcodes.frame(0), barcodes.state(0), t_ns=0)
    make_corpus(shoved, tmp_path / "shoved", val_fraction=0.0)
    assert intent_share(Blend([Corpus(tmp_path / "shoved")])) == 1
    strip_labels(Corpus(corpus_path), tmp_path / "video", lambda _: False)
    refresh(tmp_path / "video")
    with pytest.raises(CorpusError, match=r"no labelled clip.*known_ratio > 0.5"):
        intent_share(Blend([Corpus(tmp_path / "video")]))
