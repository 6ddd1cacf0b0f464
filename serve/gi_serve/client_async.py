"""The Python client for asyncio: the same names as `gi_serve.client`, the same core, `await` where that blocks.

    async with await AsyncClient("http://127.0.0.1:8000").session(seed=1) as session:
        action = await session.act(frame)
        await session.send(frame); await session.latest()        # and hold session.state, or what session.due() gives

For whoever plays many games in one process. A lost connection is resumed by a task: meanwhile every key is up, frames
are not sent, and nothing waits for it but `act`.
"""

import asyncio
import json
import random
import time
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gi_model.actions import InputState
from gi_model.errors import ServeError
from gi_model.frames import Frame
from gi_serve.client import FIRST_RETRY_S, LAST_RETRY_S, NUM_SYNCS
from gi_serve.client_address import CONNECT_ERRORS, ServerAddress
from gi_serve.client_core import (
    Action,
    ResumeRefusedError,
    SessionConfig,
    lost_error,
    newest_of,
)
from gi_serve.clock_offset import ClockOffset
from gi_serve.protocol import ActionMessage
from gi_serve.session_face import SessionFace

__all__ = ["AsyncClient", "AsyncSession"]
T = TypeVar("T")


class AsyncClient:
    """A server's address. key: an API key or client token; None: that of the environment, GI_API_KEY."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.address = ServerAddress.of(url, key)

    async def models(self) -> list[dict[str, Any]]:
        """What `GET /v1/models` says. Raises ServeError if the server cannot be reached."""
        return await asyncio.to_thread(self.address.models)

    async def adapters(self) -> list[dict[str, Any]]:
        """What `GET /v1/adapters` says. Raises ServeError if the server cannot be reached."""
        return await asyncio.to_thread(self.address.adapters)

    async def session(self, config: SessionConfig | None = None, *, seed: int | None = None) -> "AsyncSession":
        """Open a session. Raises ServeError if there is no server, or no free slot."""
        session = AsyncSession(self.address, config or SessionConfig(seed=seed))
        await session.open()
        return session


class AsyncSession(SessionFace):
    """One stream; an async context manager that closes it. One task may send while another reads."""

    def __init__(self, address: ServerAddress, config: SessionConfig) -> None:
        super().__init__(config)
        self._address = address
        self._connection: ClientConnection | None = None  # None: down
        self._back = asyncio.Event()  # the connection is back, or the session over
        self._sending = asyncio.Lock()
        self._resuming: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect and open the stream: `AsyncClient.session` does. Raises ServeError."""
        connection = self._connection = await self._connect()
        try:
            await self._send(self._core.opening())
            await self._await_event("session.created")
        except BaseException:
            await connection.close()
            raise

    # ------------------------------------------------------------------ play

    async def act(self, frame: Frame) -> Action:
        """Send `frame` and wait for its answer. Raises ServeError if none comes within `timeout_s`."""
        seq = await self.send(frame)
        give_up = time.monotonic() + self.config.timeout_s
        num_dropped = 0
        while (left_s := give_up - time.monotonic()) > 0:
            message = await self._newest(left_s)
            if message is not None and message.seq == seq:
                return self._core.hold(message, message.num_dropped + num_dropped, waits=True)
            num_dropped += 0 if message is None else message.num_dropped
        do = "The server is overloaded or stuck: look at its /metrics."
        raise ServeError("no answer to a frame", got=f"{self.config.timeout_s} s of silence", do=do)

    async def send(self, frame: Frame, *, capture_ns: int | None = None) -> int:
        """Send `frame`, uint8 (H, W, 3), without waiting for its answer; its seq."""
        seq, message = self._core.frame(frame, capture_ns)
        await self._send(message)
        return seq

    async def latest(self, timeout_s: float = 0.0) -> Action | None:
        """The newest answer not seen yet, None if there is none; waits as `Session.latest` does. Raises ServeError."""
        message = await self._newest(timeout_s)
        return None if message is None else self._core.hold(message, message.num_dropped)

    async def execute(self, state: InputState, seq: int | None = None) -> None:
        """Tell what was really held in the tick of frame `seq`, default that of the newest answer."""
        await self._send(self._core.execute(state, seq))

    async def stop(self) -> None:
        """Bring the robot to neutral now, whatever the policy wants, until `release`; over a lost connection, too.

        `latest` then reads the plans that do it, and `take_plan` gives them.
        """
        await self._send(self._core.stop())

    async def release(self) -> None:
        """Let the robot obey the policy again."""
        await self._send(self._core.release())

    async def reset(self, *, seed: int | None = None) -> None:
        """Forget all frames and start anew: the same seed and frames give the same actions."""
        await self._send(self._core.reset(seed))
        await self._await_event("session.updated")

    async def sync_clock(self) -> ClockOffset:
        """The server's clock beside `time.monotonic_ns`. Raises ServeError."""
        offsets = []
        for _ in range(NUM_SYNCS):
            await self._send(json.dumps({"type": "clock.sync", "client_ns": time.monotonic_ns()}))
            offsets.append(self._core.read_offset(await self._await_event("clock.sync")))
        return ClockOffset.best(offsets)

    async def close(self) -> None:
        """End the session. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self._back.set()
        if self._resuming is not None:
            self._resuming.cancel()
            await asyncio.gather(self._resuming, return_exceptions=True)
        is_over = False
        if (connection := self._connection) is not None:
            with suppress(ConnectionClosed):
                await connection.send(json.dumps({"type": "session.close"}))
            await connection.close()
            is_over = connection.close_code == 1000
        if not is_over and self._lost is None and self._core.resume_token:
            await asyncio.to_thread(self._address.end_session, self.id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    # ------------------------------------------------------------------ messages

    async def _newest(self, timeout_s: float) -> ActionMessage | None:
        """The newest answer; where the newest frame's is not here yet, waits for one more."""
        messages = await self._read_answers(0.0)
        if not messages or self._core.awaits_answer:
            messages += await self._read_answers(timeout_s)
        return newest_of(messages)

    async def _read_answers(self, timeout_s: float) -> list[ActionMessage]:
        """All answers that are here; waits for the first."""
        unread = self._core.take_unread()
        messages = [] if unread is None else [unread]
        give_up = time.monotonic() + timeout_s
        while True:
            is_over, message = await self._receive(0.0 if messages else give_up - time.monotonic())
            if isinstance(message, ActionMessage):
                messages.append(message)
            if is_over:
                return messages

    async def _await_event(self, kind: str) -> dict[str, Any]:
        give_up = time.monotonic() + self.config.timeout_s
        while (left_s := give_up - time.monotonic()) > 0:
            _is_over, message = await self._receive(left_s)
            if isinstance(message, ActionMessage):
                self._core.keep(message)
            elif message is not None and message["type"] == kind:
                return message
        raise ServeError(f"no {kind} from the server", got=f"{self.config.timeout_s} s of silence")

    async def _receive(self, timeout_s: float) -> tuple[bool, ActionMessage | dict[str, Any] | None]:
        """Whether nothing more is there, and the next message. Raises ServeError on `error` and at the end."""
        connection = await self._wait_for_connection(timeout_s)
        if connection is None:
            return True, None
        try:
            data = await _within(connection.recv(), timeout_s)
        except TimeoutError:
            return True, None
        except ConnectionClosed as error:
            self._lose(connection, str(error))
            return True, None
        return False, self._core.read(data)

    async def _send(self, data: str | bytes) -> None:
        self._check()
        if (connection := self._connection) is None:
            return  # what matters of it is sent again once the connection is back
        try:
            async with self._sending:  # after what a resume repeats
                await connection.send(data)
        except ConnectionClosed as error:
            self._lose(connection, str(error))
            self._check()

    # ------------------------------------------------------------------ the connection

    async def _connect(self) -> ClientConnection:
        try:
            return await connect(self._address.stream_url, **self._address.socket_settings)
        except CONNECT_ERRORS as error:
            raise self._address.explain(error) from error

    async def _wait_for_connection(self, timeout_s: float) -> ClientConnection | None:
        """The connection; None if it is down for so long. Raises ConnectionLostError if it is gone for good."""
        self._check()
        if self._connection is None and timeout_s > 0:
            with suppress(TimeoutError):
                await _within(self._back.wait(), timeout_s)
            self._check()
        return self._connection

    def _lose(self, connection: ClientConnection, reason: str) -> None:
        """The connection is gone: every key is up; resume in a task if the session may live on."""
        if connection is not self._connection or self._lost is not None or self._is_closed:
            return
        self._core.lose()
        self._connection = None
        self._back.clear()
        if self._core.goodbye or not self._core.resume_token or self._core.resume_s <= 0:
            self._end(self._core.goodbye or reason)
        elif self._resuming is None or self._resuming.done():
            self._resuming = asyncio.create_task(self._resume(reason))

    def _end(self, reason: str) -> None:
        self._lost = lost_error(self._address.http_url, reason)
        self._back.set()

    async def _resume(self, reason: str) -> None:
        """Connect again and again until the session is back, refused, or its time is over."""
        give_up, delay_s = time.monotonic() + self._core.resume_s, FIRST_RETRY_S
        while time.monotonic() < give_up:
            try:
                await self._resume_once()
                if self._connection is not None:  # and not lost again already
                    return
            except ResumeRefusedError as refused:
                self._end(str(refused))
                return
            except (ServeError, ConnectionClosed, TimeoutError) as error:
                reason = str(error)
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))
            delay_s = min(LAST_RETRY_S, 2 * delay_s)
        self._end(reason)

    async def _resume_once(self) -> None:
        connection = await self._connect()
        try:
            await connection.send(self._core.resuming())
            event = self._core.read(await _within(connection.recv(), self.config.timeout_s))
            if not isinstance(event, dict) or event["type"] != "session.resumed":
                raise ServeError("the server answered session.resume with another message")
            async with self._sending:
                again = self._core.after_resume(event)
                self._connection, self._core.is_down = connection, False  # at once: what is made from now on is sent
                for data in again:
                    await connection.send(data)
        except BaseException:
            self._connection, self._core.is_down = None, True
            await connection.close()
            raise
        self._back.set()


async def _within(waiting: Coroutine[Any, Any, T], timeout_s: float) -> T:
    """What `waiting` gives within `timeout_s`, at 0 what is there already. Raises TimeoutError."""
    return await asyncio.wait_for(waiting, max(timeout_s, 1e-4))
