"""An action as an HTTP answer."""

import time
from typing import Any

from fastapi.responses import JSONResponse

from gi_serve.engine import Engine
from gi_serve.protocol import ActionMessage
from gi_serve.protocol_json import action_to_event


def answer_with(engine: Engine, message: ActionMessage, **extra: Any) -> JSONResponse:
    """`message` in JSON, with `extra` fields; what it took to write is counted."""
    started = time.perf_counter()
    response = JSONResponse({**action_to_event(message), **extra})
    engine.metrics.encode.observe(time.perf_counter() - started)
    return response
