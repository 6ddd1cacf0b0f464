"""The contact sheet: what it draws is fair and aligned, and in a real browser the overlay is that of the picture."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from gi_data import cli_card
from gi_data.contact_sheet import SheetConfig, draw_sheet
from gi_data.contact_sheet_page import render
from gi_data.corpus import Corpus
from gi_data.embodied import embodied
from gi_data.index import INDEX_NAME
from gi_data.recording import RecordingWriter
from gi_data.video import count_frames, cut, decode
from gi_model.actions import AxisBinding, Bindings, Gamepad, InputState
from gi_model.embodiment import Actuator, Camera, Embodiment
from gi_model.errors import ClipError, ConfigError
from tests.conftest import BITS, HEIGHT, TICK_NS, WIDTH, Barcodes, MakeCorpus
from tests.data.browser import CHROMIUM, Page, browse

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
HOSTILE = '</script><img src=x onerror="window.hit=1"><script>window.hit=1;alert(1)</script>\'"&${x}'
# The number in the picture, the tick of the overlay, and what the overlay says is held, all of one frame.
READ = f"""((tile) => {{
  const canvas = document.createElement('canvas'), video = tile.querySelector('video');
  canvas.width = {WIDTH}; canvas.height = {HEIGHT};
  const context = canvas.getContext('2d', {{ willReadFrequently: true }});
  context.drawImage(video, 0, 0, {WIDTH}, {HEIGHT});
  let number = 0;
  for (let bit = 0; bit < {BITS}; bit++)
    number |= (context.getImageData((bit + 0.5) * {WIDTH // BITS}, {HEIGHT // 2}, 1, 1).data[1] > 127) << bit;
  const texts = (query, name) => [...tile.querySelectorAll(query)].map((e) => e.dataset[name]);
  return {{ number, tick: Number(tile.dataset.tick), held: texts('.held [data-code]', 'code').sort(),
    lit: texts('.lane.lit', 'lane').sort(), badge: tile.querySelector('.badge').textContent }};
}})"""


def sheet_of(corpus: Path, **changes: Any) -> str:
    config = SheetConfig(**changes)
    opened = Corpus(corpus)
    return render(draw_sheet(opened, config), opened.manifest, config, title="a corpus")


def write(path: Path, page: str) -> Path:
    path.write_text(page)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browse(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def stretches(corpus_path: Path, tmp_path: Path) -> Path:
    """The corpus with every long clip cut to its ticks 17 to 33: between two keyframes, and across one."""
    copy = shutil.copytree(corpus_path, tmp_path / "stretches")
    table = pq.read_table(copy / INDEX_NAME)
    long = np.array(table["num_ticks"]) == 40
    for name, value in (("first_tick", 17), ("num_ticks", 17)):
        column = pa.array(np.where(long, value, table[name]), pa.int64())
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, copy / INDEX_NAME)
    return copy


# ---- videos, cut ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "num_frames"), [(0, 5), (29, 3), (30, 10), (31, 9), (39, 1), (0, 40)])
def test_cutting_copies_frames_bit_for_bit_from_a_keyframe_on(corpus_path: Path, first: int, num_frames: int) -> None:
    corpus = Corpus(corpus_path)
    row = next(row for row in map(corpus.row, range(corpus.num_clips)) if row.num_ticks == 40)
    video = corpus.read_video(row)
    excerpt = cut(video, row.key, first=first, num_frames=num_frames)
    size = {"height": HEIGHT, "width": WIDTH}
    end = first + num_frames
    assert excerpt.first <= first
    assert excerpt.first < 30 or first >= 30  # a keyframe every 30, and wherever the scene changes
    assert count_frames(excerpt.video, "excerpt") == end - excerpt.first
    copied = decode(excerpt.video, "excerpt", frames=range(end - excerpt.first), **size)
    np.testing.assert_array_equal(copied, decode(video, row.key, frames=range(excerpt.first, end), **size))


def test_what_cannot_be_cut_is_an_error_that_names_the_clip(corpus_path: Path) -> None:
    corpus = Corpus(corpus_path)
    row = corpus.row(0)
    with pytest.raises(ClipError, match=row.key):
        cut(corpus.read_video(row), row.key, first=row.num_ticks - 1, num_frames=2)
    with pytest.raises(ClipError, match="junk"):
        cut(b"no video", "junk", first=0, num_frames=1)


# ---- the draw ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_every_frame_of_a_tile_meets_its_own_label_and_none_is_shown_from_outside_the_stretch(
    stretches: Path, barcodes: Barcodes, seed: int
) -> None:
    for tile in draw_sheet(Corpus(stretches), SheetConfig(seed=seed, seconds=0.3)).tiles:
        row, num = tile.row, len(tile.states)
        frames = decode(tile.video, row.key, frames=range(tile.lead, tile.lead + num), height=HEIGHT, width=WIDTH)
        assert [barcodes.number(frame) for frame in frames] == [barcodes.number_of(state) for state in tile.states]
        assert row.first_tick <= tile.first
        assert tile.first + num <= row.first_tick + row.num_ticks
        assert num >= min(6, row.num_ticks)


def test_a_seed_draws_the_same_again_and_another_draws_others(corpus_path: Path) -> None:
    corpus = Corpus(corpus_path)
    drawn = [
        [(tile.row.key, tile.first) for tile in draw_sheet(corpus, SheetConfig(clips=6, seed=seed, seconds=0.5)).tiles]
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 6


def test_clips_are_drawn_with_the_odds_of_their_length(corpus_path: Path) -> None:
    corpus = Corpus(corpus_path)  # 12 clips of 40 ticks, 6 of 10: 11 % of the ticks are in short clips, 33 % of clips
    drawn = [draw_sheet(corpus, SheetConfig(clips=1, seed=seed, seconds=0.1)).tiles[0].row for seed in range(250)]
    assert 0.04 < sum(row.num_ticks == 10 for row in drawn) / len(drawn) < 0.2


def test_filters_keep_what_they_name(corpus_path: Path) -> None:
    corpus = Corpus(corpus_path)
    tiles = draw_sheet(corpus, SheetConfig(games=("maze",), split="val")).tiles
    assert {(tile.row.game, tile.row.split) for tile in tiles} == {("maze", "val")}
    assert len(tiles) == sum(row.game == "maze" for row in map(corpus.row, corpus.select("val")))


def test_a_page_that_would_be_too_large_leaves_clips_out_and_says_so(corpus_path: Path) -> None:
    whole = sheet_of(corpus_path)
    bounded = sheet_of(corpus_path, max_mb=0.04)
    assert len(bounded) - len(sheet_of(corpus_path, clips=1)) < 0.04e6 < len(whole)
    facts = json.loads(bounded.split('id="facts">')[1].split("</script>")[0])
    assert facts["draw"]["drawn"] == 18 > facts["draw"]["shown"] == bounded.count('class="tile"') > 1


@pytest.mark.parametrize(
    "changes",
    [{"clips": 0}, {"seconds": 0}, {"seconds": 61}, {"max_mb": 0}, {"seed": -1}, {"split": "test"}],
)
def test_absurd_sheets_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SheetConfig(**changes)


def test_what_matches_nothing_is_an_error_that_names_what_there_is(corpus_path: Path) -> None:
    corpus = Corpus(corpus_path)
    with pytest.raises(ConfigError, match="tetris") as caught:
        draw_sheet(corpus, SheetConfig(games=("tetris",)))
    assert "arena, maze" in str(caught.value)
    with pytest.raises(ConfigError, match="--max-mb"):
        draw_sheet(corpus, SheetConfig(max_mb=0.0001))


def test_a_damaged_clip_is_named(corpus_path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(corpus_path, tmp_path / "corpus")
    row = Corpus(copy).row(0)
    with (copy / row.shard).open("rb+") as file:
        file.seek(row.video_offset + 99)
        file.write(b"\x00\xff\x00\xff")
    with pytest.raises(ClipError, match=row.key):
        draw_sheet(Corpus(copy), SheetConfig())


# ---- the page ------------------------------------------------------------------------------------------------------


@needs_browser
def test_videos_play_and_the_overlay_is_that_of_the_picture(
    page: Page, corpus_path: Path, tmp_path: Path, barcodes: Barcodes
) -> None:
    page.open(write(tmp_path / "sheet.html", sheet_of(corpus_path, clips=4, seconds=2.0)))
    page.wait("document.querySelector('video').currentTime > 0.3")
    page.evaluate("document.querySelector('article').tile.setSlow(true)")  # or a busy machine calls back ticks late
    samples = page.evaluate(
        f"""new Promise((resolve) => {{
          const tile = document.querySelector('article'), video = tile.querySelector('video'), samples = [];
          const sample = () => {{
            samples.push({READ}(tile));
            samples.length < 15 ? video.requestVideoFrameCallback(sample) : resolve(samples);
          }};
          video.requestVideoFrameCallback(sample);
        }})"""
    )
    first = barcodes.number_of(first_state(page))
    assert len({sample["number"] for sample in samples}) >= 8
    late = [sample["number"] - first - sample["tick"] for sample in samples]
    assert set(late) <= {0, 1}  # drawing may get the next picture already: the callback runs up to a refresh late
    assert late.count(0) > 9
    for sample in samples:
        check_overlay(sample, barcodes, number=first + sample["tick"])
    assert page.problems == []
    assert [url for url in page.requests if not url.startswith(("file:", "blob:"))] == []


@needs_browser
def test_stepping_shows_every_tick_once_with_its_own_inputs(
    page: Page, stretches: Path, tmp_path: Path, barcodes: Barcodes
) -> None:
    page.open(write(tmp_path / "sheet.html", sheet_of(stretches, clips=1, seconds=0.8)))
    page.wait("document.querySelector('video').readyState >= 2")
    page.evaluate("document.querySelector('article').focus()")
    page.press(" ")
    page.evaluate("document.querySelector('article').tile.goTo(0)")
    num = page.evaluate("document.querySelector('article').tile.states.length")
    first = barcodes.number_of(first_state(page))
    now = f"{READ}(document.querySelector('article'))"
    for tick in range(num):
        page.wait(f"(({{ number, tick }}) => number === {first + tick} && tick === {tick})({now})", timeout_s=5)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        sample = page.evaluate(now)  # and so it stays
        assert sample["number"] == first + tick
        assert sample["tick"] == tick
        check_overlay(sample, barcodes, number=sample["number"])
        page.press(".")
    page.wait("document.querySelector('article').dataset.tick === '0'")  # round it goes
    page.press(",")
    page.wait(f"document.querySelector('article').dataset.tick === '{num - 1}'")
    assert page.problems == []


@needs_browser
def test_keys_and_buttons_pause_slow_down_and_filter(page: Page, corpus_path: Path, tmp_path: Path) -> None:
    page.open(write(tmp_path / "sheet.html", sheet_of(corpus_path, clips=18, seconds=2.0)))
    page.wait("!document.querySelector('video').paused")
    page.evaluate("document.querySelector('article').focus()")
    page.press(" ")
    page.wait("document.querySelector('video').paused")
    page.press("s")
    page.press(" ")
    page.wait("!document.querySelector('video').paused && document.querySelector('video').playbackRate < 0.5")
    page.evaluate("[...document.querySelectorAll('#bar button')].find((b) => b.textContent.startsWith('maze')).click()")
    shown = "[...document.querySelectorAll('article:not([hidden]) h2')].map((e) => e.textContent)"
    assert page.evaluate(shown) == ["maze"] * 9
    page.evaluate("[...document.querySelectorAll('#bar button')].find((b) => b.textContent === 'Pause all').click()")
    page.wait("[...document.querySelectorAll('video')].every((video) => video.paused)")
    assert page.problems == []


@needs_browser
def test_a_name_of_a_stranger_is_shown_and_never_run(
    page: Page, tmp_path: Path, barcodes: Barcodes, make_corpus: MakeCorpus
) -> None:
    action = f"{HOSTILE} fire"
    info = barcodes.info(
        HOSTILE,
        bindings=Bindings({action: "KeyW"}, {HOSTILE: AxisBinding("motion.x", 1.0, HOSTILE)}),
        **dict.fromkeys(("license", "source", "consent", "demonstrator"), HOSTILE),
    )
    with RecordingWriter(tmp_path / "recordings", "one", info) as writer:
        for number in range(12):
            writer.append(barcodes.frame(number), InputState(frozenset({"KeyW"}), motion=(5, 0)), t_ns=number * TICK_NS)
    corpus = make_corpus(tmp_path / "recordings", tmp_path / "corpus")
    config = SheetConfig()
    opened = Corpus(corpus)
    text = render(draw_sheet(opened, config), opened.manifest, config, title=HOSTILE)
    page.open(write(tmp_path / "sheet.html", text))
    page.wait("document.querySelector('.held kbd') !== null")
    assert page.evaluate("document.querySelector('h1').textContent") == HOSTILE
    assert page.evaluate("document.querySelector('h2').textContent") == HOSTILE
    assert page.evaluate("document.querySelector('.held kbd').textContent") == f"W{action}"
    assert page.evaluate("[document.images.length, document.scripts.length, window.hit ?? 0]") == [0, 2, 0]
    assert page.problems == []


@needs_browser
def test_nothing_but_the_pages_own_script_may_run(page: Page, corpus_path: Path, tmp_path: Path) -> None:
    text = sheet_of(corpus_path, clips=1).replace("</main>", "</main><script>window.hit = 1</script>")
    page.open(write(tmp_path / "sheet.html", text.replace("<h1>", "<img src=x onerror='window.hit = 1'><h1>")))
    assert page.evaluate("window.hit ?? 0") == 0
    assert any("Content Security Policy" in problem for problem in page.problems)
    page.problems.clear()


@needs_browser
def test_pads_cursors_wheels_and_ticks_without_labels_are_drawn(
    page: Page, tmp_path: Path, barcodes: Barcodes, make_corpus: MakeCorpus
) -> None:
    bindings = Bindings(
        {"jump": "GamepadSouth", "select": "MouseLeft"},
        {
            "zoom": AxisBinding("wheel.y", 1.0),
            "steer": AxisBinding("left_stick.x", 1.0),
            "gas": AxisBinding("triggers.y", 1),
        },
        cursor=True,
    )
    state = InputState(
        buttons=frozenset({"MouseLeft"}),
        wheel=(0, -2),
        cursor=(0.25, 0.75),
        gamepad=Gamepad(frozenset({"GamepadSouth"}), left_stick=(-0.5, 0.0), triggers=(0.0, 1.0)),
    )
    with RecordingWriter(tmp_path / "recordings", "one", barcodes.info(bindings=bindings)) as writer:
        for number in range(12):
            writer.append(barcodes.frame(number), state, t_ns=number * TICK_NS, known=number < 6)
    corpus = make_corpus(tmp_path / "recordings", tmp_path / "corpus")
    page.open(write(tmp_path / "sheet.html", sheet_of(corpus)))
    page.wait("document.querySelector('video').readyState >= 2")
    page.evaluate("document.querySelector('article').tile.setWanted(false)")
    for tick, labelled in ((2, True), (9, False)):
        page.evaluate(f"document.querySelector('article').tile.goTo({tick})")
        at = "((e, ...names) => names.map((name) => Number(e.getAttribute(name))))"
        assert page.evaluate(f"{at}(document.querySelector('.cursor'), 'cx', 'cy')") == [WIDTH / 4, HEIGHT * 3 / 4]
        centre = page.evaluate(f"{at}(document.querySelector('circle.right_stick'), 'cx')")[0] - HEIGHT / 12 * 2.6
        assert page.evaluate(f"{at}(document.querySelector('circle.left_stick'), 'cx')")[0] == pytest.approx(
            centre - 0.5 * HEIGHT / 12
        )
        assert page.evaluate("document.querySelector('[data-wheel]').textContent") == "wheel ↑ 2"
        sample = page.evaluate(f"{READ}(document.querySelector('article'))")
        assert sample["held"] == ["GamepadSouth", "MouseLeft"]
        assert sample["lit"] == ["GamepadSouth", "MouseLeft", "left_stick.x", "triggers.y", "wheel.y"]
        assert page.evaluate("document.querySelector('.badge.right').hidden") is labelled
    assert page.problems == []


@needs_browser
def test_direct_commands_are_shown_with_name_and_unit(
    page: Page, tmp_path: Path, barcodes: Barcodes, make_corpus: MakeCorpus
) -> None:
    pan = Actuator("pan", "rad", 0.0, -1.0, 1.0, 9.0, None, levels=9)
    actuators = (pan, replace(pan, name="tilt", unit="deg"))
    body = Embodiment("mast", 20.0, 20.0, 200.0, Camera(HEIGHT, WIDTH, 20.0), actuators)
    info = barcodes.info(bindings=Bindings(), extra=embodied(body))
    with RecordingWriter(tmp_path / "recordings", "one", info) as writer:
        for number in range(12):
            state = InputState(commands=(number / 16, -0.25))
            writer.append(barcodes.frame(number), state, t_ns=number * TICK_NS)
    corpus = make_corpus(tmp_path / "recordings", tmp_path / "corpus")
    page.open(write(tmp_path / "sheet.html", sheet_of(corpus)))
    page.wait("document.querySelector('video').readyState >= 2")
    page.evaluate("document.querySelector('article').tile.setWanted(false)")
    for tick, panned, lit in ((0, "0.00", ["command.tilt"]), (8, "0.50", ["command.pan", "command.tilt"])):
        page.evaluate(f"document.querySelector('article').tile.goTo({tick})")
        texts = page.evaluate("[...document.querySelectorAll('[data-command]')].map((cap) => cap.textContent)")
        assert texts == [f"pan {panned}rad", "tilt -0.25deg"]
        assert page.evaluate(f"{READ}(document.querySelector('article'))")["lit"] == lit
    assert page.problems == []


def first_state(page: Page) -> InputState:
    """The label of the first tick of the first tile."""
    return InputState.from_dict(page.evaluate("document.querySelector('article').tile.states[0]"))


def check_overlay(sample: dict[str, Any], barcodes: Barcodes, *, number: int) -> None:
    """The overlay says what was recorded with picture `number`."""
    state = barcodes.state(number)
    assert sample["held"] == sorted(state.held)
    moved = [axis for axis, count in zip(("motion.x", "motion.y"), state.motion, strict=True) if count]
    assert sample["lit"] == sorted([*state.held, *moved])
    shown = "mouse {}, {}".format(*(f"+{count}" if count else "0" for count in state.motion))
    assert sample["badge"] == (shown if moved else "mouse still")


# ---- the command ---------------------------------------------------------------------------------------------------


def gi(*arguments: object) -> Result:
    app = typer.Typer()
    cli_card.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_writes_one_page_and_says_how_large_it_is(corpus_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.html"
    facts = json.loads(gi("contact-sheet", corpus_path, "--out", out, "--clips", 5, "--game", "maze", "--json").stdout)
    assert facts == {"page": str(out), "mb": round(out.stat().st_size / 1e6, 2), "clips": 5, "did_not_fit": 0}
    assert out.read_text().count('class="tile"') == 5
    assert "clips 5" in gi("contact-sheet", corpus_path, "--out", out, "--clips", 5).stdout
