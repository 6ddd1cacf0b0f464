"""The Python client: numpy and websockets only, so that a game or a robot can import it anywhere.

    with Client("http://127.0.0.1:8000").session(seed=1) as session:
        action = session.act(frame)                  # lock-step: wait for the answer to this frame
        session.send(frame); session.latest()        # real time: the newest answer, without waiting; hold session.state

Frames are resized to the model's size with the one resize and sent as raw RGB: lossless, smaller than most JPEGs of a
screen, and exactly what training fed the model. Rejected: an async twin of every method (one API, one behaviour), and
reconnecting in silence (the stream's memory is gone; the player must know).
"""

import json
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self, get_args
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gi_model.actions import NEUTRAL, InputState
from gi_model.errors import ConfigError, ServeError
from gi_model.frames import Frame, check_frame, resize
from gi_serve.protocol import BINARY, ActionMessage, Codec, FrameMessage, decode_action, encode_frame
from gi_serve.protocol_json import parse_event

FailSafe = Literal["hold", "neutral", "stop"]
HEARTBEAT_S: Final = 5.0
_SECONDS_TO_OPEN: Final = 10.0


class ConnectionLostError(ServeError):
    """The server is gone, and the stream's memory with it; every key is up."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the client must know of the model it plays with."""

    name: str
    fingerprint: str
    height: int
    width: int
    fps: float
    factors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Action:
    """What to hold after frame `seq`, and how fresh that is."""

    state: InputState
    seq: int
    age_ms: float  # capture of the frame -> this answer in the client's hands, on the client's clock
    server_ms: float  # the server's part of it
    num_dropped: int  # frames that were never answered since the last answer
    is_late: bool  # later than the session's deadline
    confidence: dict[str, float]  # probability of each factor as chosen


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How to open a session. None: the server's choice.

    fail_safe: what `Session.state` is when no answer came for `patience_s`: "neutral" releases everything, "hold" keeps
    what is held but stops moving, "stop" raises ServeError. When the connection is lost, all is released in any case.
    """

    seed: int | None = None
    model: str | None = None
    deadline_ms: float | None = None
    sampling: dict[str, Any] | None = None
    fail_safe: FailSafe = "neutral"
    patience_s: float = 0.5
    timeout_s: float = 30.0  # of a blocking `act` or `reset`

    def __post_init__(self) -> None:
        if self.fail_safe not in get_args(FailSafe):
            raise ConfigError("unknown fail-safe", got=self.fail_safe, expected=" | ".join(get_args(FailSafe)))

    def to_event(self) -> dict[str, Any]:
        """The `session.update` that opens the stream."""
        wanted = {name: getattr(self, name) for name in ("seed", "model", "deadline_ms", "sampling")}
        return {"type": "session.update"} | {name: value for name, value in wanted.items() if value is not None}


class Client:
    """A server's address."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        schemes = {"http": ("http", "ws"), "https": ("https", "wss"), "ws": ("http", "ws"), "wss": ("https", "wss")}
        if parts.scheme not in schemes or not parts.hostname:
            raise ConfigError("not a server's address", got=url, expected="http://HOST:PORT")
        http, websocket = schemes[parts.scheme]
        base = f"{parts.netloc}{parts.path.rstrip('/')}"
        self._http_url, self._stream_url = f"{http}://{base}", f"{websocket}://{base}/v1/realtime"

    def models(self) -> list[dict[str, Any]]:
        """What `GET /v1/models` says. Raises ServeError if the server cannot be reached."""
        url = f"{self._http_url}/v1/models"
        try:
            with urllib.request.urlopen(url, timeout=_SECONDS_TO_OPEN) as answer:
                found: list[dict[str, Any]] = json.load(answer)
        except (urllib.error.URLError, TimeoutError, ValueError) as error:
            raise _unreachable(url, error) from error
        return found

    def session(self, config: SessionConfig | None = None, *, seed: int | None = None) -> "Session":
        """Open a session. Raises ServeError if there is no server, or no free slot."""
        with ExitStack() as lifetime:  # closes the connection if the session cannot be opened
            connection = lifetime.enter_context(self._connect())
            session = Session(connection, config or SessionConfig(seed=seed), self._http_url)
            session.closing = lifetime.pop_all()
        return session

    def _connect(self) -> ClientConnection:
        try:
            return connect(
                self._stream_url,
                subprotocols=[Subprotocol(BINARY)],
                compression=None,
                proxy=None,
                open_timeout=_SECONDS_TO_OPEN,
                close_timeout=1.0,
                ping_interval=HEARTBEAT_S,
                ping_timeout=2 * HEARTBEAT_S,
            )
        except InvalidStatus as error:
            body = bytes(error.response.body or b"")[:200].decode(errors="replace")
            do = f"HTTP {error.response.status_code} {body}"
            raise ServeError("the server refused the stream", got=self._stream_url, do=do) from error
        except (OSError, InvalidHandshake, TimeoutError, EOFError) as error:
            raise _unreachable(self._stream_url, error) from error


