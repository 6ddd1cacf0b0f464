"""`build_app`: the service as an ASGI application: REST, the realtime stream, problems for errors, OpenAPI."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI, WebSocket
from fastapi.responses import PlainTextResponse

from gi_model import __version__
from gi_serve.asyncapi import build_asyncapi
from gi_serve.guard import Guard
from gi_serve.http_errors import install_errors
from gi_serve.openpi import PATHS, serve_openpi
from gi_serve.pages import install_pages
from gi_serve.realtime import serve_stream
from gi_serve.rest import build_routes
from gi_serve.rest_problems import PROBLEM_SCHEMA
from gi_serve.rest_watch import build_watch_routes
from gi_serve.service import Service

DESCRIPTION = "Frames in, actions out. Streams go over the WebSocket /v1/realtime; see docs/protocol.md."


def build_app(service: Service) -> FastAPI:
    """The application of `service`, which starts and stops with it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        async with AsyncExitStack() as beside:
            if service.config.recap:
                from gi_serve.recap import serving_recap  # protobuf is needed for it alone

                await beside.enter_async_context(serving_recap(service, service.config.recap))
            yield
        await service.stop()

    app = FastAPI(title="gi serve", version=__version__, description=DESCRIPTION, lifespan=lifespan)
    app.add_middleware(Guard, access=service.access, metrics=service.server_metrics)
    install_errors(app, service.server_metrics)
    app.include_router(build_routes(service))

    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        document["components"]["schemas"]["Problem"] = PROBLEM_SCHEMA  # which routes refer to by hand
        return document

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/asyncapi.json", include_in_schema=False)
    async def asyncapi() -> dict[str, Any]:
        return build_asyncapi()

    @app.websocket("/v1/realtime")
    async def realtime(websocket: WebSocket) -> None:
        await serve_stream(websocket, service)

    for path in PATHS:

        @app.websocket(path)
        async def openpi(websocket: WebSocket) -> None:
            await serve_openpi(websocket, service)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("OK")  # what openpi's clients ask

    if service.config.has_pages:
        app.include_router(build_watch_routes(service))
        install_pages(app)
    return app
