"""The JavaScript client in a real browser: a canvas is seen, events arrive, whatever ends the play lifts every key."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gi_model.actions import KEYS
from tests.data.browser import CHROMIUM, Page, browse
from tests.serve.clients.programs import CLIENTS, HERE
from tests.serve.fake_steppers import EchoStepper
from tests.serve.serving import serving, serving_elsewhere, wait_until

pytestmark = [
    pytest.mark.slow,  # starts a browser
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]
ADDRESS = "http://127.0.0.1:8000"
SAYS = "document.getElementById('words').textContent"


class Handler(SimpleHTTPRequestHandler):
    """Files, without a word to the terminal."""

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with the client and a game, and its address."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(CLIENTS / "js", folder / "client")
    (folder / "examples").mkdir()
    shutil.copy(HERE / "game_page.html", folder / "examples" / "game.html")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}/examples/game.html"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browse(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page, site: tuple[Path, str]) -> Page:
    """The game's page, fresh."""
    browser.send("Page.navigate", url="about:blank")
    browser.wait("location.href === 'about:blank'")
    browser.visit(site[1], "window.canvas ?? typeof isDown === 'function'")
    browser.problems.clear()
    return browser


@contextmanager
def playing(page: Page, site: tuple[Path, str], url: str) -> Iterator[None]:
    """The example plays the page's game on the server `url`."""
    (site[0] / "examples" / "web.js").write_text((CLIENTS / "examples" / "web.js").read_text().replace(ADDRESS, url))
    page.evaluate(f"import('./web.js?{url[-5:]}').then(() => null)")
    page.wait("isDown('KeyW')")
    yield


def test_a_game_on_a_canvas_is_played(page: Page, site: tuple[Path, str]) -> None:
    with serving(EchoStepper()) as running, playing(page, site, running.url):
        page.wait("of('mousemove').length > 10")
        moves = page.evaluate("of('mousemove').map((event) => [event.x, event.y])")
        session = next(iter(running.engine.sessions.values()))
        assert session.num_frames >= len(moves)
        identities = [x + 16 + 33 * (y + 16) for x, y in moves]
        assert identities == sorted(identities)  # what the page drew is what the model saw, in order
        assert page.evaluate("of('keydown').length") == 1  # held, not pressed again and again
    assert page.problems == []


def test_the_server_is_killed_and_keys_come_up_with_words(page: Page, site: tuple[Path, str]) -> None:
    with serving_elsewhere() as (server, url), playing(page, site, url):
        server.kill()
        page.wait("!isDown('KeyW')")
        page.wait(f"{SAYS}.startsWith('down: ')")
        assert "every key is up" in page.evaluate(SAYS)


def test_the_server_ends_and_keys_come_up_with_words(page: Page, site: tuple[Path, str]) -> None:
    with serving(EchoStepper()) as running, playing(page, site, running.url):
        running.stop()
        page.wait("!isDown('KeyW')")
        page.wait(f"{SAYS}.includes('the server ended the session')")


def test_a_hidden_tab_pauses_with_keys_up_and_goes_on_when_it_is_seen(page: Page, site: tuple[Path, str]) -> None:
    with serving(EchoStepper()) as running, playing(page, site, running.url):
        page.evaluate(hide(True))
        page.wait("!isDown('KeyW')")
        assert page.evaluate(SAYS) == "paused: the tab is hidden: every key is up"
        page.wait("new Promise((resolve) => setTimeout(() => resolve(true), 200))")  # what was on its way has come
        assert not page.evaluate("isDown('KeyW')")
        page.evaluate(hide(False))
        page.wait("isDown('KeyW')")
        assert page.evaluate(SAYS) == "playing: the play goes on"


def hide(is_hidden: bool) -> str:
    value = "true" if is_hidden else "false"
    event = "document.dispatchEvent(new Event('visibilitychange'))"
    return f"Object.defineProperty(document, 'hidden', {{ configurable: true, get: () => {value} }}); {event}; null"


def test_a_lost_webgl_context_pauses_and_a_restored_one_plays_on(page: Page, site: tuple[Path, str]) -> None:
    with serving(EchoStepper()) as running, playing(page, site, running.url):
        page.evaluate("document.getElementById('game').dispatchEvent(new Event('webglcontextlost')); null")
        page.wait("!isDown('KeyW')")
        assert "lost its WebGL context" in page.evaluate(SAYS)
        page.evaluate("document.getElementById('game').dispatchEvent(new Event('webglcontextrestored')); null")
        page.wait("isDown('KeyW')")


def test_a_person_takes_control_back_with_a_key(page: Page, site: tuple[Path, str]) -> None:
    with serving(EchoStepper()) as running, playing(page, site, running.url):
        page.send("Input.dispatchKeyEvent", type="keyDown", key="Escape", code="Escape")
        page.wait("!isDown('KeyW')")
        page.wait(f"{SAYS} === 'closed: the person took control back'")
        wait_until(lambda: running.service.num_sessions == 0)


