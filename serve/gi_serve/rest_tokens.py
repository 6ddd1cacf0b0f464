"""`POST /v1/tokens`: a game's backend asks, with its key, for what one player's browser may use instead."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import Field

from gi_serve.access import SUBPROTOCOL, Caller
from gi_serve.client_tokens import MAX_SECONDS
from gi_serve.rest_access import require
from gi_serve.rest_problems import ANY, BODY, problems
from gi_serve.schemas import Strict
from gi_serve.service import Service


class NewToken(Strict):
    """Body of `POST /v1/tokens`."""

    expires_in_s: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 300
    scopes: Annotated[tuple[Literal["play", "metrics"], ...], Field(min_length=1, strict=False)] = ("play",)


class TokenView(Strict):
    """A client token. expires: Unix seconds."""

    token: str
    expires: int
    subprotocol: Annotated[str, Field(description="What a browser's WebSocket offers beside gi.v1.bin.")]


def build_token_routes(service: Service) -> APIRouter:
    """The route of `service`."""
    router = APIRouter()

    @router.post("/v1/tokens", status_code=201, tags=["tokens"], responses=problems(*ANY, *BODY))
    async def make_token(
        caller: Annotated[Caller, Depends(require(service.access, "play"))], body: NewToken | None = None
    ) -> TokenView:
        """A short-lived token for a player's own machine."""
        wanted = body or NewToken()
        text, token = service.access.mint(caller, wanted.scopes, seconds=wanted.expires_in_s)
        return TokenView(token=text, expires=token.expires, subprotocol=SUBPROTOCOL + text)

    return router
