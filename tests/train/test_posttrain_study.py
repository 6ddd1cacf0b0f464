"""A post-training study's arms differ by what they are said to differ by; its report says what was played."""

import json
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from gi_model.errors import ConfigError
from gi_train.demo_stages import Stages
from gi_train.episodes import EpisodeResult, ResultsFile
from gi_train.posttrain_study import PosttrainStudy, plan_data, plan_run, plan_untrained, run_study
from gi_train.posttrain_study_report import ARMS, paired_gain, write_study
from gi_train.run_files import RunPaths
from tests.train.parsing import check_command

GAME = "doom/a"


def make_study(out: Path, **changes: object) -> PosttrainStudy:
    settings: dict[str, object] = {"sizes": (5, 10), "seeds": 2, "episodes": 2}
    return PosttrainStudy(out, out / "base", GAME, **settings | changes)  # type: ignore[arg-type]


def played(path: Path, agent: str, scores: list[float], game: str = GAME) -> None:
    file = ResultsFile(path)
    for seed, value in enumerate(scores):
        file.append(EpisodeResult(game, agent, seed, False, value, 100, 1.0))


def ran(study: PosttrainStudy, arm: str, seed: int, scores: list[float], nats: list[float]) -> None:
    """A run of five demonstrations: what it wrote."""
    results, metrics = study.played(arm, 5, seed), RunPaths(study.run(arm, 5, seed)).metrics
    for folder in (results.parent, metrics.parent):
        folder.mkdir(parents=True, exist_ok=True)
    played(results, arm, scores)
    rows = [{"kind": "val", "step": step, "nll": nll} for step, nll in enumerate(nats)]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))


def baselines(study: PosttrainStudy) -> None:
    played(study.baselines, "random", [0.0, 2.0])
    played(study.baselines, "demonstrator", [10.0, 12.0])


def option(command: tuple[str, ...], name: str) -> str:
    return command[command.index(name) + 1]


def test_arms_share_demonstrations_and_differ_by_base_and_method(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    commands = {arm: plan_run(study, arm, 10, 1)[0].commands[0] for arm in ARMS}
    for name in ("--data", "--episodes", "--seed", "--steps"):
        assert len({option(command, name) for command in commands.values()}) == 1
    trained = {arm: option(command, "--base") == str(study.base) for arm, command in commands.items()}
    assert trained == {"adapter": True, "full": True, "scratch": False, "random": False}
    methods = {arm: option(command, "--method") for arm, command in commands.items()}
    assert methods == {"adapter": "lora", "full": "full", "scratch": "full", "random": "lora"}


def test_each_arm_plays_what_it_trained_on_the_base_it_trained_from(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    for arm in ARMS:
        trained, play = plan_run(study, arm, 5, 0)
        run, agent = study.run(arm, 5, 0), play.commands[0][2]
        base = option(trained.commands[0], "--base")
        assert agent in (f"policy:{base}+{run / 'adapter'}", f"policy:{run / 'checkpoint'}")
        assert (option(trained.commands[0], "--method") == "lora") == ("+" in agent)
        assert trained in play.after


def test_every_command_of_the_plan_exists(tmp_path: Path) -> None:
    study = make_study(tmp_path, embodiment=tmp_path / "rover.toml")
    stages = [*plan_data(study), plan_untrained(study, 0), *(s for arm in ARMS for s in plan_run(study, arm, 5, 0))]
    for stage in stages:
        for argv in stage.commands:
            check_command(argv)


def test_another_number_of_steps_trains_anew_and_records_nothing_anew(tmp_path: Path) -> None:
    one, two = make_study(tmp_path), make_study(tmp_path, steps=7)
    assert [s.fingerprint for s in plan_data(one)] == [s.fingerprint for s in plan_data(two)]
    assert plan_run(one, "full", 5, 0)[1].fingerprint != plan_run(two, "full", 5, 0)[1].fingerprint


def test_all_arms_see_as_much_of_the_past(tmp_path: Path) -> None:
    for past_actions in ("hidden", "seen"):
        study = make_study(tmp_path, past_actions=past_actions)
        assert {option(plan_run(study, arm, 5, 0)[0].commands[0], "--past-actions") for arm in ARMS} == {past_actions}


def test_a_study_goes_on_with_another_number_of_jobs(tmp_path: Path) -> None:
    one, two = make_study(tmp_path), make_study(tmp_path, jobs=2)
    assert plan_data(one) != plan_data(two)
    assert [s.fingerprint for s in plan_data(one)] == [s.fingerprint for s in plan_data(two)]


def test_a_study_that_is_finished_reports_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(tmp_path)
    baselines(study)
    ran(study, "adapter", 0, [6.0, 8.0], [4.0, 3.0])
    monkeypatch.setattr(Stages, "keep", lambda *_: True)
    console = Console(record=True)
    run_study(study, console)
    assert console.export_text().count("normalised score") == 1


def test_the_report_normalises_and_compares_with_scratch(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    baselines(study)
    for place, arm in enumerate(ARMS):
        for seed in (0, 1):
            ran(study, arm, seed, [6.0 - place + seed, 8.0 - place + seed], [4.0 + place, 3.0 + place])
    played(study.played("adapter", 10, 0), "adapter", [9.0])  # not finished: not shown
    (table,) = write_study(study, {}).renderables
    assert isinstance(table, Table)
    assert table.row_count == 4
    cells = {cell["arm"]: cell for cell in json.loads((tmp_path / "results.json").read_text())["cells"]}
    assert cells["adapter"]["score"]["mean"] == pytest.approx(0.65)
    assert cells["adapter"]["seeds"] == pytest.approx([0.6, 0.7])
    assert cells["adapter"]["gain"]["mean"] == pytest.approx(0.2)
    assert cells["adapter"]["nats"] == [3.0, 3.0]
    assert cells["scratch"]["gain"] is None
    assert cells["random"]["gain"]["mean"] == pytest.approx(-0.1)
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")


def test_a_gain_that_is_the_same_for_all_seeds_is_sure() -> None:
    sure = paired_gain([([3.0, 3.0], [1.0, 1.0]), ([9.0, 9.0], [7.0, 7.0])], spread=10.0)
    assert (sure.low, sure.mean, sure.high) == pytest.approx((0.2, 0.2, 0.2))
    unsure = paired_gain([([3.0, 3.0], [1.0, 1.0]), ([9.0, 9.0], [9.0, 9.0])], spread=10.0)
    assert unsure.low < 0.05 < 0.1 == pytest.approx(unsure.mean)


@pytest.mark.parametrize("changes", [{"arms": ("tail",)}, {"sizes": (1,)}, {"sizes": ()}, {"seeds": 0}, {"jobs": 0}])
def test_studies_that_compare_nothing_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        make_study(tmp_path, **changes)
