"""Drone Arena in a real browser: real events, a server that plays it, a person whose play becomes a recording."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gi_data.inputs_table import Labels
from gi_data.metadata import ClipMetadata
from gi_serve.play_uploads import UploadLimits
from gi_serve.service import ServiceConfig
from tests.data.browser import CHROMIUM, Page, browse
from tests.serve.aiming_stepper import AimingStepper
from tests.serve.keyed import serving_with_keys
from tests.serve.serving import Running, serving, serving_elsewhere, wait_until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
READY = "window.game && game.isReady"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("played")


@pytest.fixture(scope="module")
def running(played: Path) -> Iterator[Running]:
    with serving(AimingStepper(), config=ServiceConfig(play_dir=played)) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browse(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(browser: Page) -> Page:
    browser.problems.clear()
    browser.requests.clear()
    return browser


def click(page: Page, selector: str) -> None:
    """As a mouse does."""
    page.evaluate(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
    middle = "(b => [b.x + b.width / 2, b.y + b.height / 2])"
    x, y = page.evaluate(f"{middle}(document.querySelector({selector!r}).getBoundingClientRect())")
    for kind in ("mousePressed", "mouseReleased"):
        page.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def key(page: Page, kind: str, code: str) -> None:
    number = 27 if code == "Escape" else ord(code[-1])
    page.send("Input.dispatchKeyEvent", type=kind, code=code, key=code[-1].lower(), windowsVirtualKeyCode=number)


def text(page: Page, element_id: str) -> str:
    return str(page.evaluate(f"document.getElementById({element_id!r}).textContent"))


def play(page: Page, running: Running, who: str, *, seconds: int = 6, more: str = "fast") -> dict[str, Any]:
    """The result of one game that a program plays."""
    page.visit(f"{running.url}/game/?player={who}&seconds={seconds}&seed=3&{more}", READY)
    page.wait("game.results.length === 1")
    result: dict[str, Any] = page.evaluate("game.results[0]")
    return result


# ---- the game -------------------------------------------------------------------------------------------------------


def test_the_same_seed_and_inputs_are_the_same_game(page: Page, running: Running) -> None:
    one, two = (play(page, running, "demonstrator", seconds=4) for _ in range(2))
    assert one == two
    assert play(page, running, "random", seconds=4)["digest"] != one["digest"]


def test_a_demonstrator_beats_a_random_player_beats_an_idle_one(page: Page, running: Running) -> None:
    scores = [play(page, running, who, seconds=12)["score"] for who in ("demonstrator", "random", "idle")]
    assert scores[0] > 2 * scores[1] > scores[2] == 0, scores


def test_the_page_loads_nothing_from_elsewhere_and_says_no_error(page: Page, running: Running) -> None:
    page.visit(f"{running.url}/game/", READY)
    assert [each for each in page.requests if not each.startswith((running.url, "data:"))] == []
    assert page.problems == []


def test_the_server_plays_by_the_pixels_alone(page: Page, running: Running) -> None:
    """Its actions come as events of keyboard and mouse; the score is the page's."""
    result = play(page, running, "server", seconds=7, more="")
    assert result["score"] >= 2
    assert result["player"] == "server"
    assert running.engine.metrics.answers > 60
    assert page.problems == []


def test_a_person_plays_with_keyboard_and_mouse_and_escape_lets_go(page: Page, running: Running) -> None:
    page.visit(f"{running.url}/game/?seed=3", READY)
    click(page, "#buttons button")
    page.wait("game.state === 'playing' && document.pointerLockElement?.id === 'screen'")
    key(page, "rawKeyDown", "KeyW")
    key(page, "rawKeyDown", "KeyP")  # the game does not know it
    page.send("Input.dispatchMouseEvent", type="mousePressed", x=300, y=300, button="left", clickCount=1)
    page.wait("game.held.join() === 'KeyW,MouseLeft' && game.shots > 0")
    page.evaluate("document.exitPointerLock()")  # what Escape does
    page.wait("game.state === 'paused'")
    assert page.evaluate("game.held") == []
    assert "every key is up" in text(page, "words")
    step = page.evaluate("game.step")
    key(page, "rawKeyDown", "KeyD")
    assert page.evaluate("[game.step, game.held]") == [step, []]


