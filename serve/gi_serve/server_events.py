"""What a stream's events from the server look like: the schemas of the AsyncAPI document.

The server writes its events by hand, because they are on a frame's path; a test holds every event of a busy stream
against these.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from gi_serve.command_plan import Cause
from gi_serve.protocol import MAX_SEQ, MAX_STREAM_ID
from gi_serve.schemas import ModelView, SessionView, StateBody

_StreamId = Annotated[int, Field(ge=0, le=MAX_STREAM_ID)]
_Seq = Annotated[int, Field(ge=0, le=MAX_SEQ)]
_Count = Annotated[int, Field(ge=0)]
_Ns = Annotated[int, Field(ge=-MAX_SEQ - 1, le=MAX_SEQ)]


class ServerEvent(BaseModel):
    """An event from the server."""

    model_config = ConfigDict(extra="forbid")


class ModelSummary(ModelView):
    """A model without the names of its tokens, which are many: `GET /v1/models/{model}` tells them."""


class ResumeOffer(BaseModel):
    """How to come back after a lost connection."""

    model_config = ConfigDict(extra="forbid")
    token: str
    timeout_s: float


class SessionCreated(ServerEvent):
    """The stream is open."""

    type: Literal["session.created"]
    stream_id: _StreamId
    session: SessionView
    model: ModelSummary
    resume: ResumeOffer | None


class SessionUpdated(ServerEvent):
    """The answer to a later `session.update`, and to `session.reset`."""

    type: Literal["session.updated"]
    stream_id: _StreamId
    session: SessionView


class SessionResumed(ServerEvent):
    """The session goes on, on this connection."""

    type: Literal["session.resumed"]
    stream_id: _StreamId
    session: SessionView
    model: ModelSummary
    last_seq: Annotated[int, Field(ge=-1, le=MAX_SEQ)]
    executed_seq: Annotated[int, Field(ge=-1, le=MAX_SEQ)]


class SessionClosed(ServerEvent):
    """The session ended."""

    type: Literal["session.closed"]
    stream_id: _StreamId
    reason: str


class SessionGoingAway(ServerEvent):
    """The server, or the session's model, ends; the stream plays on for `grace_s` seconds at most."""

    type: Literal["session.going_away"]
    stream_id: _StreamId
    grace_s: Annotated[float, Field(ge=0)]


class PlanBody(BaseModel):
    """Commands of the coming tick, for a session that drives a robot."""

    model_config = ConfigDict(extra="forbid")
    cause: Cause
    command_hz: float
    commands: list[list[float]] = Field(description="A row a step: one number an actuator.")
    clamps: list[list[str]] = Field(description="Of each actuator: the kinds of limit that changed what was asked.")


class RobotPlan(ServerEvent):
    """The robot is to go to neutral, for no frame: it was stopped, or no frame came in time."""

    type: Literal["robot.plan"]
    stream_id: _StreamId
    plan: PlanBody


class RobotReleased(ServerEvent):
    """The robot obeys the policy again: the answer to `robot.release`."""

    type: Literal["robot.released"]
    stream_id: _StreamId


class ActionChunk(ServerEvent):
    """An action (`gi.v1.json`; in `gi.v1.bin` it is a binary message)."""

    type: Literal["action.chunk"]
    stream_id: _StreamId
    seq: _Seq
    capture_ns: _Ns
    age_us: _Count
    num_dropped: _Count
    is_late: bool
    actions: list[StateBody] = Field(description="What to hold in each tick; what is neutral is left out.")
    tokens: list[list[int]]
    confidence: list[list[float]]
    plan: PlanBody | None = None


class FrameDropped(ServerEvent):
    """This frame will not be answered."""

    type: Literal["frame.dropped"]
    stream_id: _StreamId
    seq: _Seq


class DeadlineMissed(ServerEvent):
    """This frame was answered late."""

    type: Literal["deadline.missed"]
    stream_id: _StreamId
    seq: _Seq
    late_us: _Count


class KeyframeNeeded(ServerEvent):
    """The next H.264 frame must be a keyframe."""

    type: Literal["keyframe.needed"]
    stream_id: _StreamId


class ClockSynced(ServerEvent):
    """The answer to `clock.sync`: the server's clock when the question came and when this left."""

    type: Literal["clock.sync"]
    client_ns: _Ns
    received_ns: _Ns
    sent_ns: _Ns


class ProblemBody(BaseModel):
    """An RFC 9457 problem."""

    type: str
    title: str
    status: int
    detail: str | None = None
    retry_after_s: int | None = None


class ErrorEvent(ServerEvent):
    """A message was refused, or a frame has no answer; the session and its neighbours live on."""

    type: Literal["error"]
    error: ProblemBody
    stream_id: int | None = None
    seq: int | None = None


SERVER_EVENTS: Final[tuple[type[ServerEvent], ...]] = tuple(ServerEvent.__subclasses__())
