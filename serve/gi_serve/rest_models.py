"""Models: what the server has, and, for those with the scope admin, how they come and go while others play."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from gi_serve.model_loading import NAME
from gi_serve.rest_access import require
from gi_serve.rest_problems import ANY, BODY, problems
from gi_serve.schemas import ModelView, Strict, view_model
from gi_serve.service import Service


class NewModel(Strict):
    """Body of `POST /v1/models`."""

    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$", description="What sessions will ask for.")]
    path: Annotated[str, Field(max_length=1024, description="A checkpoint's folder, relative to --models-dir.")]


def build_model_routes(service: Service) -> APIRouter:
    """The routes of `service`."""
    router = APIRouter(tags=["models"])
    may_play, may_change = Depends(require(service.access, "play")), Depends(require(service.access, "admin"))

    @router.get("/v1/models", dependencies=[may_play], responses=problems(*ANY))
    async def list_models() -> list[ModelView]:
        """Every model of this server."""
        return [view_model(engine) for engine in service.engines.values()]

    @router.get("/v1/models/{model}", dependencies=[may_play], responses=problems(*ANY, 404, 422))
    async def get_model(model: str) -> ModelView:
        """One model: what it sees, what it answers, how many it can serve."""
        return view_model(service.find_engine(model))

    @router.post("/v1/models", status_code=201, dependencies=[may_change], responses=problems(*ANY, 409, *BODY, 503))
    async def load_model(body: NewModel, response: Response) -> ModelView:
        """Load a checkpoint below the server's folder of models; answers when it is warm. Nobody else waits for it."""
        engine = await service.load_model(body.name, body.path)
        response.headers["Location"] = f"/v1/models/{body.name}"
        return view_model(engine)

    @router.delete("/v1/models/{model}", status_code=202, dependencies=[may_change], responses=problems(*ANY, 404, 422))
    async def unload_model(model: str) -> ModelView:
        """Let the model's sessions know, let them play on for the server's `--drain-seconds`, then unload it."""
        return view_model(service.unload_model(model))

    return router
