"""What REST bodies and control events look like: pydantic at the edge, once a request, never a frame."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gi_model.actions.inputs import MAX_COMMANDS
from gi_model.embodiment import Embodiment
from gi_model.stepper import Keys, Sampling, Stepper
from gi_serve.engine import Engine
from gi_serve.problems import REQUEST_INVALID, Problem
from gi_serve.protocol import MAX_SEQ, MAX_STREAM_ID
from gi_serve.robot_session import RobotSession
from gi_serve.sessions import Session, SessionOptions

if TYPE_CHECKING:
    from gi_model.adapters import AdapterConfig

_Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Event = TypeVar("Event", bound=BaseModel)
_StreamId = Annotated[int, Field(ge=0, le=MAX_STREAM_ID)]
_Deadline = Annotated[float, Field(gt=0, le=60_000)]
_COMMANDS = {"type": "array", "items": {"type": "number"}, "maxItems": MAX_COMMANDS}
StateBody = Annotated[dict[str, Any], Field(json_schema_extra={"properties": {"commands": _COMMANDS}})]


class Strict(BaseModel):
    """Takes what it names, of the type it names, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)


class SamplingSchema(Strict):
    """How actions are drawn."""

    temperature: Annotated[float, Field(gt=0, le=10)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    keys: Keys = "sample"
    motion: Literal["sample", "mode"] = "mode"


class SessionSettings(Strict):
    """Settings of a session; what is left out keeps its value, or takes its default in a new session."""

    seed: _Seed | None = Field(default=None, description="Fixes all randomness; drawn by the server if left out.")
    sampling: SamplingSchema | None = None
    deadline_ms: _Deadline | None = Field(
        default=None, description="An answer later than this is late. Default: one tick."
    )
    fps: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        default=None, description="Frames a second that will be sent, for admission. Default: the model's."
    )

    def options(self, stepper: Stepper, *, stream_id: int = 0) -> SessionOptions:
        """Options of a new session."""
        sampling = self.sampling or SamplingSchema()
        seed = self.seed if self.seed is not None else secrets.randbits(31)
        deadline_s = 1.0 / self._rate(stepper) if self.deadline_ms is None else self.deadline_ms / 1e3
        fps = self.fps or self._rate(stepper)
        return SessionOptions(Sampling(**sampling.model_dump(), seed=seed), deadline_s, stream_id, fps)

    def _rate(self, stepper: Stepper) -> float:
        """Ticks a second, unless something else is said."""
        return stepper.fps

    def change(self, options: SessionOptions) -> SessionOptions:
        """`options` with what is set here."""
        old = asdict(options.sampling)
        new = self.sampling.model_dump() if self.sampling else {}
        seed = {} if self.seed is None else {"seed": self.seed}
        deadline_s = options.deadline_s if self.deadline_ms is None else self.deadline_ms / 1e3
        sampling = Sampling(**{**old, **new, **seed})
        return replace(options, sampling=sampling, deadline_s=deadline_s, fps=self.fps or options.fps)


class NewSession(SessionSettings):
    """Body of `POST /v1/sessions`."""

    model: str | None = Field(default=None, description="Needed only where the server has several.")
    adapter: str | None = Field(
        default=None, max_length=64, description="One of `GET /v1/adapters`, of that model. Default: the model alone."
    )
    embodiment: dict[str, Any] | None = Field(
        default=None,
        description="The body it drives, with the keys of embodiment.toml: actions carry commands inside its envelope.",
    )
    lockstep: bool = Field(default=False, description="The body waits for each answer: no watchdog.")

    def options(self, stepper: Stepper, *, stream_id: int = 0) -> SessionOptions:
        """Options of a new session. Raises GiError on an embodiment that is none."""
        body = None if self.embodiment is None else Embodiment.from_dict(self.embodiment)
        made = super().options(stepper, stream_id=stream_id)
        return replace(made, adapter=self.adapter, embodiment=body, lockstep=self.lockstep)

    def _rate(self, stepper: Stepper) -> float:
        """The adapter's, if it is there."""
        config = None if self.adapter is None else stepper.adapters.get(self.adapter)
        return stepper.fps if config is None else config.fps


class StreamUpdate(NewSession):
    """Body of the event `session.update`: opens the stream's session, or changes it."""

    type: Literal["session.update"]
    stream_id: _StreamId = 0
    notify: bool | None = Field(
        default=None, description="Send frame.dropped and deadline.missed. Default: in JSON only."
    )
    resume: bool = Field(default=False, description="When opening: keep the session a while if the connection is lost.")


class StreamResume(Strict):
    """Body of the event `session.resume`: go on with a session whose connection was lost."""

    type: Literal["session.resume"]
    session_id: Annotated[str, Field(max_length=64)]
    token: Annotated[str, Field(max_length=128, description="`resume.token` of session.created.")]
    stream_id: _StreamId = 0
    answered_seq: Annotated[int, Field(ge=-1, le=MAX_SEQ)] = Field(
        default=MAX_SEQ, description="The newest answer you have, -1 for none: a newer one is sent again."
    )
    notify: bool | None = None


class RobotStop(Strict):
    """Body of the event `robot.stop`: to neutral now, whatever the policy wants, until `robot.release`."""

    type: Literal["robot.stop"]
    stream_id: _StreamId = 0


class RobotRelease(Strict):
    """Body of the event `robot.release`: obey the policy again."""

    type: Literal["robot.release"]
    stream_id: _StreamId = 0


class StreamFork(Strict):
    """Body of the event `session.fork`: a new stream that goes on as this one would."""

    type: Literal["session.fork"]
    stream_id: _StreamId = 0
    to_stream_id: _StreamId


