"""`gi serve` as an operator runs it: refusals before a model is loaded, and one real process with everything on."""

import json
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gi_model.checkpoint import save_policy
from gi_model.cli import build_app
from gi_model.errors import ConfigError
from gi_serve.cli_serve import make_access
from gi_serve.client import Client, SessionConfig
from gi_serve.limits import Limits
from tests.model.factories import make_policy, random_frames
from tests.serve.test_rest import check_problem
from tests.serve.test_tls import make_certificate

GI = [sys.executable, "-c", "from gi_model.cli import main; main()"]
FRAME = random_frames(1).permute(0, 2, 3, 1).numpy()[0]


def run(*words: object) -> Any:
    return CliRunner().invoke(build_app(), [str(word) for word in words])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.com", ""])
def test_a_server_without_keys_stays_on_this_machine(host: str) -> None:
    with pytest.raises(ConfigError, match="this machine only") as refused:
        make_access(host, None, None, limits=Limits())
    assert "gi keys new" in refused.value.do
    assert make_access(host, None, None, limits=Limits(), insecure=True).is_open


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_nobody_is_asked(host: str) -> None:
    assert make_access(host, None, None, limits=Limits()).is_open


@pytest.mark.parametrize(
    ("flags", "about"),
    [
        ((), "no model"),
        (("=x",), "not a model"),
        (("a", "--host", "0.0.0.0"), "this machine only"),
        (("a", "--keys", "/nowhere/keys.json"), "keys"),
        (("a", "--token-secret", "/nowhere/secret"), "token secret"),
        (("a", "--tls-cert", "/nowhere/cert.pem"), "two files"),
        (("a", "--tls-cert", "/nowhere/cert.pem", "--tls-key", "/nowhere/key.pem"), "certificate"),
        (("a", "--max-frames-per-second", "0"), "frames_per_s"),
    ],
)
def test_flags_that_cannot_work_are_refused_at_once(flags: tuple[str, ...], about: str) -> None:
    result = run("serve", *flags, "--port", "0")
    assert isinstance(result.exception, ConfigError), result.output
    assert about in str(result.exception)


@pytest.mark.slow
def test_everything_on(tmp_path: Path) -> None:
    """Slow: a whole process of its own that imports torch, and three models.

    Two models over TLS with keys, logs in JSON; one more is loaded, one unloaded; SIGTERM, code 0.
    """
    for name in ("first", "second", "third"):
        save_policy(make_policy(), tmp_path / "models" / name)
    authority, tls = make_certificate(tmp_path)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    keys = ["--file", tmp_path / "keys.json"]
    root = run("keys", "new", "root", "--scope", "play", "--scope", "admin", "--scope", "metrics", *keys).stdout.strip()
    (tmp_path / "secret").write_text("s" * 40)
    folder = tmp_path / "models"
    command = [*GI, "serve", str(folder / "first"), f"other={folder / 'second'}", "--port", "0", "--max-sessions", "2"]
    command += ["--keys", str(tmp_path / "keys.json"), "--token-secret", str(tmp_path / "secret"), "--otel"]
    command += ["--tls-cert", str(tls.cert), "--tls-key", str(tls.key), "--models-dir", str(folder), "--access-log"]
    command += ["--log-format", "json", "--log-level", "info", "--drain-seconds", "5", "--otel-share", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        facts = json.loads(line)
        assert [each["model"] for each in facts["models"]] == ["first", "other"]
        trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        headers = {"Authorization": f"Bearer {root}"}
        with httpx.Client(base_url=facts["url"], verify=trust, trust_env=False, timeout=30) as http:
            check_problem(http.get("/v1/models"), 401, "unauthorized")
            http.headers.update(headers)
            assert http.post("/v1/models", json={"name": "third", "path": "third"}).status_code == 201
            assert http.delete("/v1/models/first").status_code == 202
            play(facts["url"], root, tmp_path / "ca.pem")
            assert 'gi_serve_answers_total{model="third"} 1.0' in http.get("/metrics").text
            names = {model["name"] for model in http.get("/v1/models").json()}
            assert {"other", "third"} <= names
        process.send_signal(signal.SIGTERM)
        _out, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    messages = [json.loads(line)["message"] for line in log.splitlines()]
    assert "session opened" in messages
    assert "request" in messages
    assert any(message.startswith("draining") for message in messages)
    assert root.split("-", 2)[2] not in log


def play(url: str, key: str, authority: Path) -> None:
    """The Python client over TLS, which trusts what `SSL_CERT_FILE` names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority))
        with Client(url, key=key).session(SessionConfig(model="third")) as session:
            session.act(FRAME)


def test_random_bytes_are_a_token_secret_as_they_are(tmp_path: Path) -> None:
    """32 of them may well end with a newline, and are 32 all the same."""
    secret = tmp_path / "secret"
    secret.write_bytes(b" " + bytes(range(1, 31)) + b"\n")
    make_access("127.0.0.1", None, secret, limits=Limits())
    secret.write_bytes(b"too short")
    with pytest.raises(ConfigError, match="token secret is too short"):
        make_access("127.0.0.1", None, secret, limits=Limits())
