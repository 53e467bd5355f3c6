"""Errors as problem details (RFC 9457), for every way in which a request can fail."""

import http
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from api import bodies
from framehouse.errors import (
    BudgetExceededError,
    BuildError,
    BusyError,
    ConfigError,
    ContractError,
    EmbeddedError,
    FramehouseError,
    NoAnswerError,
    NotFoundError,
    Problem,
    QueryError,
    SubmittedError,
    TakenError,
    WarehouseError,
)
from framehouse.events import printable

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 100
RETRY_AFTER_SECONDS = {"busy": 1, "unreachable": 5, "not_ready": 5}

#: The first class that fits decides.
_STATUS: tuple[tuple[type[FramehouseError], int], ...] = (
    (TakenError, 409),
    (SubmittedError, 409),
    (BudgetExceededError, 409),
    (ContractError, 422),
    (NotFoundError, 404),
    (NoAnswerError, 410),
    (QueryError, 422),
    (BusyError, 503),
    (BuildError, 503),
    (WarehouseError, 503),
    (EmbeddedError, 503),
    (ConfigError, 503),
    (FramehouseError, 500),
)

_log = logging.getLogger(__name__)


class ProblemItem(BaseModel):
    """One bad field."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    path: str
    """Where it is, such as `scenes[2].tier`; empty for the whole."""
    message: str
    """What is wrong."""
    expected: str | None
    """What would be right, where that can be said."""


class ProblemDetails(BaseModel):
    """Why a request failed (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str = Field(json_schema_extra={"format": "uri-reference"})
    """Always about:blank: `code` says more than a link would."""
    title: str
    """The status in words."""
    status: int
    detail: str
    """What was wrong, and what mends it."""
    code: str
    """A stable word for programs."""
    errors: list[ProblemItem]
    """Every bad field, at most 100."""


def install(app: FastAPI) -> None:
    """Answer every error of the app with problem details."""
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_parameters)
    app.add_exception_handler(bodies.BodyError, _on_body)
    app.add_exception_handler(FramehouseError, _on_framehouse)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that may fail in these ways."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        status: {
            "description": http.HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def problem(
    status: int,
    code: str,
    detail: str,
    errors: Sequence[Problem] = (),
    *,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
    is_body_unread: bool = False,
) -> Response:
    """One problem as a response; `more` are members beside the usual ones."""
    content = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": printable(detail),
        "code": code,
        "errors": [asdict(error) for error in errors[:MAX_ERRORS]],
        **(more or {}),
    }
    kind = bodies.LingeringResponse if is_body_unread else JSONResponse
    answer = kind(content, status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE)
    if status == 503 and "retry-after" not in answer.headers:
        answer.headers["retry-after"] = str(RETRY_AFTER_SECONDS.get(code, 30))
    return answer


def of_error(error: FramehouseError) -> Response:
    """One of framehouse's own errors as a response."""
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    found = error.problems if isinstance(error, (ContractError, BudgetExceededError)) else ()
    if status >= 500:
        _log.warning("%s: %s", error.code, error)
    return problem(status, error.code, _sentence(error), found)


def unexpected() -> Response:
    """What is said of an error that nobody foresaw: nothing of its insides."""
    return problem(500, "internal_error", "something went wrong here; the server's log says what")


def _sentence(error: FramehouseError) -> str:
    return f"{error} (try: {error.hint})" if error.hint else str(error)


def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "no_such_path", 405: "method_not_allowed"}
    code = codes.get(error.status_code, http.HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
    path = printable(request.url.path)
    details = {
        404: f"there is nothing at {path}; /docs lists what there is",
        405: f"{path} does not take {printable(request.method)}",
    }
    detail = details.get(error.status_code, str(error.detail))
    headers = {"allow": _allowed(request)} if error.status_code == 405 else error.headers
    return problem(error.status_code, code, detail, headers=headers)


def _allowed(request: Request) -> str:
    """Every method that the path takes; the framework would name those of the first route only."""
    routes = [route for route in request.app.state.routes if route.path_regex.match(request.url.path)]
    return ", ".join(sorted({method for route in routes for method in route.methods} or {"GET"}))


def _on_framehouse(request: Request, error: Exception) -> Response:
    assert isinstance(error, FramehouseError)
    return of_error(error)


def _on_body(request: Request, error: Exception) -> Response:
    assert isinstance(error, bodies.BodyError)
    found = [Problem("", str(error), error.expected)]
    headers = {"accept-encoding": "gzip"} if error.code == "unsupported_encoding" else None
    return problem(
        error.status, error.code, str(error), found, headers=headers, is_body_unread=error.is_unread
    )


def _on_parameters(request: Request, error: Exception) -> Response:
    """What is wrong with the path or the query; the input itself, which may not even be encodable, is not echoed."""
    assert isinstance(error, RequestValidationError)
    found = [_parameter_problem(item) for item in error.errors()]
    names = ", ".join(dict.fromkeys(item.path for item in found))
    return problem(422, "invalid", f"wrong parameters: {names}", found)


def _parameter_problem(item: Mapping[str, Any]) -> Problem:
    place = [str(part) for part in item["loc"]]
    message = str(item["msg"]).removeprefix("Value error, ")
    return Problem(printable(".".join(place[1:] or place)), printable(message), _expected(item))


def _expected(item: Mapping[str, Any]) -> str | None:
    context = item.get("ctx", {})
    if item["type"] == "missing":
        return "this parameter is required"
    if item["type"] == "string_pattern_mismatch":
        return "text without control characters"
    if "RFC 3339" in str(item["msg"]) or "offset" in str(item["msg"]):
        return "an RFC 3339 time with an offset, such as 2026-03-01T12:00:00Z (a + in a query is %2B)"
    for key, text in (("ge", "at least {}"), ("le", "at most {}"), ("max_length", "at most {} characters")):
        if key in context:
            return text.format(context[key])
    return str(context["expected"]) if "expected" in context else None
