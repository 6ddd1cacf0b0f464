"""A label study's plan is a sequence of commands that exist, and its report says what was played."""

import json
from pathlib import Path

import pytest

from gi_model.errors import ConfigError
from gi_train.episodes import EpisodeResult, ResultsFile
from gi_train.label_study import LabelStudy, plan_data, plan_seed
from gi_train.label_study_report import CONDITIONS, condition_results, write_study

GAMES = ("doom/a", "doom/b")


def played(path: Path, agent: str, *, scores: dict[str, list[float]]) -> None:
    file = ResultsFile(path)
    for game, values in scores.items():
        for seed, value in enumerate(values):
            file.append(EpisodeResult(game, agent, seed, False, value, 100, 1.0))


def test_policies_differ_by_their_data_and_seed_only(tmp_path: Path) -> None:
    study = LabelStudy(tmp_path, games=GAMES)
    commands = {stage.name: stage.commands[0] for stage in plan_seed(study, 1, plan_data(study))}
    training = [commands[f"train-{condition}-1"] for condition in CONDITIONS]
    places = {str(study.corpus(condition)) for condition in CONDITIONS} | {str(study.run(c, 1)) for c in CONDITIONS}
    assert len({tuple(word for word in command if word not in places) for command in training}) == 1
    assert len(places) == 6


def test_each_stage_stands_on_the_one_before(tmp_path: Path) -> None:
    study = LabelStudy(tmp_path, games=GAMES)
    changed = LabelStudy(tmp_path, games=GAMES, idm_steps=7)
    names = [stage.name for stage in plan_data(study)]
    assert names == ["record-doom-a", "record-doom-b", "shard", "strip", "labelled", "idm", "score-idm", "label"]
    same = [a.fingerprint == b.fingerprint for a, b in zip(plan_data(study), plan_data(changed), strict=True)]
    assert same == [True] * 5 + [False] * 3


def test_the_report_normalises_and_keeps_seeds_apart(tmp_path: Path) -> None:
    played(tmp_path / "baselines.jsonl", "random", scores={game: [0.0, 2.0] for game in GAMES})
    played(tmp_path / "baselines.jsonl", "demonstrator", scores={game: [10.0, 12.0] for game in GAMES})
    for place, condition in enumerate(CONDITIONS):
        for seed in (0, 1):
            scores = {game: [1.0 + 4 * place + seed, 3.0 + 4 * place + seed] for game in GAMES}
            (tmp_path / "played").mkdir(exist_ok=True)
            played(tmp_path / "played" / f"{condition}-{seed}.jsonl", f"{condition}-{seed}", scores=scores)
    table = write_study(tmp_path, settings={"seeds": 2}, seeds=2)
    assert table.row_count == 9
    found = json.loads((tmp_path / "results.json").read_text())["results"]
    mean = {one["condition"]: one for one in found if one["game"] == "mean"}
    assert mean["labelled"]["score"]["mean"] == pytest.approx(0.15)
    assert mean["true"]["seeds"] == pytest.approx([0.9, 1.0])
    assert mean["true"]["num_episodes"] == 8
    assert all(one["score"]["low"] < one["score"]["mean"] < one["score"]["high"] for one in found)
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")


def test_seeds_that_disagree_widen_the_interval() -> None:
    ends = {"g": [0.0, 0.0]}, {"g": [10.0, 10.0]}
    alike = condition_results("true", {"g": [[5.0] * 4, [5.0] * 4]}, *ends)[0].score
    apart = condition_results("true", {"g": [[3.0] * 4, [7.0] * 4]}, *ends)[0].score
    assert alike.low == alike.high == 0.5
    assert (apart.mean, apart.low, apart.high) == pytest.approx((0.5, 0.3, 0.7))


def test_a_demonstrator_below_random_play_is_no_scale() -> None:
    with pytest.raises(ConfigError, match="cannot normalise"):
        condition_results("true", {"g": [[1.0]]}, {"g": [3.0]}, {"g": [2.0]})
