"""The Python client: numpy and websockets only, so that a game or a robot can import it anywhere.

    with Client("http://127.0.0.1:8000").session(seed=1) as session:
        action = session.act(frame)                  # lock-step: wait for the answer to this frame
        session.send(frame); session.latest()        # real time: the newest answer, without waiting; hold session.state

Frames are resized to the model's size with the one resize and sent as raw RGB: lossless, smaller than most JPEGs of a
screen, and exactly what training fed the model. A lost connection is resumed in a thread of its own, with back-off:
meanwhile every key is up, frames are not sent, and nothing blocks; when it is back the stream goes on as if nothing had
happened. `gi_serve.client_async` has the same names for asyncio.
"""

import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from websockets.exceptions import ConcurrencyError, ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from gi_model.actions import InputState
from gi_model.errors import ServeError
from gi_model.frames import Frame
from gi_serve.client_address import CONNECT_ERRORS, ServerAddress
from gi_serve.client_core import (
    Action,
    ConnectionLostError,
    LateActionError,
    ModelInfo,
    ResumeRefusedError,
    SessionConfig,
    lost_error,
    newest_of,
)
from gi_serve.clock_offset import ClockOffset
from gi_serve.protocol import ActionMessage, Codec
from gi_serve.session_face import SessionFace

__all__ = ["Action", "Client", "ConnectionLostError", "LateActionError", "ModelInfo", "Session", "SessionConfig"]
FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 2.0
NUM_SYNCS: Final = 8


