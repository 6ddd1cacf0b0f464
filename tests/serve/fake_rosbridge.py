"""A rosbridge without ROS: speaks its JSON, op by op, and complains as it does."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

_TWIST = {"linear": "xyz", "angular": "xyz"}


class FakeRosbridge:
    """One server; `heard` has what was published by topic, in order. port 0: a free one."""

    def __init__(self, port: int = 0) -> None:
        self.heard: dict[str, list[dict[str, Any]]] = {}
        self.advertised: dict[str, str] = {}
        self.subscribed: dict[str, dict[str, Any]] = {}
        self.complaints: list[str] = []
        self._clients: set[ServerConnection] = set()
        self._sent_s: dict[str, float] = {}
        self._server: Server = serve(self._serve, "127.0.0.1", port, compression=None)
        self.port = int(self._server.socket.getsockname()[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def publish(self, topic: str, message: Mapping[str, Any]) -> None:
        """As a ROS node would: to who subscribed, no more often than they asked for."""
        wanted = self.subscribed.get(topic)
        now = time.monotonic()
        if wanted is None or (now - self._sent_s.get(topic, 0.0)) * 1e3 < wanted.get("throttle_rate", 0):
            return
        self._sent_s[topic] = now
        self.say({"op": "publish", "topic": topic, "msg": message})

    def say(self, event: Any) -> None:
        """Send an event to every client."""
        for client in list(self._clients):
            with suppress(ConnectionClosed):
                client.send(event if isinstance(event, str) else json.dumps(event))

    def drop(self) -> None:
        """Cut every client off, without a word."""
        clients, self._clients = self._clients, set()
        self.advertised.clear()
        self.subscribed.clear()
        for client in clients:
            client.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._server.shutdown()
        self.drop()

    def _serve(self, client: ServerConnection) -> None:
        self._clients.add(client)
        try:
            for data in client:
                if (complaint := self._take(json.loads(data))) is not None:
                    self.complaints.append(complaint)
                    client.send(json.dumps({"op": "status", "level": "error", "msg": complaint}))
        except (ConnectionClosed, OSError):
            pass
        finally:
            self._clients.discard(client)

    def _take(self, event: dict[str, Any]) -> str | None:
        topic = event.get("topic", "")
        match event["op"]:
            case "advertise":
                if not event["type"].count("/msg/"):
                    return f"{event['type']} is no type"
                self.advertised[topic] = event["type"]
            case "unadvertise":
                self.advertised.pop(topic, None)
            case "subscribe":
                self.subscribed[topic] = event
            case "publish":
                if topic not in self.advertised:
                    return f"{topic} is not advertised"
                if {part: "".join(sorted(axes)) for part, axes in event["msg"].items()} != _TWIST:
                    return "not a Twist"
                self.heard.setdefault(topic, []).append(event["msg"])
            case unknown:
                return f"unknown operation {unknown}"
        return None


@contextmanager
def fake_rosbridge() -> Iterator[FakeRosbridge]:
    bridge = FakeRosbridge()
    try:
        yield bridge
    finally:
        bridge.close()
