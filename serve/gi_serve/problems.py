"""Problems: every refusal of the API, as RFC 9457 `application/problem+json` and as the `error` event of a stream.

A kind has a stable URN, an HTTP status, and a title; an occurrence adds what was wrong in words for the client. What
goes wrong inside the server is logged there and leaves as `internal`, without its message.
"""

from dataclasses import dataclass
from typing import Any, Final

from gi_model.errors import GiError, ServeError
from gi_serve.protocol import ProtocolError

MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One row of the table in docs/protocol.md."""

    slug: str
    status: int
    title: str

    @property
    def urn(self) -> str:
        """The stable name that clients compare."""
        return f"urn:gi:problem:{self.slug}"


SESSION_UNKNOWN: Final = ProblemKind("session-unknown", 404, "No such session")
MODEL_UNKNOWN: Final = ProblemKind("model-unknown", 404, "No such model")
SESSION_STREAMS: Final = ProblemKind("session-streams", 409, "The session belongs to a stream")
FRAME_SUPERSEDED: Final = ProblemKind("frame-superseded", 409, "A newer frame took this frame's place")
SESSION_CLOSED: Final = ProblemKind("session-closed", 410, "The session ended before the frame was answered")
FRAME_TOO_LARGE: Final = ProblemKind("frame-too-large", 413, "Too many bytes or pixels")
MEDIA_UNKNOWN: Final = ProblemKind("media-type-unknown", 415, "Frames are JPEG, PNG, or raw RGB")
FRAME_INVALID: Final = ProblemKind("frame-invalid", 422, "Not a frame")
REQUEST_INVALID: Final = ProblemKind("request-invalid", 422, "The request does not have the expected form")
MESSAGE_INVALID: Final = ProblemKind("message-invalid", 422, "Not a message of the protocol")
INTERNAL: Final = ProblemKind("internal", 500, "The server failed")
STEP_FAILED: Final = ProblemKind("step-failed", 500, "The model failed on a batch; the session starts anew")
CAPACITY_FULL: Final = ProblemKind("capacity-full", 503, "Every slot is taken")
DRAINING: Final = ProblemKind("draining", 503, "The server is going away")

KINDS: Final = (
    *(SESSION_UNKNOWN, MODEL_UNKNOWN, SESSION_STREAMS, FRAME_SUPERSEDED, SESSION_CLOSED, FRAME_TOO_LARGE),
    *(MEDIA_UNKNOWN, FRAME_INVALID, REQUEST_INVALID, MESSAGE_INVALID, INTERNAL, STEP_FAILED, CAPACITY_FULL, DRAINING),
)


class Problem(ServeError):  # noqa: N818 - RFC 9457's own word
    """A refusal that the client may read."""

    def __init__(self, kind: ProblemKind, detail: str = "", *, retry_after_s: int | None = None) -> None:
        super().__init__(kind.title, do=detail)
        self.kind, self.detail, self.retry_after_s = kind, detail, retry_after_s

    def to_dict(self) -> dict[str, Any]:
        """The RFC 9457 object."""
        body: dict[str, Any] = {"type": self.kind.urn, "title": self.kind.title, "status": self.kind.status}
        if self.detail:
            body["detail"] = self.detail
        if self.retry_after_s is not None:
            body["retry_after_s"] = self.retry_after_s
        return body


def as_problem(error: Exception) -> Problem:
    """The problem a client sees for `error`: ours in their own words, everything else as `internal`."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ProtocolError):
        return Problem(MESSAGE_INVALID, str(error))
    if isinstance(error, GiError):
        return Problem(REQUEST_INVALID, str(error))
    return Problem(INTERNAL)