class Session:
    """One stream. One thread may send while another reads; a context manager that closes it."""

    def __init__(self, connection: ClientConnection, config: SessionConfig, url: str) -> None:
        self._connection, self.config, self._url = connection, config, url
        self._seq = -1
        self._first_seq = 0  # of this life: older answers are of the one before
        self._held, self._held_ns = NEUTRAL, time.monotonic_ns()
        self._goodbye = ""
        self._is_lost = False
        self.closing = ExitStack()  # what ends with the session
        self._send(json.dumps(config.to_event()))
        created = self._await_event("session.created")
        self.model, self.seed = _read_model(created["model"]), int(created["session"]["seed"])

    # ------------------------------------------------------------------ play

    def act(self, frame: Frame) -> Action:
        """Send `frame` and wait for its answer. Raises ServeError if none comes within `timeout_s`."""
        seq = self.send(frame)
        give_up = time.monotonic() + self.config.timeout_s
        while (left_s := give_up - time.monotonic()) > 0:
            action = self.latest(left_s)
            if action is not None and action.seq == seq:
                return action
        do = "The server is overloaded or stuck: look at its /metrics."
        raise ServeError("no answer to a frame", got=f"{self.config.timeout_s} s of silence", do=do)

    def send(self, frame: Frame, *, capture_ns: int | None = None) -> int:
        """Send `frame`, uint8 (H, W, 3), without waiting; its seq. capture_ns: of `time.monotonic_ns`, default now."""
        capture_ns = time.monotonic_ns() if capture_ns is None else capture_ns
        height, width = self.model.height, self.model.width
        pixels = resize(check_frame(frame), height, width).tobytes()
        self._seq += 1
        self._send(encode_frame(FrameMessage(self._seq, capture_ns, Codec.RAW, pixels, width, height)))
        return self._seq

    def latest(self, timeout_s: float = 0.0) -> Action | None:
        """The newest answer not seen yet; waits up to `timeout_s` for one, None if there is none. Raises ServeError."""
        newest: ActionMessage | None = None
        num_dropped = 0
        while (message := self._receive(timeout_s if newest is None else 0.0)) is not None:
            if isinstance(message, ActionMessage) and message.seq >= self._first_seq:
                newest, num_dropped = message, num_dropped + message.num_dropped
        return None if newest is None else self._hold(newest, num_dropped)

    @property
    def is_fresh(self) -> bool:
        """Whether the newest answer is no older than `patience_s`."""
        return not self._is_lost and time.monotonic_ns() - self._held_ns <= self.config.patience_s * 1e9

    @property
    def state(self) -> InputState:
        """What to hold right now: the newest answer, or what the fail-safe contract says when it is too old."""
        if self._is_lost:
            return NEUTRAL
        if self.is_fresh:
            return self._held
        if self.config.fail_safe == "stop":
            raise ServeError("no action for too long", got=f"more than {self.config.patience_s} s", do="Stop the game.")
        if self.config.fail_safe == "hold":
            return InputState(keys=self._held.keys, buttons=self._held.buttons, gamepad=self._held.gamepad)
        return NEUTRAL

    def reset(self, *, seed: int | None = None) -> None:
        """Forget all frames and start anew: the same seed and frames give the same actions."""
        self._held, self._held_ns, self._first_seq = NEUTRAL, time.monotonic_ns(), self._seq + 1
        self._send(json.dumps({"type": "session.reset"} | ({} if seed is None else {"seed": seed})))
        self.seed = int(self._await_event("session.updated")["session"]["seed"])

    def close(self) -> None:
        """End the session. Idempotent."""
        self.closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------------ messages

    def _hold(self, message: ActionMessage, num_dropped: int) -> Action:
        now_ns = time.monotonic_ns()
        self._held, self._held_ns = message.states[0], now_ns
        return Action(
            state=message.states[0],
            seq=message.seq,
            age_ms=(now_ns - message.capture_ns) / 1e6,
            server_ms=message.age_us / 1e3,
            num_dropped=num_dropped,
            is_late=message.is_late,
            confidence=dict(zip(self.model.factors, message.confidence[0].tolist(), strict=True)),
        )

    def _await_event(self, kind: str) -> dict[str, Any]:
        give_up = time.monotonic() + self.config.timeout_s
        while (left_s := give_up - time.monotonic()) > 0:
            message = self._receive(left_s)
            if isinstance(message, dict) and message["type"] == kind:
                return message
        raise ServeError(f"no {kind} from the server", got=f"{self.config.timeout_s} s of silence")

    def _receive(self, timeout_s: float) -> ActionMessage | dict[str, Any] | None:
        """The next message; None if none comes in time. Raises ServeError on `error` events and a lost connection."""
        try:
            data = self._connection.recv(timeout=timeout_s)
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            raise self._lost(error) from error
        if isinstance(data, bytes):
            return decode_action(data)
        event = parse_event(data)
        if event["type"] == "error":
            problem = event.get("error", {})
            raise ServeError(f"the server answered: {problem.get('title')}", do=str(problem.get("detail", "")))
        self._note_goodbye(event)
        return event

    def _read_goodbye(self) -> None:
        """Look for the server's last words among what was never read."""
        with suppress(ConnectionClosed, ServeError, TimeoutError):
            while True:
                if isinstance(data := self._connection.recv(timeout=0), str):
                    self._note_goodbye(parse_event(data))

    def _note_goodbye(self, event: dict[str, Any]) -> None:
        if event["type"] in ("session.going_away", "session.closed"):
            self._goodbye = f"{event['type']} {event.get('reason', '')}".strip()

    def _send(self, data: str | bytes) -> None:
        try:
            self._connection.send(data)
        except ConnectionClosed as error:
            raise self._lost(error) from error

    def _lost(self, error: ConnectionClosed) -> ConnectionLostError:
        if not self._is_lost:
            self._is_lost, self._held = True, NEUTRAL
            self._read_goodbye()
        do = "Every key is released. See why the server ended, then open a new session: the stream's memory is gone."
        return ConnectionLostError(f"lost the server {self._url}", got=self._goodbye or str(error), do=do)


def _read_model(model: dict[str, Any]) -> ModelInfo:
    height, width, _channels = model["observation_space"]["shape"]
    return ModelInfo(
        name=model["name"],
        fingerprint=model["fingerprint"],
        height=height,
        width=width,
        fps=model["fps"],
        factors=tuple(model["factors"]),
    )


def _unreachable(url: str, error: Exception) -> ServeError:
    do = "Start a server with: gi serve --checkpoint PATH"
    return ServeError("cannot reach the server", got=f"{url} ({error})", do=do)
