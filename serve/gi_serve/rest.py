"""REST under /v1: health, models, sessions, and one frame a request for clients that cannot stream."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gi_serve.http_errors import problem_response
from gi_serve.posted_frames import PostedFrames
from gi_serve.problems import DRAINING, FRAME_TOO_LARGE, KINDS, MEDIA_TYPE, MEDIA_UNKNOWN, SESSION_STREAMS, Problem
from gi_serve.protocol import MAX_IMAGE_BYTES, Codec, FrameMessage, check_frame_message
from gi_serve.protocol_json import action_to_event
from gi_serve.schemas import ModelView, NewSession, SessionSettings, SessionView, view_model, view_session
from gi_serve.service import Service

_CODECS = {"image/jpeg": Codec.JPEG, "image/png": Codec.PNG, "application/octet-stream": Codec.RAW}
_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "retry_after_s": {"type": "integer"},
    },
}
_FRAME_BODY = {
    "requestBody": {
        "required": True,
        "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in _CODECS},
    }
}
_ACTION_EXAMPLE = {
    "seq": 0,
    "age_us": 2100,
    "num_dropped": 0,
    "is_late": False,
    "actions": [{"keys": ["KeyW"], "motion": [12, 0]}],
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of the problems a route may answer with."""
    titles = {status: [kind.title for kind in KINDS if kind.status == status] for status in statuses}
    content = {MEDIA_TYPE: {"schema": _PROBLEM_SCHEMA}}
    return {status: {"description": "; ".join(titles[status]), "content": content} for status in statuses}


def build_routes(service: Service) -> APIRouter:
    """Every REST route of `service`."""
    router = APIRouter()
    _add_state_routes(router, service)
    _add_session_routes(router, service)
    _add_frame_route(router, service)
    return router


def _add_state_routes(router: APIRouter, service: Service) -> None:
    @router.get("/v1/health/live", tags=["health"])
    async def live() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "live"}

    @router.get("/v1/health/ready", tags=["health"], responses=problems(503), response_model=dict[str, str])
    async def ready() -> Any:
        """Whether new sessions are taken."""
        return {"status": "ready"} if service.is_ready else problem_response(Problem(DRAINING))

    @router.get("/v1/models", tags=["models"])
    async def list_models() -> list[ModelView]:
        """Every model of this server."""
        return [view_model(engine) for engine in service.engines.values()]

    @router.get("/v1/models/{model}", tags=["models"], responses=problems(404, 422))
    async def get_model(model: str) -> ModelView:
        """One model: what it sees, what it answers, how many it can serve."""
        return view_model(service.find_engine(model))

    @router.get("/metrics", tags=["health"], response_class=Response)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_session_routes(router: APIRouter, service: Service) -> None:
    @router.post("/v1/sessions", status_code=201, tags=["sessions"], responses=problems(404, 422, 503))
    async def open_session(response: Response, body: Annotated[NewSession | None, Body()] = None) -> SessionView:
        """Open a session: a stream of frames with its own memory, clock, and seed."""
        wanted = body or NewSession()
        engine = service.find_engine(wanted.model)
        session = engine.open_session(wanted.options(engine.stepper), PostedFrames())
        response.headers["Location"] = f"/v1/sessions/{session.id}"
        return view_session(session, engine.stepper.name)

    @router.get("/v1/sessions/{session_id}", tags=["sessions"], responses=problems(404, 422))
    async def get_session(session_id: str) -> SessionView:
        """A session's settings and counters."""
        engine, session = service.find_session(session_id)
        return view_session(session, engine.stepper.name)

    @router.patch("/v1/sessions/{session_id}", tags=["sessions"], responses=problems(404, 422))
    async def change_session(session_id: str, body: SessionSettings) -> SessionView:
        """Change a session: the deadline at once, seed and sampling from the next reset on."""
        engine, session = service.find_session(session_id)
        session.options = body.change(session.options)
        return view_session(session, engine.stepper.name)

    @router.post("/v1/sessions/{session_id}/reset", tags=["sessions"], responses=problems(404, 422))
    async def reset_session(session_id: str, body: Annotated[SessionSettings | None, Body()] = None) -> SessionView:
        """Forget all frames and start anew: the same seed and frames give the same actions."""
        engine, session = service.find_session(session_id)
        engine.reset_session(session, (body or SessionSettings()).change(session.options))
        return view_session(session, engine.stepper.name)

    @router.delete("/v1/sessions/{session_id}", status_code=204, tags=["sessions"], responses=problems(404, 422))
    async def close_session(session_id: str) -> None:
        """End a session."""
        engine, session = service.find_session(session_id)
        engine.close_session(session, reason="client")


def _add_frame_route(router: APIRouter, service: Service) -> None:
    @router.post(
        "/v1/sessions/{session_id}/frames",
        tags=["frames"],
        openapi_extra=_FRAME_BODY,
        responses={
            200: {"content": {"application/json": {"example": _ACTION_EXAMPLE}}},
            **problems(404, 409, 410, 413, 415, 422, 500),
        },
    )
    async def post_frame(
        session_id: str,
        request: Request,
        frame_width: Annotated[int, Header(ge=0, le=65535, description="Of a raw frame.")] = 0,
        frame_height: Annotated[int, Header(ge=0, le=65535, description="Of a raw frame.")] = 0,
    ) -> Response:
        """One frame in, its action out."""
        engine, session = service.find_session(session_id)
        if not isinstance(session.sink, PostedFrames):
            raise Problem(SESSION_STREAMS, "Send its frames over the WebSocket that opened it.")
        codec = _codec_of(request)
        data = await _read_body(request)
        message = FrameMessage(session.last_seq + 1, 0, codec, data, frame_width, frame_height)
        check_frame_message(message)
        answer = session.sink.expect(session, message.seq)
        service.intakes[engine.stepper.name].offer(session, message)
        return JSONResponse(action_to_event(await answer))


def _codec_of(request: Request) -> Codec:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in _CODECS:
        raise Problem(MEDIA_UNKNOWN, f"Send one of: {', '.join(_CODECS)}.")
    return _CODECS[media]


async def _read_body(request: Request) -> bytes:
    """The body, up to the limit: what is longer is refused before it is held."""
    parts, num_bytes = [], 0
    async for part in request.stream():
        parts.append(part)
        num_bytes += len(part)
        if num_bytes > MAX_IMAGE_BYTES:
            raise Problem(FRAME_TOO_LARGE, f"A frame has at most {MAX_IMAGE_BYTES} bytes.")
    return b"".join(parts)