def test_a_hidden_tab_pauses_and_lets_go(page: Page, running: Running) -> None:
    page.visit(f"{running.url}/game/?seed=3&player=demonstrator", READY)
    page.wait("game.held.length > 0")
    other = page.send("Target.createTarget", url="about:blank")["targetId"]
    page.wait("document.hidden && game.state === 'paused'")
    assert page.evaluate("game.held") == []
    assert "hidden" in text(page, "words")
    page.send("Target.closeTarget", targetId=other)
    page.wait("!document.hidden")
    click(page, "#buttons button")
    page.wait("game.state === 'playing'")


def test_a_lost_picture_pauses_and_lets_go(page: Page, running: Running) -> None:
    page.visit(f"{running.url}/game/?seed=3&player=demonstrator", READY)
    page.wait("game.held.length > 0")
    page.evaluate("document.getElementById('screen').dispatchEvent(new Event('contextlost'))")
    assert page.evaluate("[game.state, game.held]") == ["paused", []]
    assert "picture was lost" in text(page, "words")


def test_a_browser_that_keeps_the_mouse_says_so_and_the_game_waits(page: Page, running: Running) -> None:
    page.visit(f"{running.url}/game/?seed=3", READY)
    refuse = "HTMLCanvasElement.prototype.requestPointerLock = () => Promise.reject(new Error('SecurityError')), 1"
    page.evaluate(refuse)
    click(page, "#buttons button")
    page.wait("!document.getElementById('problem').hidden")
    assert "wait a second" in text(page, "problem")
    assert page.evaluate("[game.state, game.step]") == ["menu", 0]


# ---- recordings -----------------------------------------------------------------------------------------------------

# Play the labels of a recording again, in the page, without a screen.
REPLAY = """(async (ticks) => {
  const { World } = await import('/game/world.js'), world = new World(3, 8);
  for (const { keys = [], buttons = [], motion = [0, 0] } of ticks)
    for (let step = 0; step < 3; step++)
      world.advance({ forward: keys.includes('KeyW'), back: keys.includes('KeyS'), left: keys.includes('KeyA'),
        right: keys.includes('KeyD'), fire: buttons.includes('MouseLeft'), turn: step ? 0 : motion[0] });
  return [world.score, world.shots, world.digest()];
})"""


def labels_of(folder: Path, recording_id: str) -> list[dict[str, Any]]:
    paths = sorted(folder.glob(f"{recording_id}-*.inputs.jsonl"))
    return [state.to_dict() for path in paths for state in Labels.from_lines(path.read_bytes(), path.stem).inputs]


def test_a_recording_played_again_is_the_same_game(page: Page, running: Running, played: Path) -> None:
    """Not one input is missing, doubled, or in another tick: else the drones would be elsewhere."""
    result = play(page, running, "demonstrator", seconds=8, more="fast&record")
    report = result["recording"]
    assert (report["ticks"], report["lost_s"]) == (160, 0)
    again = page.evaluate(f"{REPLAY}({json.dumps(labels_of(played, report['recording_id']))})")
    assert again == [result["score"], result["shots"], result["digest"]]


def test_a_person_is_recorded_only_after_agreeing_and_a_closed_tab_loses_nothing(
    page: Page, running: Running, played: Path
) -> None:
    before = set(played.glob("*-0000.json"))
    page.visit(f"{running.url}/game/?seed=3", READY)
    click(page, "#buttons button")
    page.wait("game.step > 5")
    assert "/chunks/" not in "".join(page.requests)  # the box is not ticked
    page.visit(f"{running.url}/game/?seed=4", READY)
    page.evaluate("document.getElementById('player').value = 'kim'")
    click(page, "#agree")
    click(page, "#buttons button")
    page.wait("game.step > 5")
    key(page, "rawKeyDown", "KeyW")
    key(page, "rawKeyDown", "KeyP")
    page.wait("game.step > 150")
    steps = page.evaluate("game.step")
    page.send("Page.navigate", url="about:blank")  # the tab is left in the middle of it
    assert running.service.uploads is not None
    limits, running.service.uploads.limits = running.service.uploads.limits, UploadLimits(silence_s=0.5)
    wait_until(lambda: bool(set(played.glob("*-0000.json")) - before))
    running.service.uploads.limits = limits
    (path,) = set(played.glob("*-0000.json")) - before
    clip = ClipMetadata.from_json(path.read_bytes(), path.stem)
    assert (clip.info.extra["player"], clip.info.demonstrator) == ("kim", "human")
    assert "kim" in clip.info.consent
    assert clip.num_ticks >= steps / 3 - 12  # all but what the last pictures were encoded for
    held = [set(state.get("keys", [])) for state in labels_of(played, path.stem.rpartition("-")[0])]
    assert set().union(*held) == {"KeyW"}


