"""A real headless Chromium, driven over its DevTools protocol: pages as people see them, errors included."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"),
    *("--no-first-run", "--disable-extensions", "--disable-background-networking", "--remote-debugging-port=0"),
)
_TIMEOUT_S = 30.0


class Page:
    """One tab. problems: errors on its console, uncaught exceptions, refused or failed loads, and dialogs."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self._events: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call the protocol and wait for the answer."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=_TIMEOUT_S))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def open(self, path: Path) -> None:
        """Load a file and wait until it has run."""
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def visit(self, url: str, ready: str = "true") -> None:
        """Go to an address and wait until `ready` is true there."""
        self.send("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({json.dumps(url.partition('?')[0])}) && Boolean({ready})")

    def evaluate(self, expression: str) -> Any:
        """Value of an expression, promises awaited; an exception on the page is one here."""
        result = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str, timeout_s: float = _TIMEOUT_S) -> None:
        """Until `condition` is true on the page."""
        end = time.monotonic() + timeout_s
        while not self.evaluate(condition):
            assert time.monotonic() < end, f"not within {timeout_s} s: {condition}"
            time.sleep(0.03)

    def press(self, key: str, *, text: str = "") -> None:
        """Press and release a key as a keyboard does."""
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def screenshot(self, path: Path, *, width: int, height: int, dark: bool = False) -> None:
        """Save what a person sees as PNG."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        time.sleep(0.7)
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.problems.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.problems.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.problems.append(str(params["entry"]))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Page.javascriptDialogOpening":
                self.problems.append(f"dialog: {params['message']}")


@contextmanager
def browse(profile: Path) -> Iterator[Page]:
    """A browser with a profile of its own in the empty folder `profile`; ends with the context."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(_find_tab(profile), max_size=None) as socket:
            page = Page(socket)
            yield page
            page._socket.send(json.dumps({"id": 0, "method": "Browser.close"}))
            process.wait(timeout=_TIMEOUT_S)
    finally:
        process.kill()
        process.wait()


def _find_tab(profile: Path) -> str:
    """Address of the first tab's DevTools socket; Chromium writes its port when it is ready."""
    import httpx

    end = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < end:
        try:
            port = int((profile / "DevToolsActivePort").read_text().splitlines()[0])
            tabs = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
            return next(str(tab["webSocketDebuggerUrl"]) for tab in tabs if tab["type"] == "page")
        except (OSError, IndexError, ValueError, StopIteration, httpx.TransportError):
            time.sleep(0.05)
    raise AssertionError("Chromium did not start")
