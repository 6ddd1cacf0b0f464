"""The pages as files: nothing loaded from elsewhere, headers that hold them to it, all of them in the wheel."""

import json
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from gi_data.ingest.page_chunk import MAX_CHUNK_BYTES
from gi_model.actions import Bindings
from gi_model.errors import ConfigError
from gi_serve.cli_record_browser import PAGES, record_from_browser
from gi_serve.pages import FOLDERS, HEADERS, web_folder
from gi_serve.service import ServiceConfig
from tests.data.page_chunks import pack
from tests.serve.fake_steppers import EchoStepper
from tests.serve.serving import Running, serving

ROOT = Path(__file__).parents[2]
OWN = [path for name in ("game", "playground", "shared") for path in sorted((web_folder() / name).iterdir())]
GI = [sys.executable, "-c", "from gi_model.cli import main; main()"]


def get(running: Running, path: str) -> httpx.Response:
    return httpx.get(running.url + path, trust_env=False, follow_redirects=True)


@pytest.mark.parametrize("path", OWN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_file_names_another_host_or_carries_code_in_html(path: Path) -> None:
    text = path.read_text()
    elsewhere = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`]*", text)) - {
        "http://www.w3.org/2000/svg",
        "http://127.0.0.1:8000",
    }
    assert not elsewhere
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|style=|javascript:", text)
    if path.suffix == ".js":
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|localStorage|sessionStorage", text
        )


def test_what_is_imported_and_linked_is_there() -> None:
    for path in OWN:
        found = re.findall(
            r"""(?:from|import\(|src=|href=)\s*["'](\.{1,2}/[^"']+|[\w-]+\.(?:js|css))["']""", path.read_text()
        )
        for name in found:
            assert (path.parent / name).exists(), f"{path.name} names {name}"


def test_every_page_has_its_headers() -> None:
    with serving(EchoStepper()) as running:
        for path in ("/", "/playground/", "/game/", "/game/world.js", "/client/gi-client.js", "/shared/theme.css"):
            answer = get(running, path)
            assert answer.status_code == 200, path
            for name, value in HEADERS.items():
                assert answer.headers[name] == value
        assert get(running, "/").url.path == "/playground/"
        assert "javascript" in get(running, "/game/world.js").headers["content-type"]
        again = {"If-None-Match": get(running, "/game/world.js").headers["etag"]}
        assert httpx.get(f"{running.url}/game/world.js", headers=again, trust_env=False).status_code == 304


@pytest.mark.parametrize(
    "path", ["/game/../pages.py", "/game/%2e%2e/pages.py", "/game/..%2f..%2fpages.py", "/web/", "/game/x.js"]
)
def test_only_pages_are_served(path: str) -> None:
    with serving(EchoStepper()) as running:
        answer = get(running, path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_server_without_pages_has_none() -> None:
    with serving(EchoStepper(), config=ServiceConfig(has_pages=False)) as running:
        assert {get(running, f"/{name}/").status_code for name in FOLDERS} == {404}


def test_the_games_bindings_are_bindings() -> None:
    bindings = Bindings.from_dict(json.loads((web_folder() / "game" / "bindings.json").read_text()))
    world = (web_folder() / "game" / "world.js").read_text()
    assert f"DEGREES_A_COUNT = {bindings.analogue['turn'].scale};" in world
    assert set(bindings.digital) == {"forward", "back", "left", "right", "fire"}


def test_a_page_packs_chunks_as_the_server_reads_them() -> None:
    recorder = (web_folder() / "shared" / "recorder.js").read_text()
    (most,) = re.findall(r"CHUNK_BYTES = (\d+) \* 1024;", recorder)
    assert int(most) * 1024 < 64 * 1024 < MAX_CHUNK_BYTES  # what a page may send while it closes
    assert pack([], [])[4:].startswith(b'{"from_us"')


# ---- the command, and the wheel ------------------------------------------------------------------------------------


def test_recording_in_a_browser_starts_says_where_and_sums_up(tmp_path: Path) -> None:
    command = [*GI, "record", "web/arena", "--browser", "--out", str(tmp_path / "played"), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            assert url.endswith(PAGES["web/arena"])
            assert "Drone Arena" in httpx.get(url, trust_env=False).text
            assert httpx.get(url.replace("/game/", "/v1/recordings"), trust_env=False).json()["is_on"] is True
            process.send_signal(signal.SIGINT)
            out, noise = process.communicate(timeout=20)
        finally:
            process.kill()
    facts = {"recordings": [], "seconds": 0, "failed": {}, "out": str(tmp_path / "played")}
    assert (json.loads(out), process.returncode, noise) == (facts, 0, "")


def test_a_game_without_a_page_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="web/arena"):
        record_from_browser("doom/basic", out=tmp_path, port=0, as_json=True)


def test_the_wheel_has_every_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"gi_serve/web/{path.relative_to(web_folder()).as_posix()}" for path in web_folder().rglob("*.*")}
    assert not {name for name in wanted - packed if "__pycache__" not in name}
