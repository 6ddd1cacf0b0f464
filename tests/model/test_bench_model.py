"""`gi bench model`: what is counted meets the bars; what is timed is sane; what is too big says so."""

import json

import pytest
import torch
from typer.testing import CliRunner

from gi_model.bench_model import MAX_TIMED, SIZES, Bar, run
from gi_model.cli import build_app
from gi_model.errors import ConfigError

RUNNER = CliRunner()


def test_counted_bars_are_met_by_a_model_of_the_peers_size() -> None:
    report = run(timed=False)
    assert [size.name for size in report.sizes] == list(SIZES)
    assert [bar.is_met for bar in report.bars] == [True, True, True, None]
    peer = next(size for size in report.sizes if size.name == "183M")
    assert sum(peer.parameters.values()) == pytest.approx(183e6, rel=0.03)
    assert peer.window_s == 10
    assert sum(peer.gflop.values()) == pytest.approx(peer.gflop_all)


def test_streaming_is_cheaper_than_the_window_again() -> None:
    threads = torch.get_num_threads()
    (size,) = run(("tiny",)).sizes
    assert size.timing is not None
    assert 0 < size.timing.stream_ms < size.timing.from_pixels_ms
    assert torch.get_num_threads() == threads


def test_a_size_too_big_to_time_says_so() -> None:
    (size,) = run(("xl",)).sizes
    assert sum(size.parameters.values()) > MAX_TIMED
    assert size.timing is None
    assert "250 M" in size.not_timed


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="huge"):
        run(("huge",))


def test_a_bar_is_met_up_to_its_limit() -> None:
    assert [Bar("", "", 2.0, ours).is_met for ours in (1.0, 2.0, 2.1, None)] == [True, True, False, None]


def test_the_command_prints_tables_and_json() -> None:
    text = RUNNER.invoke(build_app(), ["bench", "model", "--preset", "debug", "--no-timed"], env={"COLUMNS": "220"})
    assert text.exit_code == 0, text.output
    assert "GFLOP critical" in text.output
    assert "not measured" in text.output
    answer = RUNNER.invoke(build_app(), ["bench", "model", "--preset", "183M", "--no-timed", "--json"])
    facts = json.loads(answer.output)
    assert facts["sizes"][0]["name"] == "183M"
    assert [bar["is_met"] for bar in facts["bars"]] == [True, True, True, None]
