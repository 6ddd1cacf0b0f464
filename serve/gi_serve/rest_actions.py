"""`POST /v1/actions`: one window of frames in, the action after its last frame out. Nothing is kept.

The window is played through a session of its own, so that the answer is that of a stream which saw the same frames;
it takes a slot for as long as that lasts. Rejected: multipart (a parser of strangers' bytes, a dependency).
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends
from fastapi.responses import JSONResponse
from pydantic import Field

from gi_serve.access import Caller
from gi_serve.engine import Engine
from gi_serve.posted_frames import PostedFrames
from gi_serve.protocol import ActionMessage, FrameMessage
from gi_serve.protocol_json import frame_from_event
from gi_serve.rest_access import require
from gi_serve.rest_answers import answer_with
from gi_serve.rest_problems import ANY, BODY, problems
from gi_serve.schemas import NewSession, Strict
from gi_serve.service import Service
from gi_serve.sessions import Session

MAX_FRAMES = 256
_Side = Annotated[int, Field(ge=0, le=65535, description="Of raw pixels; 0 for JPEG and PNG.")]


class WindowFrame(Strict):
    """One frame of a window."""

    codec: Literal["raw", "jpeg", "png"]
    data: Annotated[str, Field(description="base64", json_schema_extra={"contentEncoding": "base64"})]
    width: _Side = 0
    height: _Side = 0


class Window(NewSession):
    """Body of `POST /v1/actions`: frames in order, a tick apart, and the settings of a session."""

    frames: Annotated[list[WindowFrame], Field(min_length=1, max_length=MAX_FRAMES)]


def build_action_routes(service: Service) -> APIRouter:
    """The route of `service`."""
    router = APIRouter()

    @router.post(
        "/v1/actions",
        tags=["frames"],
        responses=problems(*ANY, 404, 410, *BODY, 500, 503),
        response_model=dict[str, Any],
    )
    async def act(
        caller: Annotated[Caller, Depends(require(service.access, "play"))], body: Annotated[Window, Body()]
    ) -> JSONResponse:
        """The action after the window's last frame, as in `gi.v1.json`."""
        messages = _read_frames(body)
        engine = service.find_engine(body.model)
        sink = PostedFrames()
        session = service.open_session(engine, body.options(engine.stepper), sink, caller=caller)
        try:
            answer = await _play(service, engine, session, messages)
        finally:
            engine.close_session(session, reason="client")
        return answer_with(engine, answer, model=engine.stepper.name, seed=session.options.sampling.seed)

    return router


def _read_frames(window: Window) -> list[FrameMessage]:
    """Every frame checked before one is played."""
    return [frame_from_event({**frame.model_dump(), "seq": seq}) for seq, frame in enumerate(window.frames)]


async def _play(service: Service, engine: Engine, session: Session, messages: Sequence[FrameMessage]) -> ActionMessage:
    assert isinstance(session.sink, PostedFrames)
    session.frame_bucket = None  # a window comes at once; its request was counted
    for message in messages:
        waiting = session.sink.expect(session, message.seq)
        service.intakes[engine.stepper.name].offer(session, message)
        answer = await waiting
    return answer
