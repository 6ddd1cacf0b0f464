"""Laws of a sweep: sizes in proportion, nested data with one held-out set, finished runs kept, failures told."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gi_data.catalog import Catalog
from gi_model.config import preset
from gi_model.errors import ConfigError, TrainingError
from gi_model.policy import Policy
from gi_train import sweep as module
from gi_train.run_files import RunPaths
from gi_train.scaling_law import Trained, fit_law
from gi_train.sweep import Children, Outcome, Sweep, command, count_hours, make_view, plan, run, scale
from gi_train.sweep_report import write_sweep

SIZES = ("32x1", "64x1", "96x1")


def make_sweep(corpus: Path, out: Path, **changes: object) -> Sweep:
    there = count_hours(corpus)
    settings: dict[str, object] = {"sizes": SIZES, "hours": (there / 2, there), "preset": "debug", "batch_size": 2}
    return Sweep(corpus, out, **{**settings, **changes})  # type: ignore[arg-type]


def test_sizes_keep_the_presets_proportions() -> None:
    tiny = preset("tiny")
    assert scale(tiny, "160x3") == tiny
    counts = [sum(p.numel() for p in Policy(scale(tiny, size)).parameters()) for size in (*SIZES, "96x2")]
    assert counts == sorted(counts)


@pytest.mark.parametrize("size", ["", "96", "x3", "96x0", "0x2", "100x2", "96x-1", "axb"])
def test_words_that_are_no_size_are_refused(size: str) -> None:
    with pytest.raises(ConfigError, match="DIMxLAYERS"):
        scale(preset("tiny"), size)


def test_data_is_nested_and_held_out_clips_are_the_same(corpus_path: Path, tmp_path: Path) -> None:
    sweep = make_sweep(corpus_path, tmp_path)
    sides: list[dict[str, set[str]]] = []
    for hours in sweep.hours:
        view, ticks = make_view(sweep, hours)
        rows = Catalog.open(view).table.to_pylist()
        sides.append({split: {r["key"] for r in rows if r["split"] == split} for split in ("train", "val")})
        assert ticks == sum(row["num_ticks"] for row in rows if row["split"] == "train")
    few, all_ = sides
    assert few["train"] < all_["train"]
    assert few["val"] == all_["val"]
    assert few["val"]


def test_more_play_than_there_is_cannot_be_had(corpus_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds less play"):
        plan(make_sweep(corpus_path, tmp_path, hours=(1000.0,)))


@pytest.mark.parametrize("changes", [{"epochs": 0}, {"seeds": 0}, {"jobs": 0}, {"sizes": ()}, {"hours": (0.0,)}])
def test_settings_out_of_range_are_refused(changes: dict[str, object], corpus_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sweep"):
        make_sweep(corpus_path, tmp_path, **changes)


def test_a_grid_too_small_is_refused_before_training(corpus_path: Path, tmp_path: Path) -> None:
    from gi_model.cli import build_app

    words = ["sweep", "--data", str(corpus_path), "--out", str(tmp_path), "--sizes", "32x1,64x1", "--preset", "debug"]
    outcome = CliRunner().invoke(build_app(), words)
    assert isinstance(outcome.exception, ConfigError)
    assert not (tmp_path / "runs").exists()


class FakeTraining(Children):
    """Leaves what `gi pretrain` leaves, at once."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[list[str]] = []

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        words = list(words)
        self.commands.append(words)
        out, steps = Path(words[words.index("--out") + 1]), int(words[words.index("--steps") + 1])
        if "fail" in str(out):
            return 2, "error out of memory"
        RunPaths(out).checkpoint.mkdir(parents=True)
        RunPaths(out).metrics.write_text(json.dumps({"kind": "val", "step": steps, "nll": 1.5}) + "\n")
        return 0, ""


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    fake = FakeTraining()
    monkeypatch.setattr(module, "Children", lambda: fake)
    monkeypatch.setattr(module, "_count_parameters", lambda _: 1000)
    return fake


def test_finished_runs_are_kept(corpus_path: Path, tmp_path: Path, training: FakeTraining) -> None:
    sweep = make_sweep(corpus_path, tmp_path)
    points = plan(sweep)
    assert len(points) == 6
    seen: list[Outcome] = []
    first = run(sweep, points, advance=seen.append)
    assert len(training.commands) == len(seen) == 6
    assert run(sweep, points, advance=seen.append) == first
    assert len(training.commands) == 6
    assert [outcome.point for outcome in first] == points


def test_a_run_with_other_settings_is_not_taken_for_this_one(
    corpus_path: Path, tmp_path: Path, training: FakeTraining
) -> None:
    points = plan(make_sweep(corpus_path, tmp_path))
    run(make_sweep(corpus_path, tmp_path), points, advance=lambda _: None)
    other = make_sweep(corpus_path, tmp_path, batch_size=3)
    with pytest.raises(ConfigError, match="other settings"):
        run(other, plan(other), advance=lambda _: None)


def test_a_run_that_fails_is_told_with_its_last_words(
    corpus_path: Path, tmp_path: Path, training: FakeTraining
) -> None:
    sweep = make_sweep(corpus_path, tmp_path / "fail")
    with pytest.raises(TrainingError, match="out of memory"):
        run(sweep, plan(sweep), advance=lambda _: None)


def test_every_word_of_a_run_is_a_flag_that_exists(corpus_path: Path, tmp_path: Path) -> None:
    from gi_model.config import PRESETS as SIZES_BY_NAME
    from gi_train.cli_pretrain import apply_settings
    from gi_train.config import PRESETS

    sweep = make_sweep(corpus_path, tmp_path)
    words = command(sweep, plan(sweep)[0])
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    policy, train = apply_settings(settings, SIZES_BY_NAME["debug"], PRESETS["debug"])
    assert policy == scale(preset("debug"), "32x1")
    assert train.evaluate_every == plan(sweep)[0].steps


def test_the_page_and_the_picture_are_written(corpus_path: Path, tmp_path: Path) -> None:
    sweep = make_sweep(corpus_path, tmp_path, hours=tuple(count_hours(corpus_path) * s for s in (0.4, 0.7, 1)))
    points = plan(sweep)
    outcomes = [
        Outcome(point, 1000 * int(point.size.split("x")[0]), 1 + 30 / point.ticks**0.4 + 1 / int(point.size[:2]))
        for point in points
    ]
    law = fit_law([Trained(o.parameters, o.point.ticks, o.loss) for o in outcomes], num_resamples=10)
    write_sweep(sweep, outcomes, law)
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((tmp_path / "sweep.json").read_text())["runs"]) == len(points)
    page = (tmp_path / "sweep.html").read_text()
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.slow
def test_a_sweep_of_real_runs(corpus_path: Path, tmp_path: Path) -> None:
    """Nine runs of seconds; a second call trains nothing."""
    from gi_model.cli import build_app

    there = count_hours(corpus_path)
    hours = ",".join(str(there * share) for share in (0.4, 0.7, 1))
    words = ["sweep", "--data", str(corpus_path), "--out", str(tmp_path), "--sizes", ",".join(SIZES)]
    words += ["--hours", hours, "--preset", "debug", "--batch-size", "2", "--json"]
    for _ in range(2):
        outcome = CliRunner().invoke(build_app(), words)
        assert outcome.exit_code == 0, outcome.output
        law = json.loads(outcome.stdout)["law"]
        assert law["num_runs"] == 9