class ActionExecuted(Strict):
    """Body of the event `action.executed`: what was really held in the tick of a frame."""

    type: Literal["action.executed"]
    stream_id: _StreamId = 0
    seq: Annotated[int, Field(ge=0, le=MAX_SEQ)]
    action: StateBody = Field(description="An input state, as in `actions` of an answer.")


class ClockSync(Strict):
    """Body of the event `clock.sync`: ask for the server's time."""

    type: Literal["clock.sync"]
    client_ns: Annotated[int, Field(ge=-MAX_SEQ - 1, le=MAX_SEQ)]


class StreamReset(SessionSettings):
    """Body of the event `session.reset`."""

    type: Literal["session.reset"]
    stream_id: _StreamId = 0


class StreamClose(Strict):
    """Body of the event `session.close`."""

    type: Literal["session.close"]
    stream_id: _StreamId = 0


class ModelView(BaseModel):
    """A model as clients see it."""

    name: str
    fingerprint: str
    fps: float
    action_horizon: int
    observation_space: dict[str, Any]
    action_space: dict[str, Any]
    factors: list[str]
    capacity: dict[str, Any]
    adapters: list[str] = Field(description="What a session may name as its `adapter`.")
    state: Literal["ready", "draining", "failed"]


class AdapterView(BaseModel):
    """An adapter as clients see it."""

    name: str
    model: str
    fingerprint: str
    base_fingerprint: str
    fps: float
    rank: int
    embodiment: str | None = Field(description="Name of the body that it drives.")
    num_sessions: int
    state: Literal["ready", "draining"]


class SessionAdapter(BaseModel):
    """What a session plays with. fps: ticks a second of the play it was trained on."""

    name: str
    fingerprint: str
    fps: float


class RobotView(BaseModel):
    """The body that a session drives."""

    embodiment: dict[str, Any]
    fingerprint: str
    is_stopped: bool
    command: list[float] = Field(description="The last one planned, an actuator each.")
    clamps: dict[str, dict[str, int]] = Field(description="By actuator and kind: how many ticks a limit changed.")
    shielded: dict[str, int] = Field(description="Actions by what the shield did: allowed, replaced, vetoed, failed.")
    num_stops: int
    num_watchdogs: int


class SessionView(BaseModel):
    """A session as clients see it."""

    id: str
    model: str
    adapter: SessionAdapter | None
    stream_id: int
    seed: int
    sampling: SamplingSchema
    deadline_ms: float
    num_frames: int
    num_answers: int
    num_dropped: int
    num_late: int
    robot: RobotView | None = None


def view_model(engine: Engine) -> ModelView:
    """The model of `engine`."""
    stepper = engine.stepper
    shape = [stepper.height, stepper.width, 3]
    return ModelView(
        name=stepper.name,
        fingerprint=stepper.fingerprint,
        fps=stepper.fps,
        action_horizon=stepper.action_horizon,
        observation_space={"shape": shape, "dtype": "uint8", "channels": "RGB", "resize": "area"},
        action_space=stepper.action_space.to_dict(),
        factors=list(stepper.factors),
        state="draining" if engine.is_draining else "ready" if engine.is_ready else "failed",
        capacity=engine.capacity,
        adapters=[config.name for config in engine.adapters.configs],
    )


def view_adapter(engine: Engine, config: "AdapterConfig") -> AdapterView:
    """An adapter of the model of `engine`."""
    return AdapterView(
        name=config.name,
        model=engine.stepper.name,
        fingerprint=config.fingerprint,
        base_fingerprint=config.base_fingerprint,
        fps=config.fps,
        rank=config.rank,
        embodiment=None if config.embodiment is None else config.embodiment.name,
        num_sessions=len(engine.adapters.sessions_of(config.name)),
        state="draining" if engine.adapters.is_going(config.name) else "ready",
    )


def view_session_adapter(config: "AdapterConfig") -> SessionAdapter:
    """What a session says of its adapter."""
    return SessionAdapter(name=config.name, fingerprint=config.fingerprint, fps=config.fps)


def view_session(session: Session, model: str) -> SessionView:
    """`session` of the model named `model`."""
    sampling = asdict(session.options.sampling)
    return SessionView(
        id=session.id,
        model=model,
        adapter=None if session.adapter is None else view_session_adapter(session.adapter),
        stream_id=session.options.stream_id,
        seed=sampling.pop("seed"),
        sampling=SamplingSchema(**sampling),
        deadline_ms=session.options.deadline_s * 1e3,
        num_frames=session.num_frames,
        num_answers=session.num_answers,
        num_dropped=session.num_dropped,
        num_late=session.num_late,
        robot=None if session.robot is None else view_robot(session.robot),
    )


def view_robot(robot: RobotSession) -> RobotView:
    """The body of a session."""
    return RobotView(
        embodiment=robot.embodiment.to_dict(),
        fingerprint=robot.embodiment.fingerprint,
        is_stopped=robot.envelope.is_stopped,
        command=robot.envelope.command.tolist(),
        clamps=robot.clamps_by_name(),
        shielded={str(outcome): count for outcome, count in robot.shielded.items()},
        num_stops=robot.num_stops,
        num_watchdogs=robot.num_watchdogs,
    )


def read_event(schema: type[Event], event: Mapping[str, Any]) -> Event:
    """`event` as `schema`. Raises Problem naming the first field that is wrong."""
    try:
        return schema.model_validate(event)
    except ValidationError as error:
        raise Problem(REQUEST_INVALID, describe_invalid(error.errors()[0])) from None


def describe_invalid(error: Any) -> str:
    """One line of a pydantic error: where, and what."""
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {error['msg']}" if where else str(error["msg"])
