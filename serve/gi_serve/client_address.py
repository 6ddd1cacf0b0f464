"""`ServerAddress`: where a server is and who asks, for both clients: URLs, headers, and the settings of a socket."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from gi_model.errors import ConfigError, ServeError
from gi_serve.client_core import ResumeRefusedError
from gi_serve.protocol import BINARY

HEARTBEAT_S: Final = 5.0
SECONDS_TO_OPEN: Final = 10.0
_SECONDS_TO_END: Final = 1.0
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # straight, as the WebSocket goes
CONNECT_ERRORS: Final = (OSError, InvalidHandshake, TimeoutError, EOFError)


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """http and stream URLs of a server; headers that say who asks."""

    http_url: str
    stream_url: str
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, url: str, key: str | None) -> Self:
        """From any of http, https, ws, wss; key None: $GI_API_KEY, if set. Raises ConfigError."""
        parts = urlsplit(url)
        schemes = {"http": ("http", "ws"), "https": ("https", "wss"), "ws": ("http", "ws"), "wss": ("https", "wss")}
        if parts.scheme not in schemes or not parts.hostname:
            raise ConfigError("not a server's address", got=url, expected="http://HOST:PORT")
        http, websocket = schemes[parts.scheme]
        base = f"{parts.netloc}{parts.path.rstrip('/')}"
        key = os.environ.get("GI_API_KEY") if key is None else key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return cls(f"{http}://{base}", f"{websocket}://{base}/v1/realtime", headers)

    @property
    def socket_settings(self) -> dict[str, Any]:
        """What both kinds of `websockets.connect` are told beside the URL."""
        return {
            "subprotocols": [Subprotocol(BINARY)],
            "additional_headers": dict(self.headers),
            "compression": None,
            "proxy": None,
            "open_timeout": SECONDS_TO_OPEN,
            "close_timeout": 1.0,
            "ping_interval": HEARTBEAT_S,
            "ping_timeout": 2 * HEARTBEAT_S,
        }

    def explain(self, error: Exception) -> ServeError:
        """Why there is no connection, in words; a ResumeRefusedError where to try again would not help."""
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            body = bytes(error.response.body or b"")[:200].decode(errors="replace")
            kind = ResumeRefusedError if 400 <= status < 500 and status != 429 else ServeError
            return kind("the server refused the stream", got=self.stream_url, do=f"HTTP {status} {body}")
        do = "Start a server with: gi serve --checkpoint PATH"
        return ServeError("cannot reach the server", got=f"{self.stream_url} ({error})", do=do)

    def models(self) -> list[dict[str, Any]]:
        """What `GET /v1/models` says. Raises ServeError if the server cannot be reached."""
        return self._list("models")

    def adapters(self) -> list[dict[str, Any]]:
        """What `GET /v1/adapters` says. Raises ServeError if the server cannot be reached."""
        return self._list("adapters")

    def _list(self, what: str) -> list[dict[str, Any]]:
        request = urllib.request.Request(f"{self.http_url}/v1/{what}", headers=dict(self.headers))
        try:
            with _OPENER.open(request, timeout=SECONDS_TO_OPEN) as answer:
                found: list[dict[str, Any]] = json.load(answer)
        except (urllib.error.URLError, TimeoutError, ValueError) as error:
            raise self.explain(error) from error
        return found

    def end_session(self, session_id: str) -> None:
        """Free the slot of a session whose connection is gone, if the server can be reached at once."""
        url = f"{self.http_url}/v1/sessions/{session_id}"
        request = urllib.request.Request(url, headers=dict(self.headers), method="DELETE")
        with suppress(urllib.error.URLError, TimeoutError, OSError):
            _OPENER.open(request, timeout=_SECONDS_TO_END).close()
