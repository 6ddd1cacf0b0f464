"""LitServe in an environment of its own, started as a process and waited for."""

import json
import socket
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gi_serve.bench_serve_process import Child

_SCRIPT: Final = Path(__file__).parent / "bench_serve_peers" / "litserve_server.py"
_SECONDS_TO_START: Final = 90.0
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PeerMissingError(Exception):
    """The environment cannot run this peer; the message says why. Never reaches a user: it becomes a note."""


def start_litserve(python: Path, job: Mapping[str, Any], cores: Sequence[int]) -> tuple[Child, int]:
    """The server and its port, once it is ready. Raises PeerMissingError."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    try:
        server = Child([str(python), str(_SCRIPT), json.dumps({**job, "port": port})], cores)
    except OSError as error:
        raise PeerMissingError(f"cannot run {python}: {error}") from error
    give_up = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < give_up and server.process.poll() is None:
        with suppress(OSError), _OPENER.open(f"http://127.0.0.1:{port}/health", timeout=1):
            return server, port
        time.sleep(0.1)
    why = server.last_words()
    server.__exit__(None, None, None)
    raise PeerMissingError(why)
