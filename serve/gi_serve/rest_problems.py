"""What the OpenAPI document says of problems."""

from typing import Any, Final

from gi_serve.problems import KINDS, MEDIA_TYPE

PROBLEM_SCHEMA: Final = {
    "title": "Problem",
    "description": "RFC 9457. Clients compare `type`: urn:gi:problem: and a name of docs/protocol.md.",
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
ANY: Final = (400, 401, 403, 429)  # of every route but health
BODY: Final = (408, 413, 422)  # of routes that take one


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of the problems a route may answer with."""
    return {status: _describe(status) for status in sorted(set(statuses))}


def _describe(status: int) -> dict[str, Any]:
    kinds = [kind for kind in KINDS if kind.status == status]
    described: dict[str, Any] = {
        "description": "; ".join(kind.title for kind in kinds) or "Bad Request",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in (429, 503):
        described["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return described
