"""REST under /v1: health, metrics, sessions, and one frame a request for clients that cannot stream."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gi_serve.access import Caller
from gi_serve.http_errors import problem_response
from gi_serve.posted_frames import PostedFrames
from gi_serve.problems import DRAINING, MEDIA_UNKNOWN, SESSION_STREAMS, Problem
from gi_serve.protocol import Codec, FrameMessage, check_frame_message
from gi_serve.rest_access import require
from gi_serve.rest_actions import build_action_routes
from gi_serve.rest_adapters import build_adapter_routes
from gi_serve.rest_answers import answer_with
from gi_serve.rest_models import build_model_routes
from gi_serve.rest_problems import ANY, BODY, problems
from gi_serve.rest_recordings import build_recording_routes
from gi_serve.rest_tokens import build_token_routes
from gi_serve.schemas import NewSession, SessionSettings, SessionView, view_session
from gi_serve.service import Service

_CODECS = {"image/jpeg": Codec.JPEG, "image/png": Codec.PNG, "application/octet-stream": Codec.RAW}
_FRAME_BODY = {
    "requestBody": {
        "required": True,
        "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in _CODECS},
    }
}
ACTION_EXAMPLE = {
    "seq": 0,
    "age_us": 2100,
    "num_dropped": 0,
    "is_late": False,
    "actions": [{"keys": ["KeyW"], "motion": [12, 0]}],
}


def build_routes(service: Service) -> APIRouter:
    """Every REST route of `service`."""
    router = APIRouter()
    _add_state_routes(router, service)
    router.include_router(build_token_routes(service))
    router.include_router(build_model_routes(service))
    router.include_router(build_adapter_routes(service))
    _add_session_routes(router, service)
    _add_frame_route(router, service)
    router.include_router(build_action_routes(service))
    router.include_router(build_recording_routes(service))
    return router


def _add_state_routes(router: APIRouter, service: Service) -> None:
    @router.get("/v1/health/live", tags=["health"], responses=problems(400, 403))
    async def live() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "live"}

    @router.get("/v1/health/ready", tags=["health"], responses=problems(400, 403, 503), response_model=dict[str, str])
    async def ready() -> Any:
        """Whether new sessions are taken."""
        return {"status": "ready"} if service.is_ready else problem_response(Problem(DRAINING, retry_after_s=5))

    @router.get(
        "/metrics",
        tags=["health"],
        response_class=Response,
        dependencies=[Depends(require(service.access, "metrics"))],
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(*ANY)},
    )
    async def metrics() -> Response:
        """Prometheus metrics."""
        service.server_metrics.connections = len(service.connections)
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_session_routes(router: APIRouter, service: Service) -> None:
    player = Annotated[Caller, Depends(require(service.access, "play"))]

    @router.post("/v1/sessions", status_code=201, tags=["sessions"], responses=problems(*ANY, 404, *BODY, 503))
    async def open_session(
        caller: player, response: Response, body: Annotated[NewSession | None, Body()] = None
    ) -> SessionView:
        """Open a session: a stream of frames with its own memory, clock, and seed."""
        wanted = body or NewSession()
        engine = service.find_engine(wanted.model)
        session = service.open_session(engine, wanted.options(engine.stepper), PostedFrames(), caller=caller)
        response.headers["Location"] = f"/v1/sessions/{session.id}"
        return view_session(session, engine.stepper.name)

    @router.get("/v1/sessions/{session_id}", tags=["sessions"], responses=problems(*ANY, 404, 422))
    async def get_session(caller: player, session_id: str) -> SessionView:
        """A session's settings and counters."""
        engine, session = service.find_session(session_id, caller)
        return view_session(session, engine.stepper.name)

    @router.patch("/v1/sessions/{session_id}", tags=["sessions"], responses=problems(*ANY, 404, *BODY))
    async def change_session(caller: player, session_id: str, body: SessionSettings) -> SessionView:
        """Change a session: the deadline at once, seed and sampling from the next reset on."""
        engine, session = service.find_session(session_id, caller)
        session.options = engine.check(body.change(session.options))
        return view_session(session, engine.stepper.name)

    @router.post("/v1/sessions/{session_id}/reset", tags=["sessions"], responses=problems(*ANY, 404, *BODY))
    async def reset_session(
        caller: player, session_id: str, body: Annotated[SessionSettings | None, Body()] = None
    ) -> SessionView:
        """Forget all frames and start anew: the same seed and frames give the same actions."""
        engine, session = service.find_session(session_id, caller)
        engine.reset_session(session, (body or SessionSettings()).change(session.options))
        return view_session(session, engine.stepper.name)

    @router.post(
        "/v1/sessions/{session_id}/fork", status_code=201, tags=["sessions"], responses=problems(*ANY, 404, 422, 503)
    )
    async def fork_session(caller: player, session_id: str, response: Response) -> SessionView:
        """Open a session with the memory of another: given the same frames from here on, it answers the same."""
        engine, origin = service.find_session(session_id, caller)
        session = service.fork_session(origin, engine, PostedFrames(), caller=caller)
        response.headers["Location"] = f"/v1/sessions/{session.id}"
        return view_session(session, engine.stepper.name)

    @router.post("/v1/sessions/{session_id}/stop", tags=["sessions"], responses=problems(*ANY, 404, 409, 422))
    async def stop_robot(caller: player, session_id: str) -> SessionView:
        """Bring the session's robot to neutral now, whatever the policy wants, until it is released."""
        engine, session = service.find_session(session_id, caller)
        engine.robots.stop(session)
        return view_session(session, engine.stepper.name)

    @router.post("/v1/sessions/{session_id}/release", tags=["sessions"], responses=problems(*ANY, 404, 409, 422))
    async def release_robot(caller: player, session_id: str) -> SessionView:
        """Let the session's robot obey the policy again."""
        engine, session = service.find_session(session_id, caller)
        engine.robots.release(session)
        return view_session(session, engine.stepper.name)

    @router.delete("/v1/sessions/{session_id}", status_code=204, tags=["sessions"], responses=problems(*ANY, 404, 422))
    async def close_session(caller: player, session_id: str) -> None:
        """End a session."""
        engine, session = service.find_session(session_id, caller)
        engine.close_session(session, reason="client")


