"""HTTP errors as RFC 9457 problems: ours, the framework's 404 and 405, invalid JSON, and whatever escapes."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gi_model.errors import GiError
from gi_serve.problems import INTERNAL, MEDIA_TYPE, REQUEST_INVALID, UNAUTHORIZED, Problem, as_problem
from gi_serve.schemas import describe_invalid

logger = logging.getLogger("gi_serve")


def install_errors(app: FastAPI) -> None:
    """Make every error answer of `app` a problem."""
    app.add_exception_handler(GiError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(Exception, _of_anything)


def problem_response(problem: Problem) -> JSONResponse:
    """The HTTP answer of `problem`."""
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
    if problem.kind is UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(problem.to_dict(), problem.kind.status, headers, MEDIA_TYPE)


async def _of_ours(_request: Request, error: Exception) -> JSONResponse:
    return problem_response(as_problem(error))


async def _of_validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return problem_response(Problem(REQUEST_INVALID, describe_invalid(error.errors()[0])))


async def _of_framework(_request: Request, error: Exception) -> JSONResponse:
    """Wrong path or method: RFC 9457 names these `about:blank`."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, Problem):  # raised while the framework read the body
        return problem_response(error.__cause__)
    body = {"type": "about:blank", "title": HTTPStatus(error.status_code).phrase, "status": error.status_code}
    return JSONResponse(body, error.status_code, error.headers, MEDIA_TYPE)


async def _of_anything(request: Request, error: Exception) -> JSONResponse:
    logger.error("unhandled error in %s %s", request.method, request.url.path, exc_info=error)
    return problem_response(Problem(INTERNAL))