def test_leaving_the_page_ends_the_session(page: Page, site: tuple[Path, str]) -> None:
    with serving(EchoStepper()) as running, playing(page, site, running.url):
        page.send("Page.navigate", url="about:blank")
        page.wait("location.href === 'about:blank'")
        wait_until(lambda: running.service.num_sessions == 0)


def test_a_server_that_is_down_is_said_in_words(page: Page, site: tuple[Path, str]) -> None:
    (site[0] / "examples" / "web.js").write_text(
        (CLIENTS / "examples" / "web.js").read_text().replace(ADDRESS, "http://127.0.0.1:9")
    )
    page.evaluate("import('./web.js?down').then(() => null)")
    page.wait(f"{SAYS}.startsWith('closed: cannot reach the server')")
    assert page.evaluate("told.length") == 0


def held(page: Page, *states: str) -> list[dict[str, Any]]:
    """The events of holding each state in turn."""
    calls = "; ".join(f"inputs.hold({{ ...NEUTRAL, ...{state} }})" for state in states)
    code = f"""import('/client/gi-client.js').then(({{ Inputs, NEUTRAL }}) => {{
        const inputs = new Inputs(document.getElementById('game'));
        {calls}; return told; }})"""
    found: list[dict[str, Any]] = page.evaluate(code)
    return found


def test_keys_have_the_fields_that_games_read(page: Page) -> None:
    told = held(page, "{ keys: ['ShiftLeft', 'KeyW'] }", "{ keys: ['KeyW', 'ArrowUp', 'Digit1', 'Numpad5'] }", "{}")
    rows = [
        (each["type"], each["code"], each["key"], each["keyCode"], each["location"], each["shift"]) for each in told
    ]
    assert rows == [
        ("keydown", "ShiftLeft", "Shift", 16, 1, True),
        ("keydown", "KeyW", "W", 87, 0, True),
        ("keyup", "ShiftLeft", "Shift", 16, 1, False),
        ("keydown", "ArrowUp", "ArrowUp", 38, 0, False),
        ("keydown", "Digit1", "1", 49, 0, False),
        ("keydown", "Numpad5", "5", 101, 3, False),
        *(("keyup", code, key, number, at, False) for code, key, number, at in (
            ("KeyW", "w", 87, 0), ("ArrowUp", "ArrowUp", 38, 0), ("Digit1", "1", 49, 0), ("Numpad5", "5", 101, 3),
        )),
    ]  # fmt: skip


def test_every_key_has_a_code_a_key_and_a_key_code(page: Page) -> None:
    code = """import('/client/gi-client.js').then(async ({ KEYS }) => {
        const { keyOf } = await import('/client/gi-inputs.js');
        return KEYS.map((code) => [code, ...keyOf(code)]); })"""
    rows = page.evaluate(code)
    assert [row[0] for row in rows] == list(KEYS)
    assert all(isinstance(number, int) and 0 < number < 256 and key for _code, number, key in rows)


def test_buttons_motion_and_wheel_are_mouse_events(page: Page) -> None:
    told = held(
        page, "{ buttons: ['MouseLeft', 'MouseRight'], motion: [5, -3], wheel: [0, 2] }", "{ buttons: ['MouseRight'] }"
    )
    rows = [(each["type"], each["button"], each["buttons"]) for each in told]
    assert rows == [
        ("mousemove", 0, 3),
        ("mousedown", 0, 3),
        ("mousedown", 2, 3),
        ("wheel", 0, 3),
        ("mouseup", 0, 2),
        ("click", 0, 2),
    ]
    assert (told[0]["x"], told[0]["y"], told[3]["deltaY"]) == (5, -3, 200)


def test_a_gamepad_is_there_for_games_that_ask(page: Page) -> None:
    pad = "{ buttons: 1 | 1 << 12, axes: [0.5, -1, 0, 0], triggers: [0, 0.75] }"
    told = held(page, f"{{ gamepad: {pad} }}")
    assert [each["type"] for each in told] == ["gamepadconnected"]
    page.evaluate("pad = navigator.getGamepads()[0]; null")
    found = page.evaluate("({ axes: pad.axes, mapping: pad.mapping, values: pad.buttons.map((each) => each.value) })")
    assert found["mapping"] == "standard"
    assert found["axes"] == [0.5, -1, 0, 0]
    assert {bit: value for bit, value in enumerate(found["values"]) if value} == {0: 1, 7: 0.75, 12: 1}


def test_a_game_that_wants_the_pointer_lock_believes_it_has_it(page: Page) -> None:
    code = """import('/client/gi-client.js').then(({ Inputs }) => {
        new Inputs(document.getElementById('game'), { pretendLock: true });
        return document.pointerLockElement === document.getElementById('game') && of('pointerlockchange').length; })"""
    assert page.evaluate(code) == 1
