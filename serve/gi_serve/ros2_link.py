"""`RosLink`: a connection to rosbridge: topics in and out as JSON over a WebSocket, found again when it is lost.

    subscribe, advertise, publish --> rosbridge          publish, status <-- rosbridge

Needs `websockets` only, no ROS on this machine. Rejected: roslibpy (Twisted, a reactor of its own).
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from gi_serve.client_address import CONNECT_ERRORS

logger = logging.getLogger("gi_serve")
FIRST_RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 2.0
MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024  # images come in base64
_STATUS_LEVELS: Final = {"error": logging.ERROR, "warning": logging.WARNING}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic to hear: `heard` gets each message, on the link's thread. period_ms: no more often than that."""

    name: str
    type: str
    heard: Callable[[Mapping[str, Any]], None]
    period_ms: int = 0


class RosLink:
    """Hears `topics` and publishes on those of `advertised`, by name: type. A context manager that ends it.

    lost: called, on its thread, when the connection is gone; it is sought until it is back.
    """

    def __init__(
        self, url: str, topics: Sequence[Topic], advertised: Mapping[str, str], *, lost: Callable[[], None]
    ) -> None:
        self.url, self.num_lost, self.num_unsent = url, 0, 0
        self._topics, self._advertised, self._lost = {topic.name: topic for topic in topics}, advertised, lost
        self._connection: ClientConnection | None = None
        self._said = ""
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rosbridge", daemon=True)

    @property
    def is_up(self) -> bool:
        """Whether rosbridge is there."""
        return self._connection is not None

    def publish(self, topic: str, message: Mapping[str, Any]) -> None:
        """Publish, if rosbridge is there; else count it."""
        if (connection := self._connection) is None:
            self.num_unsent += 1
            return
        try:
            connection.send(json.dumps({"op": "publish", "topic": topic, "msg": message}))
        except ConnectionClosed:
            self.num_unsent += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_closed.set()
        if (connection := self._connection) is not None:
            for topic in self._advertised:
                self._say(connection, op="unadvertise", topic=topic)
            connection.close()
        self._thread.join()

    # ------------------------------------------------------------------ its thread

    def _run(self) -> None:
        delay_s = FIRST_RETRY_S
        while not self._is_closed.is_set():
            try:
                with connect(
                    self.url, compression=None, proxy=None, max_size=MAX_MESSAGE_BYTES, open_timeout=5, close_timeout=1
                ) as connection:
                    delay_s = FIRST_RETRY_S
                    self._serve(connection)
            except CONNECT_ERRORS as error:
                logger.warning("no rosbridge at %s: %s", self.url, error)
            self._is_closed.wait(delay_s)
            delay_s = min(LAST_RETRY_S, 2 * delay_s)

    def _serve(self, connection: ClientConnection) -> None:
        """Subscribe, then hear until the connection is gone."""
        for name, kind in self._advertised.items():
            self._say(connection, op="advertise", topic=name, type=kind)
        for topic in self._topics.values():
            throttle = {"throttle_rate": topic.period_ms, "queue_length": 1}  # 1: the newest
            self._say(connection, op="subscribe", topic=topic.name, type=topic.type, **throttle)
        self._connection = connection
        try:
            for data in connection:
                self._hear(data)
        except ConnectionClosed as error:
            logger.warning("lost rosbridge: %s", error)
        finally:
            self._connection = None
            self.num_lost += 1
            self._lost()

    def _say(self, connection: ClientConnection, **message: Any) -> None:
        try:
            connection.send(json.dumps(message))
        except ConnectionClosed:
            return  # whoever reads will see it

    def _hear(self, data: str | bytes) -> None:
        try:
            event = json.loads(data)
            operation = event["op"]
            if operation == "publish" and event["topic"] in self._topics:
                self._topics[event["topic"]].heard(event["msg"])
            elif operation == "status" and (words := str(event.get("msg"))) != self._said:
                self._said = words  # it says the same to every message
                logger.log(_STATUS_LEVELS.get(event.get("level"), logging.INFO), "rosbridge: %s", words)
        except Exception:  # one message that is none of ours must not end the link
            logger.exception("a message of rosbridge could not be taken")
