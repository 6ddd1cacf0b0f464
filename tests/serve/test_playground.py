"""The playground in a real browser: what it shows is what was played, to who may see it, or words why not."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from gi_data.video_writer import VideoWriter
from gi_serve.client import Client, Session, SessionConfig
from tests.data.browser import CHROMIUM, Page, browse
from tests.model.adapter_factory import make_config
from tests.model.factories import make_policy
from tests.serve.fake_steppers import EchoStepper
from tests.serve.keyed import serving_with_keys
from tests.serve.pictures import paint
from tests.serve.serving import Running, serving, serving_elsewhere, wait_until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
READY = "window.playground && playground.isReady"
EXAMPLES = Path(__file__).parents[2] / "serve/gi_serve/web/examples"
MIDDLE = """(() => {  // of the picture, RGB
  const picture = document.getElementById('picture'), copy = document.createElement('canvas');
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(picture, -picture.width / 2, -picture.height / 2);
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
})()"""
IDENTITIES = [33 * k for k in range(2, 26)]  # red and green rise together


class SlowStepper(EchoStepper):
    """Answers late."""

    name = "slow"

    def __init__(self) -> None:
        super().__init__(seconds=0.12)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(EchoStepper(), SlowStepper()) as server:
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


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose frame k has the colour of IDENTITIES[k]."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    writer = VideoWriter(path, fps=20, height=64, width=96)
    for identity in IDENTITIES:
        writer.append(np.broadcast_to(paint(identity)[0, 0], (64, 96, 3)).copy())
    writer.close()
    return path


def text(page: Page, element_id: str) -> str:
    return str(page.evaluate(f"document.getElementById({element_id!r}).textContent"))


def player_of(running: Running, model: str = "echo", key: str = "") -> Session:
    return Client(running.url, key=key or None).session(SessionConfig(model=model), seed=1)


def watch_first(page: Page) -> None:
    page.wait("document.querySelectorAll('#sessions button').length === 1")
    page.evaluate("document.querySelector('#sessions button').click()")
    page.wait("document.getElementById('watching').textContent.startsWith('Watching')")


def shows(page: Page, identity: int) -> bool:
    """Whether the picture has the colour of `identity`."""
    found = page.evaluate(MIDDLE)
    return bool(np.abs(np.subtract(found, paint(identity)[0, 0].astype(int))).max() <= 6)


def choose(page: Page, element_id: str, value: object) -> None:
    """One option of a list."""
    act = f"(list => {{ list.value = {json.dumps(value)}; list.dispatchEvent(new Event('change')); }})"
    page.evaluate(f"{act}(document.getElementById({element_id!r}))")


def choose_file(page: Page, path: Path) -> None:
    """As a person does in the dialog."""
    root = page.send("DOM.getDocument")["root"]["nodeId"]
    node = page.send("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])


# ---- live -----------------------------------------------------------------------------------------------------------


def test_it_shows_the_frame_the_keys_the_mouse_and_the_ages(page: Page, running: Running) -> None:
    with player_of(running) as player:
        page.visit(f"{running.url}/", READY)
        watch_first(page)
        for identity in (7, 300, 900):
            player.act(paint(identity))
            wait_until(lambda identity=identity: shows(page, identity))  # type: ignore[misc]
        page.wait("playground.viewer.totals.answers === 3")
        page.wait("document.getElementById('held').textContent === 'W'")
        assert text(page, "mouse") == f"{900 % 33 - 16}, {900 // 33 - 16} counts"
        assert text(page, "factors").count("50 %") == 4
        assert "3 answers" in text(page, "badge")
    page.wait("document.getElementById('watching').textContent === 'The session ended.'")
    assert page.problems == []
    assert [each for each in page.requests if not each.startswith((running.url, "data:", "blob:"))] == []


def test_late_answers_and_dropped_frames_are_counted(page: Page, running: Running) -> None:
    with player_of(running, "slow") as player:
        page.visit(f"{running.url}/", READY)
        watch_first(page)
        for identity in range(8):
            player.send(paint(identity))
        player.act(paint(8))
        page.wait("playground.viewer.totals.late > 0 && playground.viewer.totals.dropped > 0")
        page.wait("/[1-9]\\d* late · [1-9]\\d* dropped/.test(document.getElementById('badge').textContent)")


def test_a_hidden_tab_asks_for_nothing(page: Page, running: Running) -> None:
    with player_of(running) as player:
        page.visit(f"{running.url}/", READY)
        watch_first(page)
        (session,) = running.service.engines["echo"].sessions.values()
        other = page.send("Target.createTarget", url="about:blank")["targetId"]
        wait_until(lambda: session.watch is None)
        page.send("Target.closeTarget", targetId=other)
        wait_until(lambda: session.watch is not None)
        player.act(paint(9))
        wait_until(lambda: shows(page, 9))


# ---- a video --------------------------------------------------------------------------------------------------------


def test_each_frame_of_a_video_meets_its_own_answer(page: Page, running: Running, film: Path) -> None:
    page.visit(f"{running.url}/", READY)
    page.evaluate("document.getElementById('tab-video').click()")
    choose_file(page, film)
    page.wait("document.getElementById('video-state').textContent.startsWith('Done')")
    actions = page.evaluate("playground.video.actions")
    assert [each["tick"] for each in actions] == list(range(len(IDENTITIES)))
    for each, identity in zip(actions, IDENTITIES, strict=True):
        seen = each["motion"][0] + 16 + 33 * (each["motion"][1] + 16)
        assert abs(seen // 32 - identity // 32) <= 1, (each, identity)
        assert abs(seen % 32 - identity % 32) <= 1, (each, identity)
    assert [min(each["wheel"][0], 9) for each in actions] == [
        *range(9),
        *[9] * (len(actions) - 9),
    ]  # one session, no drop
    assert not page.evaluate("document.getElementById('save').disabled")
    assert page.problems == []
    wait_until(lambda: not running.service.engines["echo"].sessions)


def test_another_model_begins_anew(page: Page, running: Running, film: Path) -> None:
    page.visit(f"{running.url}/", READY)
    choose_file(page, film)
    page.wait("playground.video.actions.length > 3")
    choose(page, "model", "slow")
    page.wait("document.getElementById('viewer-title').textContent === 'film.mp4, slow'")
    page.wait("playground.video.actions.length > 1")
    assert page.evaluate("playground.video.actions[0].wheel[0]") == 0  # it remembers nothing
    page.evaluate("playground.video.stop(), 1")


def test_adapter_and_temperature_are_those_that_were_chosen(page: Page, film: Path) -> None:
    stepper = EchoStepper()
    stepper.adapters["jumper"] = make_config(make_policy(), name="jumper")
    with serving(stepper) as running:
        page.visit(f"{running.url}/", READY)
        page.evaluate("document.getElementById('tab-video').click()")
        assert page.evaluate("[...document.getElementById('adapter').options].map((o) => o.value)") == ["", "jumper"]
        choose(page, "adapter", "jumper")
        choose(page, "temperature", "0.5")
        choose_file(page, film)
        page.wait("playground.video.actions.length > 0")
        (session,) = running.engine.sessions.values()
        assert (session.options.adapter, session.options.sampling.temperature) == ("jumper", 0.5)
        page.evaluate("playground.video.stop(), 1")


@pytest.mark.parametrize(("name", "content"), [("noise.mp4", b"no video at all" * 99), ("empty.webm", b"")])
def test_a_video_that_cannot_be_decoded_is_named(
    page: Page, running: Running, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    page.visit(f"{running.url}/", READY)
    choose_file(page, tmp_path / name)
    page.wait("document.getElementById('video-state').textContent.includes('cannot decode it')")
    assert text(page, "video-state").startswith(name)


# ---- who may look ---------------------------------------------------------------------------------------------------


def test_it_asks_for_a_key_and_keeps_it_nowhere(page: Page, tmp_path: Path) -> None:
    with (
        serving_with_keys(tmp_path, EchoStepper()) as keyed,
        player_of(keyed.running, key=keyed.keys["alice"]),
        keyed.http("bob") as bob,
    ):
        page.visit(f"{keyed.running.url}/", READY)
        assert page.evaluate("[document.getElementById('unlock').hidden, document.getElementById('main').hidden]") == [
            False,
            True,
        ]
        unlock(page, "wrong")
        page.wait("document.getElementById('problem').textContent.includes('unknown')")
        unlock(page, bob.post("/v1/tokens").json()["token"])  # a client token will do
        page.wait("document.getElementById('live-hint').textContent.startsWith('Nobody plays')")  # alice's is not his
        page.visit(f"{keyed.running.url}/playground/?again", READY)
        unlock(page, keyed.keys["alice"])
        watch_first(page)
        stored = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
        assert keyed.keys["alice"] not in stored
        assert page.evaluate("document.getElementById('key').value") == ""
        assert not any(keyed.keys["alice"] in each for each in page.requests)


def unlock(page: Page, key: str) -> None:
    page.wait("!document.getElementById('unlock').hidden")
    page.evaluate(f"document.getElementById('key').value = {key!r}")
    page.evaluate("document.querySelector('#unlock button').click()")


# ---- servers that go and come --------------------------------------------------------------------------------------


@contextmanager
def echo_on(port: int) -> Iterator[None]:
    """A second server in the place of the first."""
    code = (
        "import sys; from gi_serve.server import Server, bind; from gi_serve.service import Service;"
        "from tests.serve.fake_steppers import EchoStepper;"
        f"Server(Service([EchoStepper()])).serve_on(bind('127.0.0.1', {port}), lambda: print('ready', flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_server_that_goes_is_missed_and_found_again(page: Page, film: Path) -> None:
    """Slow: two servers in processes of their own."""
    with serving_elsewhere() as (process, url):
        page.visit(f"{url}/", READY)
        choose_file(page, film)
        page.wait("playground.video.actions.length > 2")
        page.evaluate("document.getElementById('pause').click()")
        process.kill()
        process.wait()
        page.evaluate("document.getElementById('tab-live').click()")
        page.wait("document.getElementById('problem').textContent.includes('cannot be reached')")
        page.wait("document.getElementById('server').textContent.includes('trying again')")
        with echo_on(int(url.rpartition(":")[2])):
            page.wait("document.getElementById('problem').hidden")
            page.wait("document.getElementById('server').textContent.startsWith('1 model')")


@pytest.mark.slow
def test_a_server_that_is_lost_in_the_middle_of_a_video_is_named(page: Page, film: Path) -> None:
    """Slow: a server in a process of its own."""
    with serving_elsewhere() as (process, url):
        page.visit(f"{url}/", READY)
        choose_file(page, film)
        page.wait("playground.video.actions.length > 2")
        process.kill()
        page.wait("document.getElementById('video-state').textContent.includes('every key is up')")


# ---- snippets, and everybody ---------------------------------------------------------------------------------------


def test_snippets_are_the_files_that_are_tested_with_this_servers_address(page: Page, running: Running) -> None:
    page.visit(f"{running.url}/", READY)
    page.evaluate("document.getElementById('tab-code').click()")
    page.wait("document.querySelectorAll('#language option').length > 3")
    for index, example in enumerate(json.loads((EXAMPLES / "index.json").read_text())):
        choose(page, "language", index)
        page.wait(f"document.getElementById('needs').textContent.startsWith({example['file']!r})")
        wanted = (EXAMPLES / example["file"]).read_text()
        assert wanted.count("http://127.0.0.1:8000") == 1, example
        assert text(page, "snippet") == wanted.replace("http://127.0.0.1:8000", running.url)


def test_every_example_is_offered() -> None:
    offered = {example["file"] for example in json.loads((EXAMPLES / "index.json").read_text())}
    there = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"index.json", "web.html"}
    assert offered == there


@pytest.mark.parametrize("width", [320, 480, 900, 1400])
def test_nothing_overflows_and_everything_has_a_name(page: Page, running: Running, width: int) -> None:
    page.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    page.visit(f"{running.url}/", READY)
    for tab in ("live", "video", "code"):
        page.evaluate(f"document.getElementById('tab-{tab}').click()")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
        nameless = """[...document.querySelectorAll('input, select, button, canvas, meter, progress')].filter((each) =>
          !each.closest('[hidden]') && !(each.labels?.length || each.ariaLabel || each.textContent.trim())).length"""
        assert page.evaluate(nameless) == 0, tab
    page.send("Emulation.clearDeviceMetricsOverride")


def test_tabs_obey_the_arrow_keys(page: Page, running: Running) -> None:
    page.visit(f"{running.url}/", READY)
    page.evaluate("document.getElementById('tab-live').focus()")
    for wanted in ("video", "code", "live"):
        page.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == f"tab-{wanted}"
        assert page.evaluate(f"document.getElementById('panel-{wanted}').hidden") is False
