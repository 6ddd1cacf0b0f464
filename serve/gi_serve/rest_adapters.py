"""Adapters: what sessions may play with, and, for those with the scope admin, how they come and go meanwhile."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from gi_serve.model_loading import NAME
from gi_serve.rest_access import require
from gi_serve.rest_problems import ANY, BODY, problems
from gi_serve.schemas import AdapterView, Strict, view_adapter
from gi_serve.service import Service

_Model = Annotated[str | None, Query(max_length=64, description="Needed only where several models have one of it.")]


class NewAdapter(Strict):
    """Body of `POST /v1/adapters`."""

    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$", description="What sessions will ask for.")]
    path: Annotated[str, Field(max_length=1024, description="An adapter's folder, relative to --adapters-dir.")]
    model: str | None = Field(default=None, description="Default: the one it was trained on, by its fingerprint.")


def build_adapter_routes(service: Service) -> APIRouter:
    """The routes of `service`."""
    router = APIRouter(tags=["adapters"])
    may_play, may_change = Depends(require(service.access, "play")), Depends(require(service.access, "admin"))

    @router.get("/v1/adapters", dependencies=[may_play], responses=problems(*ANY))
    async def list_adapters() -> list[AdapterView]:
        """Every adapter of every model of this server."""
        return [view_adapter(engine, config) for engine, config in service.adapters.all()]

    @router.get("/v1/adapters/{adapter}", dependencies=[may_play], responses=problems(*ANY, 404, 422))
    async def get_adapter(adapter: str, model: _Model = None) -> AdapterView:
        """One adapter."""
        return view_adapter(*service.adapters.find(adapter, model))

    @router.post(
        "/v1/adapters", status_code=201, dependencies=[may_change], responses=problems(*ANY, 404, 409, *BODY, 503)
    )
    async def load_adapter(body: NewAdapter, response: Response) -> AdapterView:
        """Load an adapter below the server's folder of adapters. Sessions that play do not notice."""
        engine, config = await service.adapters.load(body.name, body.path, body.model)
        response.headers["Location"] = f"/v1/adapters/{body.name}"
        return view_adapter(engine, config)

    @router.delete(
        "/v1/adapters/{adapter}", status_code=202, dependencies=[may_change], responses=problems(*ANY, 404, 422)
    )
    async def unload_adapter(adapter: str, model: _Model = None) -> AdapterView:
        """Let the adapter's sessions know, let them play on for the server's `--drain-seconds`, then unload it."""
        return view_adapter(*service.adapters.unload(adapter, model))

    return router
