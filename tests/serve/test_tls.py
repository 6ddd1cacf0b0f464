"""TLS by two files, on a real socket, with a certificate made for the test."""

import json
import ssl
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from gi_model.errors import ConfigError
from gi_serve.cli_serve import make_tls
from gi_serve.protocol import encode_frame
from gi_serve.server import Tls
from tests.serve.fake_steppers import EchoStepper
from tests.serve.pictures import read_identity
from tests.serve.serving import serving
from tests.serve.streaming import ask, next_action, raw


def make_certificate(folder: Path, name: str = "tls") -> tuple[trustme.CA, Tls]:
    """An authority, and files of a certificate for this machine that it signed."""
    authority = trustme.CA()
    signed = authority.issue_cert("127.0.0.1", "localhost")
    tls = Tls(folder / f"{name}.pem", folder / f"{name}.key")
    tls.cert.write_bytes(b"".join(blob.bytes() for blob in signed.cert_chain_pems))
    tls.key.write_bytes(signed.private_key_pem.bytes())
    return authority, tls


def test_rest_and_streams_over_tls(tmp_path: Path) -> None:
    authority, tls = make_certificate(tmp_path)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with serving(EchoStepper(), tls=tls) as running:
        url = f"https://127.0.0.1:{running.port}"
        with httpx.Client(base_url=url, verify=trust, trust_env=False) as http:
            assert http.get("/v1/health/ready").json() == {"status": "ready"}
        address, names = f"wss://127.0.0.1:{running.port}/v1/realtime", [Subprotocol("gi.v1.bin")]
        with connect(address, subprotocols=names, ssl=trust, compression=None, proxy=None) as connection:
            assert ask(connection, type="session.update")["type"] == "session.created"
            connection.send(encode_frame(raw(0, identity=77)))
            assert read_identity(next_action(connection).states[0]) == 77
        with httpx.Client(base_url=url, trust_env=False) as stranger, pytest.raises(httpx.ConnectError):
            stranger.get("/v1/health/ready")
        with pytest.raises(httpx.HTTPError):  # plain HTTP to a TLS port
            httpx.get(f"http://127.0.0.1:{running.port}/v1/health/ready", trust_env=False)
        with httpx.Client(base_url=url, verify=trust, trust_env=False) as http:
            assert json.loads(http.get("/v1/health/ready").text) == {"status": "ready"}


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    (_, first), (_, second) = make_certificate(tmp_path, "a"), make_certificate(tmp_path, "b")
    assert make_tls(None, None) is None
    assert make_tls(first.cert, first.key) == first
    for cert, key in ((first.cert, None), (None, first.key)):
        with pytest.raises(ConfigError, match="two files"):
            make_tls(cert, key)
    for cert, key in ((first.cert, second.key), (first.key, first.cert), (tmp_path / "none", first.key)):
        with pytest.raises(ConfigError, match="certificate"):
            make_tls(cert, key)