def _add_frame_route(router: APIRouter, service: Service) -> None:
    @router.post(
        "/v1/sessions/{session_id}/frames",
        tags=["frames"],
        openapi_extra=_FRAME_BODY,
        responses={
            200: {"content": {"application/json": {"example": ACTION_EXAMPLE}}},
            **problems(*ANY, 404, 409, 410, *BODY, 415, 500),
        },
    )
    async def post_frame(
        caller: Annotated[Caller, Depends(require(service.access, "play"))],
        session_id: str,
        request: Request,
        frame_width: Annotated[int, Header(ge=0, le=65535, description="Of a raw frame.")] = 0,
        frame_height: Annotated[int, Header(ge=0, le=65535, description="Of a raw frame.")] = 0,
    ) -> Response:
        """One frame in, its action out."""
        started = time.perf_counter()
        engine, session = service.find_session(session_id, caller)
        if not isinstance(session.sink, PostedFrames):
            raise Problem(SESSION_STREAMS, "Send its frames over the WebSocket that opened it.")
        codec = _codec_of(request)
        data = await request.body()
        message = FrameMessage(session.last_seq + 1, 0, codec, data, frame_width, frame_height)
        check_frame_message(message)
        engine.metrics.receive.observe(time.perf_counter() - started)
        answer = session.sink.expect(session, message.seq)
        service.intakes[engine.stepper.name].offer(session, message)
        return answer_with(engine, await answer)


def _codec_of(request: Request) -> Codec:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in _CODECS:
        raise Problem(MEDIA_UNKNOWN, f"Send one of: {', '.join(_CODECS)}.")
    return _CODECS[media]
