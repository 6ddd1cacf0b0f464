"""Who may call a route: a dependency a scope, which also puts the lock on the route in the OpenAPI document."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from gi_serve.access import Access, Caller
from gi_serve.keys import Scope

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="An API key (`gi keys new`), or a client token (`POST /v1/tokens`). Servers without keys ask for none.",
)


def require(access: Access, scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """A FastAPI dependency: the caller, if it has `scope` and did not ask too often; else it raises Problem."""

    async def find_caller(
        request: Request, _shown: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None
    ) -> Caller:
        caller = access.identify(request.headers.get("authorization")).check(scope)
        access.admit(caller, request.client.host if request.client else "")
        trace_parent = request.headers.get("traceparent")
        return caller if trace_parent is None else replace(caller, trace_parent=trace_parent)

    return find_caller
