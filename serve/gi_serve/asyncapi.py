"""The AsyncAPI 3 document of the WebSocket /v1/realtime, made of the models that read and describe its events.

As AsyncAPI has it, the document speaks for the server: what it receives is what clients send.
"""

from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from gi_model import __version__
from gi_serve import schemas
from gi_serve.protocol import BINARY, JSON, MAX_SEQ, MAX_STREAM_ID
from gi_serve.server_events import SERVER_EVENTS

DESCRIPTION: Final = (
    f"Frames stream in, actions stream out. Subprotocols: {BINARY} (frames and actions are binary messages) and {JSON} "
    "(all is JSON). The bytes of binary messages, and what the server promises: docs/protocol.md."
)
_BINARY: Final = {
    "FrameBytes": f"A frame in {BINARY}: a header of 24 bytes, width, height, pixels or an image file.",
    "ActionBytes": f"An action in {BINARY}: a header of 24 bytes, then age, counts, input states, tokens.",
}


class FrameEvent(schemas.Strict):
    """A frame (`gi.v1.json`; in `gi.v1.bin` it is a binary message)."""

    type: Literal["frame"]
    stream_id: int = Field(default=0, ge=0, le=MAX_STREAM_ID)
    seq: int = Field(ge=0, le=MAX_SEQ)
    capture_ns: int = Field(default=0, ge=-MAX_SEQ - 1, le=MAX_SEQ)
    codec: Literal["raw", "jpeg", "png", "h264"]
    width: int = Field(default=0, ge=0, le=2**16 - 1)
    height: int = Field(default=0, ge=0, le=2**16 - 1)
    data: str = Field(json_schema_extra={"contentEncoding": "base64"})


def client_events() -> list[type[BaseModel]]:
    """Every model of an event that clients send: whichever in `schemas` has a fixed `type`."""
    models = [each for each in vars(schemas).values() if isinstance(each, type) and issubclass(each, BaseModel)]
    return [*(model for model in models if "type" in model.model_fields), FrameEvent]


def name_of(model: type[BaseModel]) -> str:
    """The event's `type`."""
    name: str = get_args(model.model_fields["type"].annotation)[0]
    return name


def build_asyncapi() -> dict[str, Any]:
    """The document, as JSON."""
    received, sent = client_events(), list(SERVER_EVENTS)
    _, definitions = models_json_schema(
        [(model, "validation") for model in (*received, *sent)], ref_template="#/components/schemas/{model}"
    )
    messages = {model.__name__: _message(model) for model in (*received, *sent)}
    messages |= {name: _binary_message(name, text) for name, text in _BINARY.items()}
    takes = [*(model.__name__ for model in received), "FrameBytes"]
    tells = [*(model.__name__ for model in sent), "ActionBytes"]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "gi serve", "version": __version__, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "local": {"host": "127.0.0.1:8000", "protocol": "ws", "security": [_ref("components/securitySchemes/key")]}
        },
        "channels": {
            "realtime": {
                "address": "/v1/realtime",
                "messages": {name: _ref(f"components/messages/{name}") for name in messages},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {"take": _operation("receive", takes), "tell": _operation("send", tells)},
        "components": {
            "messages": messages,
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key or client token; browsers offer the subprotocol gi.auth.TOKEN instead.",
                }
            },
        },
    }


def _message(model: type[BaseModel]) -> dict[str, Any]:
    summary = (model.__doc__ or "").strip().partition("\n")[0]
    return {"name": name_of(model), "summary": summary, "payload": _ref(f"components/schemas/{model.__name__}")}


def _binary_message(name: str, summary: str) -> dict[str, Any]:
    payload = {"type": "string", "format": "binary"}
    return {"name": name, "summary": summary, "contentType": "application/octet-stream", "payload": payload}


def _operation(action: Literal["send", "receive"], names: list[str]) -> dict[str, Any]:
    messages = [_ref(f"channels/realtime/messages/{name}") for name in names]
    return {"action": action, "channel": _ref("channels/realtime"), "messages": messages}


def _ref(path: str) -> dict[str, str]:
    return {"$ref": f"#/{path}"}
