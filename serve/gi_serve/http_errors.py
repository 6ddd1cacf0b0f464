"""HTTP errors as RFC 9457 problems: ours, the framework's 404 and 405, invalid JSON, and whatever escapes."""

import logging
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gi_model.errors import GiError
from gi_serve.metrics import ServerMetrics
from gi_serve.problems import INTERNAL, MEDIA_TYPE, REQUEST_INVALID, UNAUTHORIZED, Problem, as_problem
from gi_serve.schemas import describe_invalid

logger = logging.getLogger("gi_serve")


def install_errors(app: FastAPI, metrics: ServerMetrics) -> None:
    """Make every error answer of `app` a problem, and count it."""
    answers = ErrorAnswers(metrics)
    app.add_exception_handler(GiError, answers.of_ours)
    app.add_exception_handler(RequestValidationError, answers.of_validation)
    app.add_exception_handler(HTTPException, answers.of_framework)
    app.add_exception_handler(Exception, answers.of_anything)


def problem_response(problem: Problem) -> JSONResponse:
    """The HTTP answer of `problem`."""
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
    if problem.kind is UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(problem.to_dict(), problem.kind.status, headers, MEDIA_TYPE)


@dataclass(frozen=True, slots=True)
class ErrorAnswers:
    """One handler a family of errors."""

    metrics: ServerMetrics

    async def of_ours(self, _request: Request, error: Exception) -> JSONResponse:
        """A problem, or an error that has words for the client."""
        return self._answer(as_problem(error))

    async def of_validation(self, _request: Request, error: Exception) -> JSONResponse:
        """A body, path, or header of another form."""
        assert isinstance(error, RequestValidationError)
        return self._answer(Problem(REQUEST_INVALID, describe_invalid(error.errors()[0])))

    async def of_framework(self, _request: Request, error: Exception) -> JSONResponse:
        """Wrong path or method: RFC 9457 names these `about:blank`."""
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, Problem):  # raised while the framework read the body
            return self._answer(error.__cause__)
        self.metrics.problems[error.status_code, "about:blank"] += 1
        body = {"type": "about:blank", "title": HTTPStatus(error.status_code).phrase, "status": error.status_code}
        return JSONResponse(body, error.status_code, error.headers, MEDIA_TYPE)

    async def of_anything(self, request: Request, error: Exception) -> JSONResponse:
        """What nobody expected: logged here, told to nobody."""
        logger.error("unhandled error in %s %s", request.method, request.url.path, exc_info=error)
        return self._answer(Problem(INTERNAL))

    def _answer(self, problem: Problem) -> JSONResponse:
        self.metrics.count(problem)
        return problem_response(problem)
