import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gi_data import cli_bench_data
from gi_data.bench_reader import (
    BARS,
    FLOOR,
    LEROBOT,
    ORDERED,
    OURS,
    RANDOM,
    TORCHCODEC,
    ReaderBench,
    ReaderReport,
    num_readings,
    run,
)
from gi_data.bench_reader_meter import Sample, Score, measure, paired, resident_mb
from gi_data.bench_reader_naive import Request, decode_window
from gi_data.bench_reader_peers import PeerMissingError, PeerRun
from gi_data.bench_reader_soak import Soak, soak
from gi_data.corpus import Corpus
from gi_model.errors import ConfigError

CONFIG = ReaderBench(window_ticks=8, batch_size=4, size=64, repetitions=1)  # large enough to be decoded again


@pytest.fixture
def corpus(corpus_path: Path) -> Corpus:
    return Corpus(corpus_path)


@pytest.fixture
def fake_python(tmp_path: Path) -> Any:
    """Makes a program that stands in for another environment's Python: runs `script` in a shell."""

    def make(script: str) -> Path:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


# ---------------------------------------------------------------------- everyone reads the same


@pytest.fixture(scope="module")
def report(corpus_path: Path, tmp_path_factory: pytest.TempPathFactory) -> ReaderReport:
    """One run of everyone that needs no other environment."""
    steps: list[int] = []
    made = run(Corpus(corpus_path), CONFIG, tmp_path_factory.mktemp("bench"), lambda: steps.append(1))
    assert len(steps) == num_readings(CONFIG)
    return made


def test_everyone_delivers_the_frames_of_the_corpus(report: ReaderReport, corpus: Corpus) -> None:
    assert report.frames == int(corpus.num_ticks.sum())
    whole_windows = int((corpus.num_ticks // 8).sum()) * 8
    for score in report.scores:
        if score.name.startswith("floor"):
            assert score.frames == report.frames
        elif score.order == ORDERED:
            assert score.frames == whole_windows, score.name
        else:
            assert 0 < score.frames <= whole_windows, score.name
        assert 0 < score.median <= score.best
        if score.name.startswith(OURS):
            assert score.decoded >= 0.75 * score.frames, score.name
    assert report.notes == ()
    assert report.bytes_per_hour > 0
    assert set(report.mixture) == {"games", "recordings"}
    assert all(0 <= quality.distance <= 1 for quality in report.mixture.values())


def test_a_bar_is_our_best_over_the_others_best(report: ReaderReport) -> None:
    best = {(score.name, score.order): score.best for score in report.scores}
    values = {bar.name: bar.value for bar in report.bars}
    assert list(values) == [name for name, *_ in BARS]
    assert values["share of the decode floor, in order"] == best[OURS, ORDERED] / best[FLOOR, ORDERED]
    assert values["times lerobot, random windows"] is None
    assert all(bar.paired == bar.value for bar in report.bars)  # of one repetition


def test_the_naive_reader_finds_the_frames_it_seeks(corpus: Corpus, barcodes: Any) -> None:
    """Windows before, across, and behind the second keyframe."""
    row = corpus.row(0)
    video = corpus.read_video(row)
    first = int(row.recording_id.partition("-")[2]) + 40 * row.part
    for start in range(0, row.num_ticks - 8 + 1, 4):
        shown = [barcodes.number(frame) for frame in decode_window(Request(video, start, 8))]
        assert shown == list(range(first + start, first + start + 8))


@pytest.mark.parametrize("field", ["window_ticks", "batch_size", "size", "repetitions"])
def test_a_benchmark_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        ReaderBench(**{field: 0})  # type: ignore[arg-type]


# ---------------------------------------------------------------------- peers


def test_a_peer_that_is_not_installed_becomes_a_note(corpus: Corpus, tmp_path: Path) -> None:
    """Our own environment has neither of them."""
    config = ReaderBench(8, 4, 16, repetitions=1, peer_python=Path(sys.executable))
    made = run(corpus, config, tmp_path)
    assert {score.name for score in made.scores} & {LEROBOT, TORCHCODEC} == set()
    assert len([note for note in made.notes if "No module named" in note]) == 2


def test_a_corpus_that_stays_in_memory_is_no_measure_of_decoding(corpus: Corpus, tmp_path: Path) -> None:
    made = run(corpus, ReaderBench(8, 4, 16, repetitions=1), tmp_path)
    assert len(made.notes) == 4
    assert all(note.startswith(OURS) and "small" in note for note in made.notes)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "it said nothing"),
        ("echo oh no >&2; exit 1", "oh no"),
        ("echo hello", "gave no result"),
        ("true", "gave no result"),
        ("""echo '{"frames": "x"}'""", "gave no result"),
        ("""echo '[1]'""", "gave no result"),
        ("""echo '{"missing": "torchcodec: no FFmpeg"}'""", "no FFmpeg"),
    ],
)
def test_a_peer_that_fails_says_why(fake_python: Any, tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(PeerMissingError, match=message):
        PeerRun(fake_python(script), "torchcodec_reader", {}, tmp_path)()


def test_a_python_that_does_not_exist_is_a_peer_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PeerMissingError, match="cannot be run"):
        PeerRun(tmp_path / "none", "lerobot_reader", {}, tmp_path)()