def test_a_server_with_keys_records_for_whoever_has_one(page: Page, tmp_path: Path) -> None:
    config = ServiceConfig(play_dir=tmp_path / "played")
    with serving_with_keys(tmp_path, AimingStepper(), config=config) as keyed:
        page.visit(f"{keyed.running.url}/game/?record&fast&seconds=3", READY)
        page.evaluate("game.start({who: 'demonstrator'}), 1")
        page.wait("!document.getElementById('problem').hidden")
        assert "No valid key" in text(page, "problem")
        page.evaluate(f"document.getElementById('key').value = {keyed.keys['alice']!r}")
        page.evaluate("game.start({who: 'demonstrator'}), 1")
        page.wait("game.results.length === 1")
        assert page.evaluate("game.results[0].recording.ticks") == 60


# ---- servers that misbehave -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_that_dies_lets_go_of_every_key_and_the_page_says_so(page: Page) -> None:
    """Slow: a server in a process of its own."""
    with serving_elsewhere() as (process, url):
        page.visit(f"{url}/game/?player=server&seed=3", READY)
        page.wait("game.held.includes('KeyW')")  # what an echo holds
        process.kill()
        page.wait("game.state === 'paused'")
        assert page.evaluate("game.held") == []
        assert "every key is up" in text(page, "words")
        process.wait()
        page.evaluate("game.start({who: 'server'}), 1")  # while it is away
        page.wait("!document.getElementById('problem').hidden")
        assert "is it running?" in text(page, "problem")
        page.evaluate("game.start({who: 'demonstrator'}), 1")  # the game itself goes on without it
        page.wait("game.score > 0")


def test_a_server_of_another_version_is_named(page: Page, running: Running) -> None:
    page.visit(f"{running.url}/game/", READY)
    page.evaluate("window.WebSocket = class extends WebSocket { get protocol() { return 'gi.v9.bin'; } }, 1")
    page.evaluate("game.start({who: 'server'}), 1")
    page.wait("!document.getElementById('problem').hidden")
    assert "another version of the protocol" in text(page, "problem")
    assert page.evaluate("game.state") == "menu"


def test_a_lost_server_does_not_stop_a_recorded_game_and_what_it_has_is_kept(page: Page, tmp_path: Path) -> None:
    with serving(AimingStepper(), config=ServiceConfig(play_dir=tmp_path)) as server:
        page.visit(f"{server.url}/game/?player=demonstrator&record&seed=3&seconds=8", READY)
        page.wait("game.step > 120")
        server.stop()
        page.wait("document.getElementById('live').textContent.includes('kept here')")
        assert page.evaluate("game.state") == "playing"
    time.sleep(0.1)
    assert len(list(tmp_path.glob("*-0000.json"))) == 1


@pytest.mark.parametrize("width", [320, 700, 1280])
def test_nothing_overflows_and_everything_has_a_name(page: Page, running: Running, width: int) -> None:
    page.send("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    page.visit(f"{running.url}/game/", READY)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    nameless = """[...document.querySelectorAll('input, select, button, canvas')].filter((each) =>
      !each.closest('[hidden]') && !(each.labels?.length || each.ariaLabel || each.textContent.trim())).length"""
    assert page.evaluate(nameless) == 0
    page.send("Emulation.clearDeviceMetricsOverride")


def test_escape_takes_control_back_from_the_server(page: Page, running: Running) -> None:
    page.visit(f"{running.url}/game/?player=server&seed=3", READY)
    page.wait("game.state === 'playing' && game.step > 30")
    key(page, "rawKeyDown", "Escape")
    page.wait("game.state === 'menu'")
    assert page.evaluate("game.held") == []
    assert "took control back" in text(page, "problem")
    wait_until(lambda: not running.engine.sessions)
