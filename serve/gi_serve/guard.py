"""`Guard`: what is refused before any route sees it: keys in URLs, foreign pages, bodies of strangers, large, or slow.

Pure ASGI, so that a body is counted as it arrives and never held beyond its limit.
"""

import asyncio
import logging
import re
import time
from typing import Final
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from gi_data.ingest.page_chunk import MAX_CHUNK_BYTES
from gi_serve.access import Access, check_origin
from gi_serve.connections import MAX_HEAD_BYTES
from gi_serve.http_errors import problem_response
from gi_serve.logs import ACCESS, tagged_path
from gi_serve.metrics import ServerMetrics
from gi_serve.problems import (
    BODY_TOO_LARGE,
    CREDENTIAL_IN_URL,
    FRAME_TOO_LARGE,
    HEAD_TOO_LARGE,
    REQUEST_TIMEOUT,
    Problem,
    ProblemKind,
)
from gi_serve.protocol import MAX_IMAGE_BYTES

MAX_WINDOW_BYTES: Final = 16 * 1024 * 1024  # of POST /v1/actions: parsed in one go, while everybody waits
MAX_BODY_BYTES: Final = 64 * 1024  # of everything else
SECONDS_FOR_A_BODY: Final = 30.0
_WITHOUT_BODY: Final = ("GET", "HEAD", "OPTIONS", "DELETE")
_CREDENTIAL: Final = re.compile(r"\b(gi-[0-9a-f]{8}-|git-[A-Za-z0-9_-]{20})|(^|&)(api_?key|key|token|access_token)=")


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, access: Access, metrics: ServerMetrics) -> None:
        self._app, self._access, self._metrics = app, access, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Problem as problem:
            self._metrics.count(problem)
            await _refuse(problem, scope, receive, send)
            return
        if scope["type"] == "http":
            receive = BoundedBody(scope, receive, seconds=SECONDS_FOR_A_BODY).receive
            send = _logged(scope, send)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        if (
            sum(len(name) + len(value) + 4 for name, value in scope["headers"]) + len(scope["raw_path"])
            > MAX_HEAD_BYTES
        ):
            raise Problem(HEAD_TOO_LARGE, f"At most {MAX_HEAD_BYTES} bytes are taken.")
        if _CREDENTIAL.search(unquote(scope["query_string"].decode("latin-1"))):
            raise Problem(CREDENTIAL_IN_URL, "URLs are kept in logs: send it as Authorization: Bearer.")
        if self._access.is_open:
            check_origin(Headers(scope=scope))
        elif scope["type"] == "http" and scope["method"] not in _WITHOUT_BODY:
            self._access.identify(Headers(scope=scope).get("authorization"))  # no stranger's body is read


class BoundedBody:
    """The body of one request, up to its route's limit and in time."""

    def __init__(self, scope: Scope, receive: Receive, *, seconds: float) -> None:
        self._receive, self._give_up = receive, time.monotonic() + seconds
        self._limit, self._kind = limit_of(scope["path"])
        self._num_bytes, self._is_complete = 0, False
        self._announced = Headers(scope=scope).get("content-length", "0")

    async def receive(self) -> Message:
        """The next part. Raises Problem."""
        if self._is_complete:  # what follows is only the client's leaving
            return await self._receive()
        if self._announced.isdigit() and int(self._announced) > self._limit:
            raise self._too_large()
        try:
            async with asyncio.timeout(max(0.0, self._give_up - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise Problem(REQUEST_TIMEOUT, "Send the whole body sooner.") from None
        self._num_bytes += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        if self._num_bytes > self._limit:
            raise self._too_large()
        return message

    def _too_large(self) -> Problem:
        return Problem(self._kind, f"At most {self._limit} bytes are taken.")


def limit_of(path: str) -> tuple[int, ProblemKind]:
    """How many bytes a body may have at `path`, and what a longer one is called."""
    if path.endswith("/frames"):
        return MAX_IMAGE_BYTES, FRAME_TOO_LARGE
    if "/chunks/" in path:
        return MAX_CHUNK_BYTES, BODY_TOO_LARGE
    return (MAX_WINDOW_BYTES if path == "/v1/actions" else MAX_BODY_BYTES), BODY_TOO_LARGE


def _logged(scope: Scope, send: Send) -> Send:
    """`send` that logs the answer, where anybody reads that; not of frames, which would be most of the log."""
    path, started = scope["path"], time.perf_counter()
    if not ACCESS.isEnabledFor(logging.INFO) or path.endswith("/frames") or path.startswith("/v1/health"):
        return send

    async def send_and_log(message: Message) -> None:
        if message["type"] == "http.response.start":
            ms = round((time.perf_counter() - started) * 1e3, 1)
            fields = {"method": scope["method"], "path": tagged_path(path), "status": message["status"], "ms": ms}
            ACCESS.info("request", extra=fields)
        await send(message)

    return send_and_log


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    response = problem_response(problem)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)
