"""`Cable`: a TCP relay between a client and a server that a test can cut, pull out, and plug in again."""

import contextlib
import socket
import threading
from typing import Self


class Cable:
    """Relays `port` of this machine to `server_port`. cut: every connection breaks; pull: nothing arrives any more."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._passes = threading.Event()
        self._passes.set()
        self.is_plugged = True
        self.num_connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection, without a last word."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def unplug(self) -> None:
        """Cut, and refuse new connections until `plug`."""
        self.is_plugged = False
        self.cut()

    def plug(self) -> None:
        self.is_plugged = True

    def freeze(self) -> None:
        """Half-open from now on: both sides believe in their connection, and nothing passes. New ones work."""
        self._passes, old = threading.Event(), self._passes
        self._passes.set()
        old.clear()
        self._ends = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if not self.is_plugged:
                    client.close()
                    continue
                self.num_connections += 1
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._ends += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._relay, args=(source, sink, self._passes), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, passes: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not passes.is_set():
                    return
                sink.sendall(data)
        if passes.is_set():
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
