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


CREDENTIAL_IN_URL: Final = ProblemKind("credential-in-url", 400, "A key or token in a URL")
UNAUTHORIZED: Final = ProblemKind("unauthorized", 401, "No valid key or token")
FORBIDDEN: Final = ProblemKind("forbidden", 403, "The key may not do this")
ORIGIN_REFUSED: Final = ProblemKind("origin-refused", 403, "Not for pages of other origins")
SESSION_UNKNOWN: Final = ProblemKind("session-unknown", 404, "No such session")
MODEL_UNKNOWN: Final = ProblemKind("model-unknown", 404, "No such model")
ADAPTER_UNKNOWN: Final = ProblemKind("adapter-unknown", 404, "No such adapter")
RESUME_REFUSED: Final = ProblemKind("resume-refused", 404, "No such session to resume")
RECORDING_OFF: Final = ProblemKind("recording-off", 404, "This server does not record players")
RECORDING_UNKNOWN: Final = ProblemKind("recording-unknown", 404, "No such recording")
REQUEST_TIMEOUT: Final = ProblemKind("request-timeout", 408, "The request came too slowly")
MODEL_EXISTS: Final = ProblemKind("model-exists", 409, "A model of that name is served")
NOT_A_ROBOT: Final = ProblemKind("not-a-robot", 409, "The session drives no robot")
ADAPTER_EXISTS: Final = ProblemKind("adapter-exists", 409, "An adapter of that name is served")
SESSION_STREAMS: Final = ProblemKind("session-streams", 409, "The session belongs to a stream")
FRAME_SUPERSEDED: Final = ProblemKind("frame-superseded", 409, "A newer frame took this frame's place")
FEEDBACK_LATE: Final = ProblemKind("feedback-late", 409, "The model has gone on")
SESSION_CLOSED: Final = ProblemKind("session-closed", 410, "The session ended before the frame was answered")
FRAME_TOO_LARGE: Final = ProblemKind("frame-too-large", 413, "Too many bytes or pixels")
BODY_TOO_LARGE: Final = ProblemKind("body-too-large", 413, "Too many bytes")
RECORDING_FULL: Final = ProblemKind("recording-full", 413, "The recording is as long as it may be")
MEDIA_UNKNOWN: Final = ProblemKind("media-type-unknown", 415, "Frames are JPEG, PNG, or raw RGB")
FRAME_INVALID: Final = ProblemKind("frame-invalid", 422, "Not a frame")
REQUEST_INVALID: Final = ProblemKind("request-invalid", 422, "The request does not have the expected form")
MESSAGE_INVALID: Final = ProblemKind("message-invalid", 422, "Not a message of the protocol")
EMBODIMENT_MISMATCH: Final = ProblemKind("embodiment-mismatch", 422, "The adapter was made for another body")
MODEL_INVALID: Final = ProblemKind("model-invalid", 422, "Not a model that can be served")
ADAPTER_INVALID: Final = ProblemKind("adapter-invalid", 422, "Not an adapter that can be served")
BASE_MISMATCH: Final = ProblemKind("base-mismatch", 422, "The adapter was made for another model")
RATE_LIMITED: Final = ProblemKind("rate-limited", 429, "Too many, too fast")
SESSIONS_OF_KEY: Final = ProblemKind("sessions-of-key", 429, "The key has as many sessions as it may")
HEAD_TOO_LARGE: Final = ProblemKind("head-too-large", 431, "URL and headers too large")
INTERNAL: Final = ProblemKind("internal", 500, "The server failed")
STEP_FAILED: Final = ProblemKind("step-failed", 500, "The model failed on a batch; the session starts anew")
CAPACITY_FULL: Final = ProblemKind("capacity-full", 503, "Every slot is taken")
OVERLOADED: Final = ProblemKind("overloaded", 503, "One more session would make others late")
DRAINING: Final = ProblemKind("draining", 503, "The server is going away")

KINDS: Final = (
    *(CREDENTIAL_IN_URL, UNAUTHORIZED, FORBIDDEN, ORIGIN_REFUSED, SESSION_UNKNOWN, MODEL_UNKNOWN, ADAPTER_UNKNOWN),
    *(RESUME_REFUSED, RECORDING_OFF, RECORDING_UNKNOWN),
    *(REQUEST_TIMEOUT, MODEL_EXISTS, ADAPTER_EXISTS, NOT_A_ROBOT),
    *(SESSION_STREAMS, FRAME_SUPERSEDED, FEEDBACK_LATE, SESSION_CLOSED),
    *(FRAME_TOO_LARGE, BODY_TOO_LARGE, RECORDING_FULL, MEDIA_UNKNOWN),
    *(FRAME_INVALID, REQUEST_INVALID, MESSAGE_INVALID, MODEL_INVALID),
    *(ADAPTER_INVALID, BASE_MISMATCH, EMBODIMENT_MISMATCH),
    *(RATE_LIMITED, SESSIONS_OF_KEY, HEAD_TOO_LARGE, INTERNAL, STEP_FAILED, CAPACITY_FULL, OVERLOADED, DRAINING),
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