def test_a_peers_figures_are_taken_from_its_last_line(fake_python: Any, tmp_path: Path) -> None:
    python = fake_python("""echo a warning; echo '{"frames": 64, "cpu_s": 0.5, "wall_s": 1.0}'""")
    sample = PeerRun(python, "lerobot_reader", {"dataset": "x"}, tmp_path)()
    assert (sample, sample.frames_per_cpu_s) == (Sample(64, 0.5, 1.0), 128.0)
    assert json.loads((tmp_path / "lerobot_reader.json").read_text()) == {"dataset": "x"}


def test_a_peer_runs_in_both_orders_and_is_compared(corpus: Corpus, fake_python: Any, tmp_path: Path) -> None:
    python = fake_python("""echo '{"frames": 64, "cpu_s": 1e6, "wall_s": 1e6}'""")
    made = run(corpus, ReaderBench(8, 4, 16, repetitions=1, peer_python=python), tmp_path)
    slow = {(score.name, score.order) for score in made.scores if score.best < 1}
    assert slow == {(name, order) for name in (LEROBOT, TORCHCODEC) for order in (ORDERED, RANDOM)}
    assert all(bar.value is not None for bar in made.bars)


# ---------------------------------------------------------------------- the meter


def test_cpu_time_of_children_counts() -> None:
    import subprocess

    code = "import time\nwhile time.process_time() < 0.3: pass"
    sample = measure(lambda: subprocess.run([sys.executable, "-c", code], check=True).returncode + 1)
    assert sample.frames == 1
    assert sample.cpu_s >= 0.3


def test_scores_keep_best_and_median() -> None:
    score = Score.of("a", RANDOM, [Sample(100, 1.0, 4.0), Sample(100, 2.0, 2.0), Sample(100, 4.0, 5.0)])
    assert (score.best, score.median, score.wall, score.frames, score.repetitions) == (100.0, 50.0, 50.0, 100, 3)


def test_pairs_of_readings_outvote_two_lucky_ones() -> None:
    """The machine is twice as fast in the last minute, for one of the two in the first: 0.5 is what they have."""
    ours = Score.of("a", RANDOM, [Sample(1, cpu_s, 1.0) for cpu_s in (2.0, 2.0, 1.0)])
    theirs = Score.of("b", RANDOM, [Sample(1, cpu_s, 1.0) for cpu_s in (0.25, 1.0, 0.5)])
    assert (paired(ours, theirs), ours.best / theirs.best) == (0.5, 0.25)


# ---------------------------------------------------------------------- memory


def test_soak_reads_the_windows_it_promises(corpus: Corpus) -> None:
    steps: list[int] = []
    soaked = soak(corpus, CONFIG.reader, 400, lambda: steps.append(1))
    assert (soaked.windows, len(soaked.resident_mb), len(steps)) == (400, 20, 20)
    assert min(soaked.resident_mb) > 10
    assert soaked.resident_mb[-1] <= 2 * resident_mb()


def test_a_leak_shows_as_growth_and_a_plateau_does_not() -> None:
    assert Soak(20, (100.0, *[300.0] * 19)).growth_mb == 0
    assert Soak(20, tuple(100.0 + 10 * step for step in range(20))).growth_mb == 100


# ---------------------------------------------------------------------- the command


def gi(*arguments: object) -> str:
    app = typer.Typer()
    cli_bench_data.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


SMALL = ("--window", 8, "--batch", 4, "--size", 16, "--repetitions", 1)


def test_scripts_get_everything_as_json(corpus_path: Path) -> None:
    facts = json.loads(gi("reader", "--corpus", corpus_path, *SMALL, "--soak", 100, "--json"))
    names = {"frames", "clips", "bytes_per_hour", "scores", "bars", "notes", "soak", "mixture", "setting", "machine"}
    assert set(facts) == names
    figures = {"best", "median", "wall", "decoded", "speeds"}
    assert set(facts["scores"][0]) == {"name", "order", "frames", "repetitions"} | figures
    assert set(facts["bars"][0]) == {"name", "value", "paired", "at_least"}
    assert set(facts["soak"]) == {"windows", "resident_mb", "growth_mb"}
    assert facts["setting"] == {"window_ticks": 8, "batch_size": 4, "size": 16, "repetitions": 1}


def test_people_get_a_table_and_the_promises(corpus_path: Path) -> None:
    shown = gi("reader", "--corpus", corpus_path, *SMALL)
    for word in (
        "gi reader",
        "webdataset",
        "floor",
        "share of the decode floor",
        "GB an hour",
        "not measured",
        "games of a batch",
    ):
        assert word in shown
