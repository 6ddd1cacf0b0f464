"""The report: every score on the page, films that play, nothing loaded from elsewhere."""

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from gi_data.video import decode
from gi_model.actions import Gamepad, InputState
from gi_train.episodes import EpisodeResult, ResultsFile
from gi_train.overlay import Painter, write_film
from gi_train.report_charts import draw_accuracy, draw_latency, draw_loss
from gi_train.report_table import draw_table, make_scoreboard
from gi_train.trace import Moment, Trace

VOID = {"meta", "br", "img", "link", "input", "hr"}
SCORES = {"idle": 0.0, "random": 2.0, "demonstrator": 10.0, "policy": 8.0}


class Page(HTMLParser):
    """Tags with their attributes; fails on tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def close(self) -> None:
        super().close()
        assert not self._open


def make_results(games: Sequence[str] = ("fake/one", "fake/<two>"), num_episodes: int = 8) -> list[EpisodeResult]:
    generator = np.random.default_rng(0)
    return [
        EpisodeResult(game, agent, seed, agent == "policy", score + float(generator.normal()), 60, 1.0, (4.0, 6.0))
        for game in games
        for agent, score in SCORES.items()
        for seed in range(num_episodes)
    ]


def make_trace(num_ticks: int = 12) -> Trace:
    generator = np.random.default_rng(1)
    moments = tuple(
        Moment(
            InputState(keys=frozenset({"KeyW"} if tick % 2 else ()), motion=(tick, -tick)),
            {"keys": 0.5 + tick / 100, "wheel": 1.0},
            float(tick),
            5.0,
        )
        for tick in range(num_ticks)
    )
    frames = generator.integers(0, 255, (num_ticks, 12, 16, 3), dtype=np.uint8)
    return Trace("fake/one", "policy", 7, 20.0, {"KeyW": "go", "MouseLeft": "fire"}, frames, moments)


def make_rows() -> list[dict[str, float | str]]:
    train: list[dict[str, float | str]] = [{"kind": "train", "step": step, "loss": 9.0 / step} for step in range(1, 50)]
    held_out = {
        "accuracy/keys": 0.7,
        "majority/keys": 0.5,
        "repeat/keys": 0.6,
        "accuracy/wheel": 1.0,
        "majority/wheel": 1.0,
    }
    return [*train, {"kind": "val", "step": 50, "loss": 0.4, **held_out}]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gi_model.cli import build_app

    folder = tmp_path_factory.mktemp("report")
    file = ResultsFile(folder / "results.jsonl")
    for result in make_results():
        file.append(result)
    make_trace().write(folder / "traces" / "fake-one.npz")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in make_rows()) + '{"torn')
    (folder / "facts.json").write_text('{"data": "5 < 6 minutes"}')
    words = ["report", str(file.path), "--out", str(folder / "report.html"), "--traces", str(folder / "traces")]
    words += ["--metrics", str(folder / "metrics.jsonl"), "--facts", str(folder / "facts.json")]
    outcome = CliRunner().invoke(build_app(), words)
    assert outcome.exit_code == 0, outcome.output
    return folder / "report.html"


def test_the_page_is_whole_and_loads_nothing(report: Path) -> None:
    text = report.read_text()
    page = Page()
    page.feed(text)
    page.close()
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert links
    assert all(value and value.startswith(("data:", "#")) for value in links)
    assert not re.search(r"(https?:)?//[a-z]|@import|url\(\s*[^#)]", re.sub(r"base64,[A-Za-z0-9+/=]*", "", text))
    assert {"table", "video", "svg"} <= {tag for tag, _ in page.tags}


def test_the_page_shows_every_score_and_escapes_names(report: Path) -> None:
    page = Page()
    page.feed(report.read_text())
    words = "".join(page.text)
    board = make_scoreboard(make_results())
    for cell in board.cells:
        assert f"{cell.score.mean:.2f}" in words
        assert cell.game in words
    assert f"{board.mean_normalised['policy'].mean:.2f}" in words
    assert "5 < 6 minutes" in words


def test_the_films_in_the_page_play(report: Path) -> None:
    (data,) = re.findall(r'src="data:video/mp4;base64,([^"]+)"', report.read_text())
    trace = make_trace()
    painter = Painter(trace)
    frames = decode(
        base64.b64decode(data), height=painter.height, width=painter.width, frames=range(len(trace.frames)), name="film"
    )
    assert frames.std() > 1


def test_results_stand_beside_the_page_for_scripts(report: Path) -> None:
    data = json.loads((report.parent / "results.json").read_text())
    board = make_scoreboard(make_results())
    assert data["mean_normalised"]["policy"]["mean"] == pytest.approx(board.mean_normalised["policy"].mean)
    assert {(cell["game"], cell["agent"]) for cell in data["cells"]} == {(c.game, c.agent) for c in board.cells}


def test_without_both_ends_of_the_scale_there_is_no_normalised_score() -> None:
    board = make_scoreboard([result for result in make_results() if result.agent != "random"])
    assert all(cell.normalised is None for cell in board.cells)
    assert board.mean_normalised == {}
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(draw_table(board))
    assert "fake/one" in console.export_text()


def test_charts_take_their_colours_from_the_page() -> None:
    charts = [draw_loss(make_rows()), draw_accuracy(make_rows()), draw_latency([4.0, 6.0, 30.0], budget_ms=25.0)]
    for chart in charts:
        assert chart.startswith("<svg")
        assert "var(--accent)" in chart
        assert "#0" not in re.sub(r'href="#[^"]*"|url\(#[^)]*\)', "", chart)
    assert "wheel" not in charts[1]  # a factor that never changes is no chart
    assert (draw_loss([]), draw_accuracy([]), draw_latency([], budget_ms=25.0)) == ("", "", "")


def test_what_is_held_lights_up() -> None:
    painter = Painter(make_trace())
    idle, held = painter.paint(0), painter.paint(1)
    assert idle.shape == held.shape == (painter.height, painter.width, 3)
    panel = np.s_[78:110, -200:-160]
    lit = np.array([0x4F, 0xD1, 0xA5])
    assert (np.abs(held[panel].astype(int) - lit).sum(-1) == 0).sum() > 300
    assert (np.abs(idle[panel].astype(int) - lit).sum(-1) == 0).sum() == 0


@pytest.mark.parametrize(
    ("idle", "moved"),
    [
        (InputState(gamepad=Gamepad()), InputState(gamepad=Gamepad(left_stick=(1.0, -0.5), triggers=(0.0, 1.0)))),
        (InputState(commands=(0.0, 0.0)), InputState(commands=(0.5, -2.0))),
    ],
)
def test_sticks_and_commands_are_shown_where_there_is_no_mouse(idle: InputState, moved: InputState) -> None:
    trace = make_trace()
    moments = [replace(trace.moments[0], inputs=state) for state in (idle, moved)]
    painter = Painter(replace(trace, moments=tuple(moments)))
    lit = np.array([0x4F, 0xD1, 0xA5])
    at_rest, busy = ((np.abs(painter.paint(t)[160:260, -200:].astype(int) - lit).sum(-1) == 0).sum() for t in (0, 1))
    assert busy > at_rest + 100


def test_traces_survive_the_disk(tmp_path: Path) -> None:
    trace = make_trace()
    trace.write(tmp_path / "trace.npz")
    again = Trace.read(tmp_path / "trace.npz")
    assert again.moments == trace.moments
    assert (again.frames == trace.frames).all()
    assert (again.game, again.seed, again.controls) == (trace.game, trace.seed, trace.controls)


def test_a_film_of_any_game_size_can_be_encoded(tmp_path: Path) -> None:
    trace = make_trace(3)
    odd = Trace("g", "p", 1, 20.0, {}, trace.frames[:, :11, :13], trace.moments)
    write_film(odd, tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").stat().st_size > 1000
