"""The race: what it counts, and that it runs on a real corpus, from the command line, to a chart."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gi_data.blend import Blend
from gi_data.corpus import Corpus
from gi_model.cli import build_app
from gi_model.config import preset
from gi_train.bench_optimizer import Point, Race, Run, best_of, common_target, mean_seconds, race, train
from gi_train.config import PRESETS

POLICY = preset("debug").replace(height=32, width=48)
TRAIN = PRESETS["debug"].replace(evaluate_batches=1)
FAST = Run("adamw", 1e-3, 0, 20, (Point(10, 2.0, 6.0), Point(20, 4.0, 4.0)))
SLOW = Run("muon", 1e-3, 0, 20, (Point(10, 3.0, 5.0), Point(20, 6.0, 3.0)))


def test_a_target_is_reached_on_the_line_between_two_points() -> None:
    assert FAST.reached(5.0) == Point(15, 3.0, 5.0)
    assert FAST.reached(6.5) == Point(10, 2.0, 6.5)
    assert FAST.reached(3.9) is None


def test_the_target_is_what_all_reached_and_seconds_are_means() -> None:
    other = Run("muon", 1e-3, 1, 20, (Point(10, 3.0, 4.0), Point(20, 6.0, 3.0)))
    assert common_target([FAST, SLOW]) == 4.0
    assert best_of([FAST, SLOW, other], "muon") is SLOW
    assert mean_seconds([FAST, SLOW, other], "muon", 4.0) == pytest.approx((4.5 + 3.0) / 2)
    assert mean_seconds([FAST, SLOW], "adamw", 3.5) is None


def test_a_run_learns_and_repeats(corpus_path: Path) -> None:
    data, config = Blend([Corpus(corpus_path)]), TRAIN.replace(steps=6, evaluate_every=3, lr_peak=3e-3, warmup_steps=1)
    first, again = (list(train(data, POLICY, config)) for _ in range(2))
    assert [point.step for point in first] == [3, 6]
    assert [point.loss for point in first] == [point.loss for point in again]
    assert first[1].loss < first[0].loss
    assert 0 < first[0].seconds < first[1].seconds


def test_finals_take_the_best_rate_of_each_optimiser(corpus_path: Path) -> None:
    rules = Race(lrs=(1e-5, 3e-3), steps=3, final_seconds=0.01, seeds=(0, 1))
    seen: list[Run] = []
    grid, finals = race(Blend([Corpus(corpus_path)]), POLICY, TRAIN, rules, on_run=seen.append)
    assert [(run.optimizer, run.lr) for run in grid] == [(n, lr) for lr in rules.lrs for n in rules.optimizers]
    assert [(run.optimizer, run.seed) for run in finals] == [(n, seed) for seed in (0, 1) for n in rules.optimizers]
    assert all(run.lr == best_of(grid, run.optimizer).lr for run in finals)
    assert seen == grid + finals


def test_the_command_leaves_curves_and_a_chart(corpus_path: Path, tmp_path: Path) -> None:
    arguments = ["bench", "optimizer", "--corpus", str(corpus_path), "--out", str(tmp_path), "--preset", "debug"]
    done = CliRunner().invoke(build_app(), [*arguments, "--lrs", "1e-3", "--steps", "2", "--seconds", "0"])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "race.json").read_text())
    assert [row["optimizer"] for row in rows] == ["adamw", "muon"]
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG")
    assert "adamw's" in done.output


@pytest.mark.parametrize("flags", [["--lrs", "fast"], ["--steps", "0"], ["--optimizers", "sgd"]])
def test_a_race_that_cannot_be_run_is_refused(flags: list[str], corpus_path: Path) -> None:
    done = CliRunner().invoke(
        build_app(), ["bench", "optimizer", "--corpus", str(corpus_path), "--preset", "debug", *flags]
    )
    assert done.exit_code != 0
    assert "expected" in str(done.exception)
