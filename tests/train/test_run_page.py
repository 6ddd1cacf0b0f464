"""The report of a training run: whole, self-contained, true to what the run left, also while it runs."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gi_train.run_charts import draw_copying, draw_descent, draw_factors, draw_parts, draw_speed
from gi_train.run_events import append_event
from gi_train.run_files import Row, RunPaths
from gi_train.run_page import write_run_page
from tests.train.test_report import Page

SHARES: Row = {"kind": "data", "step": 0, "share/<corpus>/doom/one": 0.25, "share/<corpus>/doom/two": 0.75}


def make_rows(num_steps: int = 40) -> list[Row]:
    train: list[Row] = [
        {
            "kind": "train",
            "step": step,
            "loss": 9 / step,
            "nll": 9 / step,
            "nll/keys": 4 / step,
            "lr": 1e-3,
            "norm": 2.0,
            "frames_per_s": 1000.0 + step,
            "mfu": 0.3,
            "data_wait": 0.01,
            "seconds/fetch": 0.001,
            "seconds/forward": 0.02,
        }
        for step in range(1, num_steps)
    ]
    held_out: Row = {"kind": "val", "step": num_steps, "loss": 0.5, "nll": 0.4321, "marginal": 3.21, "nll/keys": 0.4}
    held_out |= {"accuracy/keys": 0.8, "majority/keys": 0.5, "repeat/keys": 0.6, "marginal/keys": 1.2}
    return [SHARES, *train, held_out | {"copycat/keys": 0.3, "f1/keys": 0.9, "f1/transitions": 0.4}]


def make_run(folder: Path, rows: list[Row]) -> Path:
    paths = RunPaths(folder)
    folder.mkdir(exist_ok=True)
    paths.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"torn')
    append_event(paths.events, "start", step=0, run="cpu: one process", policy={"dim": 160}, train={"lr_peak": 1e-3})
    append_event(paths.events, "stop", step=20, reason="<SIGTERM>")
    append_event(paths.events, "resume", step=20, policy={"dim": 160}, train={"lr_peak": 5e-4})
    append_event(paths.events, "finish", step=40)
    return folder


def read_page(path: Path) -> tuple[str, str]:
    """The document, and its words; fails unless it is well formed."""
    text = path.read_text()
    page = Page()
    page.feed(text)
    page.close()
    return text, " ".join(page.text)


def test_the_page_shows_what_the_run_left_and_loads_nothing(tmp_path: Path) -> None:
    from gi_model.cli import build_app

    run = make_run(tmp_path / "run", make_rows())
    outcome = CliRunner().invoke(build_app(), ["report", "--run", str(run), "--out", str(tmp_path / "page.html")])
    assert outcome.exit_code == 0, outcome.output
    text, words = read_page(tmp_path / "page.html")
    assert not re.search(r"(https?:)?//[a-z]|@import|url\(\s*[^#)]|<script|src=", text)
    for shown in ("0.43", "3.21", "1,020", "30.0%", "<corpus>/doom/two", "75.0%", "<SIGTERM>", "resumed once"):
        assert shown in words, shown
    assert "train: lr_peak" in words
    assert "0.0005" in words  # settings are those of the newest start
    assert text.count("<svg") == 7


def test_a_run_that_only_began_has_a_page(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    RunPaths(folder).metrics.write_text(json.dumps(SHARES) + "\n")
    write_run_page(folder, tmp_path / "deep" / "page.html")
    _, words = read_page(tmp_path / "deep" / "page.html")
    assert "No step was logged yet" in words


def test_the_policy_of_an_old_run_comes_from_its_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "steps" / "000040").mkdir(parents=True)
    (folder / "steps" / "000040" / "config.json").write_text('{"dim": 4321}')
    RunPaths(folder).metrics.write_text("".join(json.dumps(row) + "\n" for row in make_rows()))
    write_run_page(folder, tmp_path / "page.html")
    assert "4321" in read_page(tmp_path / "page.html")[1]


def test_charts_without_rows_are_empty() -> None:
    for draw in (draw_factors, draw_copying, draw_descent, draw_speed, draw_parts):
        assert draw([]) == ""
        assert draw(make_rows()).startswith("<svg")


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--run", "nowhere"], "no training run"), ([], "neither"), (["a.jsonl", "--run", "nowhere"], "both")],
)
def test_what_cannot_be_reported_is_said(words: list[str], said: str, tmp_path: Path) -> None:
    from gi_model.cli import build_app
    from gi_model.errors import ConfigError

    outcome = CliRunner().invoke(build_app(), ["report", *words, "--out", str(tmp_path / "page.html")])
    assert isinstance(outcome.exception, ConfigError)
    assert said in str(outcome.exception)
    assert not (tmp_path / "page.html").exists()
