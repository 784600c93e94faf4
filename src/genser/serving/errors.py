"""Errors as problem details (RFC 9457): one JSON shape for everything that goes wrong."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from genser.errors import AudioError, ConfigError, GenserError, ManifestError, MissingExtraError

MEDIA_TYPE = "application/problem+json"
BODY_UNREAD = (408, 413)  # what is left of the body would be taken for the next request


class Problem(Exception):
    """Something that a client is told.

    Args:
        status: HTTP status.
        detail: What happened, with which value, and the cure.
        retry_after: Seconds after which to try again, if that can help.
        errors: Single faults, where there are several.
    """

    def __init__(
        self, status: int, detail: str, *, retry_after: float | None = None, errors: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors
        self.retry_after = None if retry_after is None else max(1, round(retry_after))

    def to_dict(self) -> dict[str, Any]:
        """Return the members that RFC 9457 names, and `errors` if there are several."""
        title = HTTPStatus(self.status).phrase
        members = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        return members | ({"errors": self.errors} if self.errors else {})

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """Return the HTTP response."""
        told = dict(headers or {})
        if self.retry_after is not None:
            told["Retry-After"] = str(self.retry_after)
        if self.status in BODY_UNREAD:
            told["Connection"] = "close"
        return JSONResponse(self.to_dict(), self.status, told, MEDIA_TYPE)


def problem_of(error: GenserError) -> Problem:
    """What a client is told of an error of the library."""
    if isinstance(error, MissingExtraError):
        return Problem(415, f"{error} (on the server)")
    if isinstance(error, AudioError | ConfigError | ManifestError):
        return Problem(422, str(error))
    return Problem(500, str(error))


def handle_problems(app: FastAPI) -> None:
    """Make every error of an application a problem."""
    app.add_exception_handler(Problem, lambda _request, error: error.response())
    app.add_exception_handler(GenserError, lambda _request, error: problem_of(error).response())
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unforeseen)


async def _http(request: Request, error: HTTPException) -> Response:
    detail = str(error.detail)
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path}. See /openapi.json for what there is."
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.method} is not allowed at {request.url.path}. Use {allowed or 'another method'}."
    return Problem(error.status_code, detail).response(error.headers)


async def _invalid(_request: Request, error: RequestValidationError) -> Response:
    faults = [{"where": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in error.errors()]
    detail = "; ".join(f"{one['where']}: {one['message']}" for one in faults)
    return Problem(422, f"The request cannot be understood. {detail}", errors=faults).response()


async def _unforeseen(_request: Request, error: Exception) -> Response:
    # The server logs the traceback; a client learns no more than the kind.
    return Problem(500, f"The server failed ({type(error).__name__}). Its log says more.").response()
