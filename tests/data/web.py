"""A small HTTP server with byte ranges, on a real socket, that can be told to misbehave."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Web(ThreadingHTTPServer):
    """Serves `root`. drop_every: every so many-th answer is cut off in its middle; no_ranges: always the whole file."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.drop_every = 0
        self.status = 0
        self.no_ranges = False
        self.num_requests = 0
        self.num_bytes = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Web

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        web = self.server
        web.num_requests += 1
        path = web.root / self.path.lstrip("/")
        if web.status or not path.is_file():
            self.answer(web.status or 404, b"")
            return
        content = path.read_bytes()
        asked = self.headers.get("Range")
        if not asked or web.no_ranges:
            self.answer(200, content)
            return
        first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
        self.answer(206 if first < len(content) else 416, content[first : last + 1])

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Accept-Ranges", "none" if self.server.no_ranges else "bytes")
        self.end_headers()
        if self.command == "HEAD":
            return
        web = self.server
        is_dropped = web.drop_every and web.num_requests % web.drop_every == 0
        self.close_connection = bool(is_dropped)
        web.num_bytes += len(content)
        self.wfile.write(content[: len(content) // 2] if is_dropped else content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def serve(root: Path) -> Iterator[Web]:
    web = Web(root)
    threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield web
    finally:
        web.shutdown()
        web.server_close()
