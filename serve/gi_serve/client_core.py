"""`SessionCore`: what a client's session knows and says, without a socket: shared by the blocking and the async client.

    frame, reset, execute, resume --> messages to send          messages received --> read, hold --> what to press now

It keeps the fail-safe contract (`SessionConfig.on_late`), plays an answer of several ticks from the tick that is due,
and remembers what a lost connection may have swallowed: the newest frame, a correction, a reset.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from gi_model.actions import NEUTRAL, InputState
from gi_model.embodiment import Embodiment
from gi_model.errors import ConfigError, ServeError
from gi_model.frames import Frame, check_frame, resize
from gi_serve.clock_offset import ClockOffset
from gi_serve.command_plan import CommandPlan, plan_from_dict
from gi_serve.protocol import ActionMessage, Codec, FrameMessage, decode_action, encode_frame
from gi_serve.protocol_json import parse_event

OnLate = Literal["hold", "neutral", "stop"]
_PROBLEM: Final = "urn:gi:problem:"


class ConnectionLostError(ServeError):
    """The server is gone, and the stream's memory with it; every key is up."""


class LateActionError(ServeError):
    """No action came in time and the session's `on_late` is "stop"; every key is up."""


class ResumeRefusedError(ServeError):
    """The server does not have the session any more."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the client must know of the model it plays with."""

    name: str
    fingerprint: str
    height: int
    width: int
    fps: float
    factors: tuple[str, ...]
    action_horizon: int = 1


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
    states: tuple[InputState, ...] = ()  # of every tick of the answer, from the frame's own on
    plan: CommandPlan | None = None  # where the session drives a robot


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How to open a session. None: the server's choice.

    on_late: the fail-safe contract, what `Session.state` is when no answer came for `patience_s`: "neutral" releases
    everything, "hold" keeps what is held but stops moving, "stop" releases everything and raises LateActionError for
    good. While the connection is down all is released in any case. embodiment: the body that the session drives, None
    for its adapter's; lockstep: the body waits for each answer, so the server's watchdog sleeps.
    """

    seed: int | None = None
    model: str | None = None
    adapter: str | None = None  # one that the server has for that model
    deadline_ms: float | None = None
    fps: float | None = None  # frames a second that will be sent
    sampling: dict[str, Any] | None = None
    on_late: OnLate = "neutral"
    patience_s: float = 0.5
    timeout_s: float = 30.0  # of a blocking `act` or `reset`
    resume_s: float = 30.0  # how long to try to resume a lost connection; 0: not at all
    embodiment: Embodiment | None = None
    lockstep: bool = False

    def __post_init__(self) -> None:
        if self.on_late not in get_args(OnLate):
            raise ConfigError("unknown on_late", got=self.on_late, expected=" | ".join(get_args(OnLate)))

    def to_event(self) -> dict[str, Any]:
        """The `session.update` that opens the stream."""
        wanted = {name: getattr(self, name) for name in ("seed", "model", "adapter", "deadline_ms", "fps", "sampling")}
        event: dict[str, Any] = {"type": "session.update", "resume": self.resume_s > 0}
        event |= {"embodiment": self.embodiment.to_dict()} if self.embodiment is not None else {}
        event |= {"lockstep": True} if self.lockstep else {}
        return event | {name: value for name, value in wanted.items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Held:
    """The newest answer, and when it came. waits: the game stands still meanwhile, so its first tick is due."""

    message: ActionMessage
    arrived_ns: int
    waits: bool


class SessionCore:
    """One stream, without I/O. One thread may make messages while another reads them. clock: ns, monotonic."""

    def __init__(self, config: SessionConfig, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.config, self.clock = config, clock
        self.model = ModelInfo("", "", 0, 0, 1.0, ())
        self.adapter: str | None = None
        self.id, self.seed = "", 0
        self.resume_token, self.resume_s = "", 0.0  # no token: a lost connection is the end
        self.goodbye = ""  # why the server ended the session
        self.num_late_feedback = 0  # `execute` that came too late to count
        self.is_down = False  # the connection is; every key is up
        self._is_stopped = False
        self._seq = -1
        self._first_seq = 0  # of this life: older answers are of the one before
        self._newest_seq = -1  # of all answers read
        self._held: _Held | None = None
        self._shown: tuple[int, int] = (-1, 0)  # seq and tick that `due` gave last
        self._since_ns = self.clock()  # patience counts from here where there is no answer
        self._unread: ActionMessage | None = None
        self._num_lost = 0  # frames that never reached the server, not yet reported
        self._frame: tuple[int, bytes] | None = None
        self._executed: tuple[int, str] | None = None
        self._reset: str | None = None
        self.embodiment: Embodiment | None = None  # of the body that the session drives
        self._plan: CommandPlan | None = None  # the newest that nobody took
        self._wants_stop = False

    # ------------------------------------------------------------------ what to send

    def opening(self) -> str:
        """The first message."""
        return json.dumps(self.config.to_event())

    def frame(self, frame: Frame, capture_ns: int | None) -> tuple[int, bytes]:
        """The next frame's seq and message; at the model's size. Raises FrameError."""
        capture_ns = self.clock() if capture_ns is None else capture_ns
        height, width = self.model.height, self.model.width
        pixels = resize(check_frame(frame), height, width).tobytes()
        self._seq += 1
        message = encode_frame(FrameMessage(self._seq, capture_ns, Codec.RAW, pixels, width, height))
        self._frame = self._seq, message
        return self._frame

    def image(self, data: bytes, codec: Codec, capture_ns: int | None) -> tuple[int, bytes]:
        """The same for an image file, which the server decodes and resizes."""
        self._seq += 1
        capture_ns = self.clock() if capture_ns is None else capture_ns
        self._frame = self._seq, encode_frame(FrameMessage(self._seq, capture_ns, codec, data))
        return self._frame

    def execute(self, state: InputState, seq: int | None) -> str:
        """The message that `state` was held in the tick of frame `seq`; None: of the newest answer."""
        seq = self._newest_seq if seq is None else seq
        message = json.dumps({"type": "action.executed", "seq": seq, "action": state.to_dict()})
        self._executed = seq, message
        return message

    def reset(self, seed: int | None) -> str:
        """The message that starts the session anew; nothing is held from now on."""
        self._held, self._since_ns, self._first_seq = None, self.clock(), self._seq + 1
        self._unread = self._frame = self._executed = None
        self._reset = json.dumps({"type": "session.reset"} | ({} if seed is None else {"seed": seed}))
        return self._reset

    def stop(self) -> str:
        """The message that brings the robot to neutral."""
        self._wants_stop = True
        return json.dumps({"type": "robot.stop"})

    def release(self) -> str:
        """The message that lets it obey the policy again."""
        self._wants_stop = False
        return json.dumps({"type": "robot.release"})

    def resuming(self) -> str:
        """The first message on a new connection."""
        event = {"type": "session.resume", "session_id": self.id, "token": self.resume_token}
        return json.dumps(event | {"answered_seq": self._newest_seq})

    def after_resume(self, event: dict[str, Any]) -> list[str | bytes]:
        """What the lost connection swallowed, by the server's `session.resumed`: to be sent before anything else."""
        again: list[str | bytes] = [self.stop()] if self._wants_stop else []
        if self._reset is not None:
            return [*again, self._reset]
        last_seq = int(event["last_seq"])
        if self._executed is not None and self._executed[0] == last_seq > int(event["executed_seq"]):
            again.append(self._executed[1])
        if self._frame is not None and self._frame[0] > last_seq:
            again.append(self._frame[1])
            self._num_lost += max(0, self._frame[0] - max(last_seq, self._first_seq - 1) - 1)
        return again

    # ------------------------------------------------------------------ what was received

    def read(self, data: str | bytes) -> ActionMessage | dict[str, Any] | None:
        """An answer of this life, an event, or None for what is neither. Raises ServeError on `error` events."""
        if isinstance(data, bytes):
            message = decode_action(data)
            self._newest_seq = max(self._newest_seq, message.seq)
            if message.seq < self._first_seq:
                return None
            self._plan = message.plan or self._plan
            return message
        event = parse_event(data)
        match event["type"]:
            case "error":
                self._refused(event.get("error", {}))
                return None
            case "session.created" | "session.resumed":
                self._opened(event)
            case "robot.plan":
                self._plan = plan_from_dict(event["plan"])
            case "session.updated":
                self._reset, self.seed = None, int(event["session"]["seed"])
            case "session.closed" | "session.going_away":
                self.goodbye = f"{event['type']} {event.get('reason', '')}".strip()
        return event

    def hold(self, message: ActionMessage, num_dropped: int, *, waits: bool = False) -> Action:
        """Hold what the newest answer says. waits: the game stood still, so no tick of it has passed."""
        now_ns = self.clock()
        self._held = _Held(message, now_ns, waits)
        num_lost, self._num_lost = self._num_lost, 0
        return Action(
            state=message.states[min(self._tick(self._held, now_ns), len(message.states) - 1)],
            seq=message.seq,
            age_ms=(now_ns - message.capture_ns) / 1e6,
            server_ms=message.age_us / 1e3,
            num_dropped=num_dropped + num_lost,
            is_late=message.is_late,
            confidence=dict(zip(self.model.factors, message.confidence[0].tolist(), strict=True)),
            states=message.states,
            plan=message.plan,
        )

    def take_plan(self) -> CommandPlan | None:
        """The newest plan, once."""
        plan, self._plan = self._plan, None
        return plan

    @property
    def awaits_answer(self) -> bool:
        """Whether the newest frame was sent and its answer not read."""
        return self._newest_seq < self._seq

    def keep(self, message: ActionMessage) -> None:
        """Put an answer aside that came while something else was awaited."""
        earlier = self._unread
        self._unread = message if earlier is None else _merge(earlier, message)

    def take_unread(self) -> ActionMessage | None:
        """The answer that was put aside."""
        message, self._unread = self._unread, None
        return message

    def lose(self) -> None:
        """The connection is gone: every key is up until an answer comes over the next."""
        self.is_down, self._held, self._plan = True, None, None

    def read_offset(self, event: dict[str, Any]) -> ClockOffset:
        """The server's clock, by its answer to `clock.sync`."""
        return ClockOffset.of(event["client_ns"], event["received_ns"], event["sent_ns"], self.clock())

    # ------------------------------------------------------------------ what to press

    @property
    def is_fresh(self) -> bool:
        """Whether the newest answer is no older than `patience_s`."""
        arrived_ns = self._since_ns if self._held is None else self._held.arrived_ns
        return not self.is_down and self.clock() - arrived_ns <= self.config.patience_s * 1e9

    @property
    def state(self) -> InputState:
        """What to hold right now: the newest answer's tick that is due, or what `on_late` says when it is too old."""
        if self.is_down:
            return NEUTRAL
        if self._is_stopped or not self.is_fresh:
            return self._late()
        held = self._held
        return NEUTRAL if held is None else held.message.states[self._index(held)]

    def due(self) -> InputState | None:
        """What to begin to hold now: each tick of an answer once, when its time comes; the fail-safe when it is late.

        None: go on as before.
        """
        if self.is_down or self._is_stopped or not self.is_fresh:
            return self.state
        if (held := self._held) is None:
            return None
        shown = held.message.seq, self._index(held)
        if shown == self._shown:
            return None
        self._shown = shown
        return held.message.states[shown[1]]

    def _late(self) -> InputState:
        if self.config.on_late == "stop":
            self._is_stopped, self._held = True, None
            got, do = f"more than {self.config.patience_s} s", "Every key is released. Stop the game."
            raise LateActionError("no action for too long", got=got, do=do)
        if self.config.on_late == "neutral" or self._held is None:
            return NEUTRAL
        return replace(self._held.message.states[-1], motion=(0, 0), wheel=(0, 0), cursor=None)

    def _index(self, held: _Held) -> int:
        return min(self._tick(held, self.clock()), len(held.message.states) - 1)

    def _tick(self, held: _Held, now_ns: int) -> int:
        """Ticks since the frame was captured: so many of the answer's are over. 0 where the game waits."""
        if held.waits or len(held.message.states) == 1:
            return 0
        return max(0, int((now_ns - held.message.capture_ns) * self.model.fps / 1e9))

    def _opened(self, event: dict[str, Any]) -> None:
        self.id, self.seed = event["session"]["id"], int(event["session"]["seed"])
        self.model = read_model(event["model"])
        if (adapter := event["session"].get("adapter")) is not None:  # its rate is that of the play it learned from
            self.adapter, self.model = adapter["name"], replace(self.model, fps=float(adapter["fps"]))
        self._since_ns = self.clock()
        if (robot := event["session"].get("robot")) is not None:
            self.embodiment = Embodiment.from_dict(robot["embodiment"])
        if (resume := event.get("resume")) is not None:
            self.resume_token, self.resume_s = resume["token"], min(float(resume["timeout_s"]), self.config.resume_s)

    def _refused(self, problem: dict[str, Any]) -> None:
        if problem.get("type") == f"{_PROBLEM}feedback-late":
            self.num_late_feedback += 1
            return
        what, do = f"the server answered: {problem.get('title')}", str(problem.get("detail", ""))
        raise (ResumeRefusedError if problem.get("type") == f"{_PROBLEM}resume-refused" else ServeError)(what, do=do)


def newest_of(messages: list[ActionMessage]) -> ActionMessage | None:
    """The last of several answers, with the drops that the others report; None of none."""
    newest: ActionMessage | None = None
    for message in messages:
        newest = message if newest is None else _merge(newest, message)
    return newest


def _merge(earlier: ActionMessage, later: ActionMessage) -> ActionMessage:
    return replace(later, num_dropped=later.num_dropped + earlier.num_dropped)


def read_model(model: dict[str, Any]) -> ModelInfo:
    """A model as the server describes it."""
    height, width, _channels = model["observation_space"]["shape"]
    return ModelInfo(
        name=model["name"],
        fingerprint=model["fingerprint"],
        height=height,
        width=width,
        fps=model["fps"],
        factors=tuple(model["factors"]),
        action_horizon=model["action_horizon"],
    )


def lost_error(url: str, reason: str) -> ConnectionLostError:
    """The end of a session whose connection is gone for good."""
    do = "Every key is released. See why the server ended, then open a new session: the stream's memory is gone."
    return ConnectionLostError(f"lost the server {url}", got=reason, do=do)
