"""Replaying a recorded session: the same frames, seeds, and corrections must give the same actions.

So any recording is a regression test of a model, a server, or a machine.
Against a checkpoint the frames are decoded and stepped here; against a server they are sent as they once came, one by
one. Tokens must be equal; probabilities are compared too, and may differ in the last digits where the recording was
played in other batches. Commands of direct actuators are levels, and must be equal like tokens.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection, connect

from gi_model.actions import ActionSpace
from gi_model.errors import ClipError, ServeError
from gi_model.frames import Frame
from gi_model.stepper import Sampling, Stepper, Steps
from gi_serve.client_address import CONNECT_ERRORS, ServerAddress
from gi_serve.protocol import ActionMessage, Codec, FrameMessage, decode_action, encode_frame
from gi_serve.protocol_json import parse_event
from gi_serve.session_record import SessionRecord

if TYPE_CHECKING:
    from gi_data.video_stream import StreamDecoder

_SECONDS_TO_ANSWER = 30.0


class Replayer(Protocol):
    """Whatever plays a recording again. Fingerprints: of the model, and of its adapter, "" without one."""

    fingerprint: str
    adapter_fingerprint: str

    def open(self, sampling: Sampling) -> None:
        """Start anew."""
        ...

    def watch(self, message: FrameMessage) -> None:
        """See a picture of a video, which those after it build on."""
        ...

    def step(self, message: FrameMessage) -> Steps:
        """The answer to a frame: tokens (N, K), confidence (N, F)."""
        ...

    def correct(self, seq: int, tokens: NDArray[np.int64]) -> None:
        """Let `tokens` be what was held after frame `seq`."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """The first answer that is not what was recorded."""

    seq: int
    step: int  # how many answers were the same before
    expected: dict[str, Any]  # input states
    got: dict[str, Any]


@dataclass(slots=True)
class ReplayReport:
    """What a replay found. max_confidence_error: largest difference of a probability, up to the first difference."""

    same_model: bool
    num_steps: int = 0
    num_compared: int = 0
    max_confidence_error: float = 0.0
    difference: Difference | None = None


def replay(record: SessionRecord, replayer: Replayer) -> ReplayReport:
    """Play `record` again until its end or the first difference.

    Raises ServeError on a damaged recording, or one that was played with another adapter.
    """
    _check_adapter(record, replayer)
    playing = _Replay(record, replayer, ReplayReport(record.header.get("fingerprint") == replayer.fingerprint))
    for event in record.events():
        try:
            playing.play(event)
        except (KeyError, TypeError) as error:
            raise ServeError(f"the recorded session {record.path} is damaged", got=str(event)[:200]) from error
        if playing.report.difference is not None:
            break
    return playing.report


def _check_adapter(record: SessionRecord, replayer: Replayer) -> None:
    """Another model may be compared with the one that was recorded; another adapter is another task."""
    recorded, name = str(record.header.get("adapter_fingerprint", "")), record.header.get("adapter")
    if recorded != replayer.adapter_fingerprint:
        got, expected = (each[:12] or "none" for each in (replayer.adapter_fingerprint, recorded))
        do = "Replay it without --adapter." if name is None else f"Replay it with --adapter, {name}."
        raise ServeError("recorded with another adapter", got=got, expected=expected, do=do)


@dataclass(slots=True)
class _Replay:
    """One replay. frames: events of those not yet in the model; steps: answers not yet compared; by seq."""

    record: SessionRecord
    replayer: Replayer
    report: ReplayReport
    frames: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    steps: dict[int, Steps] = field(default_factory=dict)

    def play(self, event: Mapping[str, Any]) -> None:
        """One event. Raises KeyError or TypeError on one that lacks a field."""
        match event["event"]:
            case "open":
                self.replayer.open(Sampling(**event["sampling"]))
            case "frame":
                self.frames[event["seq"]] = event
                if event["codec"] == "h264":
                    self.replayer.watch(self.record.read_frame(event))
            case "step":
                frame = self.record.read_frame(self.frames.pop(event["seq"]))
                self.steps[event["seq"]] = self.replayer.step(frame)
                self.report.num_steps += 1
            case "executed" if "tokens" in event:  # else the history is what it was
                self.replayer.correct(event["seq"], np.array(event["tokens"], np.int64))
            case "answer":  # the next frame may have gone into the model before this answer was written
                self.report.difference = _compare(self.report, event, self.steps.pop(event["seq"]))


def _compare(report: ReplayReport, event: Mapping[str, Any], steps: Steps) -> Difference | None:
    expected, confidence = np.array(event["tokens"], np.int64), np.array(event["confidence"], np.float32)
    commands = tuple(event.get("commands", ()))
    if not np.array_equal(steps.tokens, expected) or steps.commands_of(0) != commands:
        states = (_describe(expected, commands), _describe(steps.tokens, steps.commands_of(0)))
        return Difference(event["seq"], report.num_compared, *states)
    report.num_compared += 1
    error = float(np.abs(steps.confidence - confidence).max(initial=0.0))
    report.max_confidence_error = max(report.max_confidence_error, error)
    return None


def _describe(tokens: NDArray[np.int64], commands: tuple[float, ...]) -> dict[str, Any]:
    return replace(ActionSpace().decode(tokens[0]), commands=commands).to_dict()


class StepperReplayer:
    """Plays on a model of this process, in its slot 0. adapter: by name, of those that it has."""

    def __init__(self, stepper: Stepper, adapter: str | None = None) -> None:
        self.fingerprint, self._stepper, self._adapter = stepper.fingerprint, stepper, adapter
        self.adapter_fingerprint = "" if adapter is None else stepper.adapters[adapter].fingerprint
        self._decoder: StreamDecoder | None = None
        self._pictures: dict[int, Frame] = {}  # of videos, by seq, until one is stepped

    def open(self, sampling: Sampling) -> None:
        """Start anew."""
        self._stepper.open(0, sampling, self._adapter)

    def watch(self, message: FrameMessage) -> None:
        """Decode as the server does; what did not decode there does not here."""
        from gi_data.video_stream import StreamDecoder
        from gi_serve.images import MAX_PIXELS

        self._decoder = self._decoder or StreamDecoder(max_pixels=MAX_PIXELS)
        with suppress(ClipError):
            self._decoder.feed(message.data)
            self._pictures[message.seq] = self._decoder.frame(self._stepper.height, self._stepper.width)

    def step(self, message: FrameMessage) -> Steps:
        """Decode as the server does, and step."""
        from gi_serve.images import decode_image  # the codecs: a replay against a server needs none

        if message.codec == Codec.H264:
            frame = self._pictures[message.seq]
            self._pictures = {seq: each for seq, each in self._pictures.items() if seq > message.seq}
        else:
            frame = decode_image(message, self._stepper.height, self._stepper.width)
        steps = self._stepper.step(np.array(frame)[None], [0])  # a copy: raw frames are views that may not be written
        horizon = self._stepper.action_horizon
        tokens, confidence = steps.tokens.reshape(horizon, -1), steps.confidence.reshape(horizon, -1)
        return replace(steps, tokens=tokens, confidence=confidence)

    def correct(self, seq: int, tokens: NDArray[np.int64]) -> None:
        """As it was."""
        del seq  # the newest
        self._stepper.correct(0, tokens)


class ServerReplayer:
    """Plays on a server; a context manager that ends the session. model: where it has several; adapter: by name."""

    def __init__(
        self, url: str, *, key: str | None = None, model: str | None = None, adapter: str | None = None
    ) -> None:
        self._address, self._opened = ServerAddress.of(url, key), ExitStack()
        self._model, self._adapter = model, adapter
        self._connection: ClientConnection | None = None
        found = self._find()
        self.fingerprint = found["fingerprint"]
        self.adapter_fingerprint = "" if adapter is None else self._find_adapter(adapter, found["name"])["fingerprint"]

    def open(self, sampling: Sampling) -> None:
        """Open the session, or start it anew."""
        settings = {name: getattr(sampling, name) for name in ("temperature", "top_p", "keys", "motion")}
        kind = "session.reset"
        if self._connection is None:
            kind = "session.update"
            try:
                opening = connect(self._address.stream_url, **self._address.socket_settings)
                self._connection = self._opened.enter_context(opening)
            except CONNECT_ERRORS as error:
                raise self._address.explain(error) from error
        event: dict[str, Any] = {"type": kind, "seed": sampling.seed, "sampling": settings}
        wanted = {"model": self._model, "adapter": self._adapter} if kind == "session.update" else {}
        self._send(event | {name: value for name, value in wanted.items() if value is not None})
        self._read_event()

    def watch(self, message: FrameMessage) -> None:
        """Not here: which picture of a video a server steps is a matter of time. Raises ServeError."""
        do = "Replay it with --checkpoint."
        raise ServeError("video cannot be replayed on a server", got=f"H.264, seq {message.seq}", do=do)

    def step(self, message: FrameMessage) -> Steps:
        """Send the frame as it came, and wait."""
        self._connected().send(encode_frame(message))
        answer = self._read()
        if not isinstance(answer, ActionMessage) or answer.seq != message.seq:
            raise ServeError("the server answered another frame", got=answer, expected=message.seq)
        return Steps(answer.tokens, answer.confidence, (np.array(answer.states[0].commands, np.float32),))

    def correct(self, seq: int, tokens: NDArray[np.int64]) -> None:
        """As it was."""
        state = ActionSpace().decode(tokens)
        self._send({"type": "action.executed", "seq": seq, "action": state.to_dict()})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _find(self) -> dict[str, Any]:
        models = [model for model in self._address.models() if self._model in (None, model["name"])]
        if len(models) != 1:
            raise ServeError("not one model to replay on", got=[model["name"] for model in models], do="Name one.")
        return models[0]

    def _find_adapter(self, name: str, model: str) -> dict[str, Any]:
        adapters = [each for each in self._address.adapters() if each["model"] == model]
        for adapter in adapters:
            if adapter["name"] == name:
                return adapter
        raise ServeError(f"{model} has no such adapter", got=name, expected=[each["name"] for each in adapters])

    def _connected(self) -> ClientConnection:
        if self._connection is None:
            raise ServeError("the recording steps before it opens")
        return self._connection

    def _send(self, event: Mapping[str, Any]) -> None:
        self._connected().send(json.dumps(event))

    def _read_event(self) -> dict[str, Any]:
        event = self._read()
        if isinstance(event, ActionMessage):
            raise ServeError("the server sent an action before it opened the session")
        return event

    def _read(self) -> ActionMessage | dict[str, Any]:
        data = self._connected().recv(timeout=_SECONDS_TO_ANSWER)
        if isinstance(data, bytes):
            return decode_action(data)
        event = parse_event(data)
        if event["type"] == "error":
            raise ServeError(f"the server answered: {event['error'].get('title')}", do=event["error"].get("detail", ""))
        return event
