"""What REST bodies and control events look like: pydantic at the edge, once a request, never a frame."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gi_model.stepper import Sampling, Stepper
from gi_serve.engine import Engine
from gi_serve.problems import REQUEST_INVALID, Problem
from gi_serve.protocol import MAX_STREAM_ID
from gi_serve.sessions import Session, SessionOptions

ACTION_HORIZON = 1  # ticks an answer: steppers predict the tick at hand
_Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Event = TypeVar("Event", bound=BaseModel)
_Deadline = Annotated[float, Field(gt=0, le=60_000)]


class Strict(BaseModel):
    """Takes what it names, of the type it names, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)


class SamplingSchema(Strict):
    """How actions are drawn."""

    temperature: Annotated[float, Field(gt=0, le=10)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    keys: Literal["sample", "mode"] = "sample"
    motion: Literal["sample", "mode"] = "mode"


class SessionSettings(Strict):
    """Settings of a session; what is left out keeps its value, or takes its default in a new session."""

    seed: _Seed | None = Field(default=None, description="Fixes all randomness; drawn by the server if left out.")
    sampling: SamplingSchema | None = None
    deadline_ms: _Deadline | None = Field(
        default=None, description="An answer later than this is late. Default: one tick."
    )

    def options(self, stepper: Stepper, *, stream_id: int = 0) -> SessionOptions:
        """Options of a new session."""
        sampling = self.sampling or SamplingSchema()
        seed = self.seed if self.seed is not None else secrets.randbits(31)
        deadline_s = 1.0 / stepper.fps if self.deadline_ms is None else self.deadline_ms / 1e3
        return SessionOptions(Sampling(**sampling.model_dump(), seed=seed), deadline_s, stream_id)

    def change(self, options: SessionOptions) -> SessionOptions:
        """`options` with what is set here."""
        old = asdict(options.sampling)
        new = self.sampling.model_dump() if self.sampling else {}
        seed = {} if self.seed is None else {"seed": self.seed}
        deadline_s = options.deadline_s if self.deadline_ms is None else self.deadline_ms / 1e3
        return SessionOptions(Sampling(**{**old, **new, **seed}), deadline_s, options.stream_id)


class NewSession(SessionSettings):
    """Body of `POST /v1/sessions`."""

    model: str | None = Field(default=None, description="Needed only where the server has several.")


class StreamUpdate(NewSession):
    """Body of the event `session.update`: opens the stream's session, or changes it."""

    type: Literal["session.update"]
    stream_id: Annotated[int, Field(ge=0, le=MAX_STREAM_ID)] = 0
    notify: bool | None = Field(
        default=None, description="Send frame.dropped and deadline.missed. Default: in JSON only."
    )


class StreamReset(SessionSettings):
    """Body of the event `session.reset`."""

    type: Literal["session.reset"]
    stream_id: Annotated[int, Field(ge=0, le=MAX_STREAM_ID)] = 0


class StreamClose(Strict):
    """Body of the event `session.close`."""

    type: Literal["session.close"]
    stream_id: Annotated[int, Field(ge=0, le=MAX_STREAM_ID)] = 0


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
    state: Literal["ready", "draining", "failed"]


class SessionView(BaseModel):
    """A session as clients see it."""

    id: str
    model: str
    stream_id: int
    seed: int
    sampling: SamplingSchema
    deadline_ms: float
    num_frames: int
    num_answers: int
    num_dropped: int
    num_late: int


def view_model(engine: Engine) -> ModelView:
    """The model of `engine`."""
    stepper = engine.stepper
    shape = [stepper.height, stepper.width, 3]
    return ModelView(
        name=stepper.name,
        fingerprint=stepper.fingerprint,
        fps=stepper.fps,
        action_horizon=ACTION_HORIZON,
        observation_space={"shape": shape, "dtype": "uint8", "channels": "RGB", "resize": "area"},
        action_space=stepper.action_space.to_dict(),
        factors=list(stepper.factors),
        state="draining" if engine.is_draining else "ready" if engine.is_ready else "failed",
        capacity={"num_slots": stepper.num_slots, "num_free": stepper.num_slots - len(engine.sessions)},
    )


def view_session(session: Session, model: str) -> SessionView:
    """`session` of the model named `model`."""
    sampling = asdict(session.options.sampling)
    return SessionView(
        id=session.id,
        model=model,
        stream_id=session.options.stream_id,
        seed=sampling.pop("seed"),
        sampling=SamplingSchema(**sampling),
        deadline_ms=session.options.deadline_s * 1e3,
        num_frames=session.num_frames,
        num_answers=session.num_answers,
        num_dropped=session.num_dropped,
        num_late=session.num_late,
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
