"""Logs: one event a line, readable by machines, and not one secret in the log of a busy server."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from gi_serve.keys import make_key, write_keys
from gi_serve.logs import JsonFormatter, TextFormatter, redact, tag_of, tagged_path
from tests.serve.pictures import paint, png_of

KEY, SECRET = make_key("alice", ["play", "metrics", "admin"])
TOKEN = "git-eyJrZXkiOiIwYTBhMGEwYSJ9." + "A" * 43


def record(message: str, error: BaseException | None = None, **fields: Any) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("gi_serve", logging.WARNING, __file__, 1, message, (), info)
    vars(made).update(fields)
    return made


def test_an_event_is_a_line_of_json_with_its_fields() -> None:
    line = JsonFormatter().format(record('it "said"\nso', session="ab", ms=1.5))
    event = json.loads(line)
    assert "\n" not in line
    assert (event["level"], event["logger"], event["message"]) == ("warning", "gi_serve", 'it "said"\nso')
    assert (event["session"], event["ms"]) == ("ab", 1.5)
    assert event["time"].endswith("Z")
    assert TextFormatter("%(levelname)s %(message)s").format(record("so", ms=2)) == "WARNING so ms=2"


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter("%(message)s")])
def test_no_secret_passes_a_formatter(formatter: logging.Formatter) -> None:
    try:
        raise ValueError(f"wrong key {SECRET}")
    except ValueError as error:
        line = formatter.format(record(f"Authorization: Bearer {SECRET} {TOKEN}", error, key=SECRET))
    assert SECRET.split("-", 2)[2] not in line
    assert TOKEN not in line
    assert "A" * 20 not in line
    assert KEY.id in line  # whose it was may be known
    assert "ValueError" in line


def test_a_session_is_named_by_a_tag() -> None:
    assert tagged_path("/v1/sessions/secret/frames") == f"/v1/sessions/{tag_of('secret')}/frames"
    assert tagged_path("/v1/models/m") == "/v1/models/m"
    assert redact("nothing here") == "nothing here"


def test_the_log_of_a_busy_server_holds_no_secret(tmp_path: Path) -> None:
    """A real process that logs all it can, while it serves good and bad requests."""
    write_keys(tmp_path / "keys.json", [KEY])
    command = [sys.executable, "-m", "tests.serve.logging_server", str(tmp_path / "keys.json")]
    secrets = [SECRET.split("-", 2)[2]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        headers = {"Authorization": f"Bearer {SECRET}"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
            where = http.post("/v1/sessions").headers["Location"]
            token = http.post("/v1/tokens").json()["token"]
            secrets += [where.rsplit("/", 1)[1], token.split(".")[0].removeprefix("git-"), token.split(".")[1]]
            for body in (png_of(paint(13)), png_of(paint(1)), b"no image"):
                http.post(f"{where}/frames", content=body, headers={"Content-Type": "image/png"})
            http.get(where)
            http.get(f"/v1/models?key={SECRET}")
            http.get("/v1/models", headers={"Authorization": f"Bearer {SECRET}x"})
            http.get(f"/v1/sessions/{SECRET}")
        with connect(
            url.replace("http", "ws") + "/v1/realtime", additional_headers=headers, compression=None, proxy=None
        ) as connection:
            connection.send('{"type": "session.update"}')
            created = json.loads(connection.recv(timeout=5))
            secrets.append(created["session"]["id"])
            connection.send("{")
            connection.recv(timeout=5)
        process.terminate()
        _out, log = process.communicate(timeout=20)
    events = [json.loads(line) for line in log.splitlines()]
    messages = {event["message"] for event in events}
    assert {"request", "session opened", "session closed"} <= messages
    assert any("the model failed" in message for message in messages)
    assert {event.get("key") for event in events if event["message"] == "session opened"} == {"alice"}
    assert not any(event.get("path", "").endswith("/frames") for event in events)
    for secret in secrets:
        assert len(secret) > 10
        assert secret not in log
