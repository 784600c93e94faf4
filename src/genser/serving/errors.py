"""Errors as problem details (RFC 9457): one JSON shape for everything that goes wrong."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import groupby
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from genser.errors import AudioError, ConfigError, GenserError, ManifestError, MissingExtraError, suggestion

MEDIA_TYPE = "application/problem+json"
BODY_UNREAD = (408, 413)  # the rest of the body would be taken for the next request
LONGEST_VALUE = 80  # characters of a wrong value that a message repeats
DESCRIPTIONS = {
    400: "The form is incomplete or cannot be parsed, or holds text, no file, or more files than the route takes.",
    401: "An API key is required.",
    408: "The body arrived too slowly.",
    413: "Too large, or too many files.",
    415: "Not an audio type.",
    422: "The audio or a parameter is not usable.",
    429: "Too many requests of this client are in progress.",
    503: "No capacity, no time, or not ready; see Retry-After.",
}


class ProblemDetails(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["a.wav is empty (0 bytes). Record or copy the file again."])
    errors: list[dict[str, Any]] | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the part of OpenAPI that describes these errors."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {status: {"description": DESCRIPTIONS[status], "content": content} for status in statuses}


class Problem(Exception):
    """An error that is sent to the client.

    Args:
        status: HTTP status.
        detail: What happened, with which value, and the cure.
        retry_after: Seconds after which to try again, if that can help.
        errors: Single faults, if there are several.
    """

    def __init__(
        self, status: int, detail: str, *, retry_after: float | None = None, errors: list[dict[str, Any]] | None = None
    ) -> None:
        detail = _encodable(detail)
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
        headers = dict(headers or {})
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status in BODY_UNREAD:
            headers["Connection"] = "close"
        return JSONResponse(self.to_dict(), self.status, headers, MEDIA_TYPE)


def problem_of(error: GenserError) -> Problem:
    """Return the problem that stands for an error of the library."""
    if isinstance(error, MissingExtraError):
        return Problem(415, f"{error} (on the server)")
    if isinstance(error, AudioError | ConfigError | ManifestError):
        return Problem(422, str(error))
    return Problem(500, str(error))


def problem_of_faults(faults: Sequence[Mapping[str, Any]], known: Sequence[str]) -> Problem:
    """Return the problem that names all values which pydantic refuses.

    Args:
        faults: The errors of pydantic.
        known: Names of the parameters, from which the nearest to an unknown one is suggested.
    """
    errors, sentences = [], []
    for where, some in groupby(faults, _parameter_of):
        fault, *others = some  # a value that may be of several types has a fault for each
        if fault["type"] == "extra_forbidden":
            message = f"Unknown parameter {where[:LONGEST_VALUE]!r}. {suggestion(where, known)}"
            sentences.append(message)
        else:
            message = ", or: ".join(one["msg"] for one in (fault, *others))
            value = json.dumps(fault["input"], ensure_ascii=False, default=repr)
            sentences.append(f"{where}: {message}, got {value[:LONGEST_VALUE]}.")
        errors.append({"where": _encodable(where), "message": _encodable(message)})
    return Problem(422, " ".join(sentences), errors=errors)


def _parameter_of(fault: Mapping[str, Any]) -> str:
    """Name of the parameter of a fault of pydantic; further parts name one of the types that it may have."""
    return next((str(part) for part in fault["loc"] if part != "query"), "")


def handle_problems(app: FastAPI) -> None:
    """Turn every error of an application into a problem."""
    app.exception_handler(Problem)(_problem)
    app.exception_handler(GenserError)(_problem)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(Exception)(_unforeseen)


async def _problem(_request: Request, error: Problem | GenserError) -> Response:
    return (problem_of(error) if isinstance(error, GenserError) else error).response()


async def _http(request: Request, error: HTTPException) -> Response:
    detail = str(error.detail)
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path}. See /openapi.json for the paths."
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.method} is not allowed at {request.url.path}. Use {allowed or 'another method'}."
    return Problem(error.status_code, detail).response(error.headers)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    operation = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = [parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
    return problem_of_faults(error.errors(), known).response()


async def _unforeseen(_request: Request, error: Exception) -> Response:
    # The server logs the traceback; the client learns the type only.
    return Problem(500, f"The server failed ({type(error).__name__}). See its log.").response()


def _encodable(text: str) -> str:
    """Escape lone surrogates, which JSON can carry and UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode()
