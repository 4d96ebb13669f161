"""Whatever is raised while a request is answered, as a problem."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from autopeft.api.dependencies import Parts
from autopeft.api.problems import CODES, ProblemError
from autopeft.errors import (
    AutopeftError,
    JobError,
    OutputError,
    StoreError,
    StudyError,
    UnknownError,
)

_BY_STATUS = {code.status: name for name, code in reversed(list(CODES.items()))}
"""The first of the codes that have a status."""
_BY_ERROR: tuple[tuple[type[AutopeftError], str], ...] = (
    (UnknownError, "not_found"),
    (JobError, "conflict"),
    (StudyError, "conflict"),
)
_PLACES = {"body", "query", "path", "header", "cookie"}


def add_handlers(app: FastAPI) -> None:
    """Answer all errors as RFC 9457 has it, those of the framework too."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(AutopeftError, _ours)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, AutopeftError)
    request_id = request.state.request_id
    return as_problem(error, request.app.state.parts, request_id).answer(request_id)


def as_problem(error: AutopeftError, parts: Parts, request_id: str) -> ProblemError:
    """Return an error of any room as the problem that the caller is told."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, StoreError | OutputError):
        # where the store is concerns the operator alone
        parts.log.error("the store cannot be used", error=str(error), request_id=request_id)
        return ProblemError(
            "store_unavailable",
            "the service cannot read or write its store at the moment",
            headers={"Retry-After": "5"},
        )
    hidden = parts.present.text(str(error))
    for kind, code in _BY_ERROR:
        if isinstance(error, kind):
            return ProblemError(code, hidden)
    return ProblemError("invalid_request", hidden)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _BY_STATUS.get(error.status_code, "invalid_request")
    detail = str(error.detail)
    if detail in {status.phrase for status in HTTPStatus}:
        detail = _SENTENCES.get(code, "{detail}").format(
            detail=detail, method=request.method, path=request.url.path
        )
    headers = dict(error.headers or {})
    if code == "method_not_allowed":
        headers["Allow"] = ", ".join(_methods(request))
    return ProblemError(code, detail, headers=headers).answer(request.state.request_id)


def _methods(request: Request) -> list[str]:
    """List what applies to a path; the router names the methods of one of its routes only."""
    paths = request.app.openapi()["paths"]
    there = [known for path, known in paths.items() if _fits(path, request.url.path)]
    return sorted({method.upper() for known in there for method in known}) or ["GET"]


def _fits(template: str, path: str) -> bool:
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
    return re.fullmatch(pattern, path) is not None


_SENTENCES = {
    "not_found": "there is nothing at {path}",
    "method_not_allowed": "{method} does not apply to {path}",
}


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problem = invalid(error.errors(), request.headers.get("content-type"))
    return problem.answer(request.state.request_id)


def invalid(errors: Sequence[Any], content_type: str | None = None) -> ProblemError:
    """Return the problem of a request that pydantic has refused, with all fields that are wrong."""
    first = errors[0]
    place, *path = first["loc"]
    if first["type"] == "json_invalid":
        where = f"at character {path[0]}" if path else ""
        why = first.get("ctx", {}).get("error", "")
        return ProblemError("invalid_request", f"the body is no JSON {where}: {why}")
    if place == "body" and not path:
        return _no_object(first, content_type)
    wrong = [_wrong(error) for error in errors]
    param, why = wrong[0]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return ProblemError("invalid_request", f"{param}: {why}{more}", param=param, errors=wrong)


def _wrong(error: Any) -> tuple[str, str]:
    """Return the field that an error of pydantic is about, and what is wrong with it."""
    place, *path = error["loc"]
    names = path if place in _PLACES and path else [place, *path]
    param = ".".join(str(name) for name in names)
    why = str(error["msg"]).removeprefix("Value error, ")
    return param.title() if place == "header" else param, why


def _no_object(first: Any, content_type: str | None) -> ProblemError:
    """Tell a body that is missing from one that is there and was not read as JSON."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if first["type"] != "missing" and not (kind.startswith("application/") and "json" in kind):
        said = f"as {kind}" if kind else "without a Content-Type"
        return ProblemError("unsupported_media_type", f"the body was sent {said}")
    if first["type"] == "missing":
        return ProblemError("invalid_request", "the request needs a body, a JSON object")
    return ProblemError("invalid_request", f"the body is no JSON object: {first['msg']}")