class Client:
    """A server's address. key: an API key or client token; None: that of the environment, GI_API_KEY."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.address = ServerAddress.of(url, key)

    def models(self) -> list[dict[str, Any]]:
        """What `GET /v1/models` says. Raises ServeError if the server cannot be reached."""
        return self.address.models()

    def adapters(self) -> list[dict[str, Any]]:
        """What `GET /v1/adapters` says. Raises ServeError if the server cannot be reached."""
        return self.address.adapters()

    def session(self, config: SessionConfig | None = None, *, seed: int | None = None) -> "Session":
        """Open a session. Raises ServeError if there is no server, or no free slot."""
        return Session(self.address, config or SessionConfig(seed=seed))


class Session(SessionFace):
    """One stream. One thread may send while another reads; a context manager that closes it."""

    def __init__(self, address: ServerAddress, config: SessionConfig) -> None:
        super().__init__(config)
        self._address = address
        self._changed = threading.Condition()  # of _connection, _is_lost, _is_closed, and the core's is_down
        self._resuming: threading.Thread | None = None
        self._connection = self._connect()
        try:
            self._say(self._core.opening)
            self._await_event("session.created")
        except BaseException:
            self._connection.close()
            raise

    # ------------------------------------------------------------------ play

    def act(self, frame: Frame) -> Action:
        """Send `frame` and wait for its answer. Raises ServeError if none comes within `timeout_s`."""
        seq = self.send(frame)
        give_up = time.monotonic() + self.config.timeout_s
        num_dropped = 0
        while (left_s := give_up - time.monotonic()) > 0:
            message = self._newest(left_s)
            if message is not None and message.seq == seq:
                return self._core.hold(message, message.num_dropped + num_dropped, waits=True)
            num_dropped += 0 if message is None else message.num_dropped
        do = "The server is overloaded or stuck: look at its /metrics."
        raise ServeError("no answer to a frame", got=f"{self.config.timeout_s} s of silence", do=do)

    def send(self, frame: Frame, *, capture_ns: int | None = None) -> int:
        """Send `frame`, uint8 (H, W, 3), without waiting; its seq. capture_ns: of `time.monotonic_ns`, default now.

        While the connection is down nothing is sent; the newest frame is, once it is back.
        """
        with self._changed:
            seq, message = self._core.frame(frame, capture_ns)
            connection = self._current()
        self._send(connection, message)
        return seq

    def send_image(self, data: bytes, codec: Codec, *, capture_ns: int | None = None) -> int:
        """The same for an image file, JPEG or PNG, as a camera gives it: the server decodes and resizes it."""
        with self._changed:
            seq, message = self._core.image(data, codec, capture_ns)
            connection = self._current()
        self._send(connection, message)
        return seq

    def latest(self, timeout_s: float = 0.0) -> Action | None:
        """The newest answer not seen yet, None if there is none. Raises ServeError.

        Waits up to `timeout_s` for the next answer, unless that of the newest frame is here: who sends a frame and then
        waits for a tick is not a frame behind for good after one late answer.
        """
        message = self._newest(timeout_s)
        return None if message is None else self._core.hold(message, message.num_dropped)

    def execute(self, state: InputState, seq: int | None = None) -> None:
        """Tell what was really held in the tick of frame `seq`, default that of the newest answer.

        A person took over, or the engine had a veto: the policy's past then holds that. Before the next frame, or it
        counts for nothing (`num_late_feedback`).
        """
        self._say(lambda: self._core.execute(state, seq))

    def stop(self) -> None:
        """Bring the robot to neutral now, whatever the policy wants, until `release`; over a lost connection, too.

        `latest` then reads the plans that do it, and `take_plan` gives them.
        """
        self._say(self._core.stop)

    def release(self) -> None:
        """Let the robot obey the policy again."""
        self._say(self._core.release)

    def reset(self, *, seed: int | None = None) -> None:
        """Forget all frames and start anew: the same seed and frames give the same actions."""
        self._say(lambda: self._core.reset(seed))
        self._await_event("session.updated")

    def sync_clock(self) -> ClockOffset:
        """The server's clock beside `time.monotonic_ns`. Raises ServeError."""
        offsets = []
        for _ in range(NUM_SYNCS):
            self._say(lambda: json.dumps({"type": "clock.sync", "client_ns": time.monotonic_ns()}))
            offsets.append(self._core.read_offset(self._await_event("clock.sync")))
        return ClockOffset.best(offsets)

    def close(self) -> None:
        """End the session. Idempotent."""
        with self._changed:
            was_closed, self._is_closed = self._is_closed, True
            is_down = self._core.is_down and self._lost is None
            self._changed.notify_all()
        if was_closed:
            return
        if self._resuming is not None:
            self._resuming.join()
        if not is_down:
            with suppress(ConnectionClosed):
                self._connection.send(json.dumps({"type": "session.close"}))
        self._connection.close()
        if self._connection.close_code != 1000 and self._lost is None and self._core.resume_token:
            self._address.end_session(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------------ messages

    def _newest(self, timeout_s: float) -> ActionMessage | None:
        """The newest answer; where the newest frame's is not here yet, waits for one more."""
        messages = self._read_answers(0.0)
        if not messages or self._core.awaits_answer:
            messages += self._read_answers(timeout_s)
        return newest_of(messages)

    def _read_answers(self, timeout_s: float) -> list[ActionMessage]:
        """All answers that are here; waits for the first."""
        unread = self._core.take_unread()
        messages = [] if unread is None else [unread]
        give_up = time.monotonic() + timeout_s
        while True:
            is_over, message = self._receive(0.0 if messages else give_up - time.monotonic())
            if isinstance(message, ActionMessage):
                messages.append(message)
            if is_over:
                return messages

    def _await_event(self, kind: str) -> dict[str, Any]:
        give_up = time.monotonic() + self.config.timeout_s
        while (left_s := give_up - time.monotonic()) > 0:
            _is_over, message = self._receive(left_s)
            if isinstance(message, ActionMessage):
                self._core.keep(message)
            elif message is not None and message["type"] == kind:
                return message
        raise ServeError(f"no {kind} from the server", got=f"{self.config.timeout_s} s of silence")

    def _receive(self, timeout_s: float) -> tuple[bool, ActionMessage | dict[str, Any] | None]:
        """Whether nothing more is there, and the next message. Raises ServeError on `error` and at the end."""
        connection = self._wait_for_connection(timeout_s)
        if connection is None:
            return True, None
        try:
            data = connection.recv(timeout=max(0.0, timeout_s))
        except TimeoutError:
            return True, None
        except ConnectionClosed as error:
            self._lose(connection, str(error))
            return True, None
        with self._changed:
            return False, self._core.read(data)

    def _say(self, make: Callable[[], str]) -> None:
        """Send what `make` gives. Made and given to a connection at once: what a resume repeats is not sent twice."""
        with self._changed:
            data, connection = make(), self._current()
        self._send(connection, data)

    def _send(self, connection: ClientConnection | None, data: str | bytes) -> None:
        if connection is None:
            return  # what matters of it is sent again once the connection is back
        try:
            connection.send(data)
        except ConnectionClosed as error:
            self._lose(connection, str(error))
            self._check()

    # ------------------------------------------------------------------ the connection

    def _connect(self) -> ClientConnection:
        try:
            opening = connect(self._address.stream_url, **self._address.socket_settings)
            connection: ClientConnection = opening.__enter__()  # it outlives this function: `close` ends it
        except CONNECT_ERRORS as error:
            raise self._address.explain(error) from error
        return connection

    def _wait_for_connection(self, timeout_s: float) -> ClientConnection | None:
        """The connection; None if it is down for so long. Raises ConnectionLostError if it is gone for good."""
        with self._changed:
            if self._current() is None:
                self._changed.wait_for(lambda: self._lost or not self._core.is_down, max(0.0, timeout_s))
            return self._current()

    def _current(self) -> ClientConnection | None:
        """The connection, None while it is down. Raises ConnectionLostError if it is gone for good."""
        self._check()
        return None if self._core.is_down else self._connection

    def _lose(self, connection: ClientConnection, reason: str) -> None:
        """The connection is gone: every key is up; resume in the background if the session may live on."""
        with self._changed:
            if connection is not self._connection or self._core.is_down or self._lost is not None or self._is_closed:
                return
            self._core.lose()
            self._read_goodbye(connection)
            if self._core.goodbye or not self._core.resume_token or self._core.resume_s <= 0:
                self._end(self._core.goodbye or reason)
            else:
                self._resuming = threading.Thread(target=self._resume, args=(reason,), name="resume", daemon=True)
                self._resuming.start()
            self._changed.notify_all()

    def _end(self, reason: str) -> None:
        with self._changed:
            self._lost = lost_error(self._address.http_url, reason)
            self._changed.notify_all()

    def _read_goodbye(self, connection: ClientConnection) -> None:
        """Look for the server's last words among what was never read."""
        with suppress(ConnectionClosed, ConcurrencyError, ServeError, TimeoutError):
            while True:
                if isinstance(data := connection.recv(timeout=0), str):
                    self._core.read(data)

    def _resume(self, reason: str) -> None:
        """In a thread: connect again and again until the session is back, refused, or its time is over."""
        give_up, delay_s = time.monotonic() + self._core.resume_s, FIRST_RETRY_S
        while not self._is_closed and time.monotonic() < give_up:
            try:
                self._resume_once()
                return
            except ResumeRefusedError as refused:
                self._end(str(refused))
                return
            except (ServeError, ConnectionClosed, TimeoutError) as error:
                reason = str(error)
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, delay_s * random.uniform(0.5, 1.5))
            delay_s = min(LAST_RETRY_S, 2 * delay_s)
        self._end(reason)

    def _resume_once(self) -> None:
        connection = self._connect()
        try:
            with self._changed:
                message = self._core.resuming()
            connection.send(message)
            event = self._read_resumed(connection.recv)
            with self._changed:
                if self._is_closed:
                    connection.send(json.dumps({"type": "session.close"}))
                    connection.close()
                    return
                for data in self._core.after_resume(event):
                    connection.send(data)
                self._connection, self._core.is_down = connection, False
                self._changed.notify_all()
        except BaseException:
            connection.close()
            raise

    def _read_resumed(self, receive: Callable[..., str | bytes]) -> dict[str, Any]:
        event = self._core.read(receive(timeout=self.config.timeout_s))
        if not isinstance(event, dict) or event["type"] != "session.resumed":
            raise ServeError("the server answered session.resume with another message")
        return event
