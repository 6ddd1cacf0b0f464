"""The process around the app: a bound socket, uvicorn, and a graceful end.

uvicorn on uvloop with its sans-I/O WebSocket (no compression: frames do not compress and deflate costs more than a
small model's step). The socket is bound before a model is loaded, so a taken port is known at once.
"""

import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from gi_model.errors import ConfigError, ServeError
from gi_serve.app import build_app
from gi_serve.connections import MAX_HEAD_BYTES, BoundedConnection
from gi_serve.direct_socket import DirectSocket
from gi_serve.protocol import MAX_IMAGE_BYTES
from gi_serve.service import Service

HEARTBEAT_S = 5.0
_MESSAGE_OVERHEAD_BYTES = 1024


def bind(host: str, port: int) -> socket.socket:
    """A listening address; port 0 picks a free one. Raises ServeError if it is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(2048)  # now: a second server on the port fails at its start, not at its first client
    except (OSError, OverflowError) as error:
        bound.close()
        do = "Stop the server that has the port, or choose another with --port (0 picks a free one)."
        raise ServeError("cannot listen", got=f"{host}:{port} ({error})", expected="a free address", do=do) from error
    return bound


def end_quietly_on_sigterm() -> None:
    """Let a graceful end by SIGTERM exit with 0: uvicorn raises the signal again once it is done."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: the certificate with its chain, and its key."""

    cert: Path
    key: Path

    def check(self) -> None:
        """Raise ConfigError unless they belong together."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError("cannot use the certificate", got=f"{self.cert}, {self.key} ({error})") from None


class Server(uvicorn.Server):
    """uvicorn that says goodbye to its sessions before it goes."""

    def __init__(self, service: Service, *, heartbeat_s: float = HEARTBEAT_S, tls: Tls | None = None) -> None:
        self._service = service
        self._on_ready: Callable[[], None] | None = None
        config = uvicorn.Config(
            build_app(service),
            http=BoundedConnection,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            loop="auto",  # uvloop where it is installed
            lifespan="on",
            ws=DirectSocket,
            ws_per_message_deflate=False,
            ws_max_size=MAX_IMAGE_BYTES + _MESSAGE_OVERHEAD_BYTES,
            ws_ping_interval=heartbeat_s,
            ws_ping_timeout=heartbeat_s,
            timeout_graceful_shutdown=10,
            access_log=False,
            log_config=None,  # ours: see logs.py
            server_header=False,
            ssl_certfile=None if tls is None else tls.cert,
            ssl_keyfile=None if tls is None else tls.key,
        )
        super().__init__(config)

    def serve_on(self, bound: socket.socket, on_ready: Callable[[], None] | None = None) -> None:
        """Serve on `bound` until SIGTERM or SIGINT, or `should_exit` is set; `on_ready` runs once it takes clients."""
        self._on_ready = on_ready
        self.run(sockets=[bound])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets)
        if self._on_ready is not None and self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell every session that the server goes, give the goodbyes time to leave, then close."""
        await self._service.drain(is_urgent=lambda: self.force_exit)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or Ctrl-C: drain. A second one: leave at once."""
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)
