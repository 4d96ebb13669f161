"""What goes wrong, as RFC 9457 has it: every code, its status, and what to do about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.responses import Response

from autopeft.errors import AutopeftError
from autopeft.resources.answers import Problem, WrongField

MEDIA_TYPE = "application/problem+json"
DOCS = "/docs/problems"
MOST_ERRORS = 100
"""How many fields are named at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A kind of problem: its status, its title, and what helps where nothing nearer is known."""

    status: int
    title: str
    remedy: str


CODES: Mapping[str, Code] = {
    "unauthenticated": Code(
        status=401,
        title="No valid API key",
        remedy="Send 'Authorization: Bearer KEY' with a key that is neither expired nor revoked; "
        "`autopeft keys create` makes one.",
    ),
    "forbidden": Code(
        status=403,
        title="The key does not allow this",
        remedy="Use a key of a larger scope: read, submit or admin.",
    ),
    "not_found": Code(
        status=404,
        title="There is no such thing",
        remedy="Check the address; what belongs to another owner is not found either.",
    ),
    "method_not_allowed": Code(
        status=405,
        title="The method does not apply here",
        remedy="Use one of the methods of the Allow header.",
    ),
    "conflict": Code(
        status=409,
        title="It is in no state for this",
        remedy="Look at the state of the job; it may have changed in the meantime.",
    ),
    "idempotency_in_progress": Code(
        status=409,
        title="The same request is being answered",
        remedy="Wait, and send it again with the same Idempotency-Key.",
    ),
    "too_slow": Code(
        status=408,
        title="The body did not come",
        remedy="Send the whole body at once.",
    ),
    "too_large": Code(
        status=413,
        title="The request is too large",
        remedy="Send less; data belongs into POST /v1/datasets.",
    ),
    "unsupported_media_type": Code(
        status=415,
        title="The body is of another type",
        remedy="Send 'Content-Type: application/json' with a JSON object.",
    ),
    "range_not_satisfiable": Code(
        status=416,
        title="There is no such range",
        remedy="Ask for a range of bytes inside of the file.",
    ),
    "invalid_request": Code(
        status=422,
        title="The request is invalid",
        remedy="Change the field that `param` names; /docs describes every field.",
    ),
    "idempotency_mismatch": Code(
        status=422,
        title="The Idempotency-Key belongs to another request",
        remedy="Take a new Idempotency-Key for a new request.",
    ),
    "quota_exceeded": Code(
        status=429,
        title="The quota is used up",
        remedy="Wait for jobs to end, delete data sets, or ask for a larger quota.",
    ),
    "rate_limited": Code(
        status=429,
        title="Too many requests",
        remedy="Wait for the seconds of the Retry-After header.",
    ),
    "internal": Code(
        status=500,
        title="The service made a mistake",
        remedy="Tell the operator the request_id; the log says more.",
    ),
    "store_unavailable": Code(
        status=503,
        title="The store cannot be reached",
        remedy="Try again after the seconds of the Retry-After header.",
    ),
}
"""By the code that programs look at; ``/docs/problems`` shows all of them to people."""


class ProblemError(AutopeftError):
    """A request that is refused: its code, a sentence, and the field to look at.

    ``param`` is the field's path in the body, as ``data.dataset``, or the name of a parameter.
    ``errors`` are all fields that are wrong, each with what is said of it; ``param`` is the first.
    ``remedy`` takes the place of the code's own; ``headers`` go with the answer.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        param: str | None = None,
        errors: Sequence[tuple[str, str]] = (),
        remedy: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.param = param
        self.errors = tuple(errors) or (((param, detail),) if param else ())
        self.remedy = remedy
        self.headers = dict(headers or {})

    def answer(self, request_id: str | None) -> Response:
        """Return the answer that tells it."""
        known = CODES[self.code]
        problem = Problem(
            type=f"{DOCS}#{self.code}",
            title=known.title,
            status=known.status,
            detail=self.detail,
            code=self.code,
            param=self.param,
            errors=tuple(
                WrongField(param=param, detail=detail)
                for param, detail in self.errors[:MOST_ERRORS]
            ),
            remedy=self.remedy or known.remedy,
            request_id=request_id,
        )
        return Response(
            problem.model_dump_json(),
            status_code=known.status,
            media_type=MEDIA_TYPE,
            headers=self.headers,
        )


def missing(what: str, name: str) -> ProblemError:
    """Return the problem that something is not there, or is somebody else's."""
    return ProblemError("not_found", f"there is no {what} {name!r}")


USUAL = ("unauthenticated", "forbidden", "invalid_request", "rate_limited", "internal")


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return what a route says in OpenAPI of its errors: these codes, and what all have in common.

    Goes into ``responses=`` of a route.
    """
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys((*USUAL, "store_unavailable", *codes)):
        by_status.setdefault(CODES[code].status, []).append(code)
    return {status: _described(status, by_status[status]) for status in sorted(by_status)}


def _described(status: int, codes: list[str]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": " / ".join(f"{CODES[code].title} (`{code}`)" for code in codes),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {code: {"value": _example(code)} for code in codes},
            }
        },
    }
    if status in {429, 503}:
        described["headers"] = {
            "Retry-After": {
                "description": "Seconds to wait before the next try.",
                "schema": {"type": "integer"},
            }
        }
    return described


def _example(code: str) -> dict[str, Any]:
    known = CODES[code]
    param = "data.dataset" if code == "invalid_request" else None
    return {
        "type": f"{DOCS}#{code}",
        "title": known.title,
        "status": known.status,
        "detail": known.title.lower(),
        "code": code,
        "param": param,
        "errors": [{"param": param, "detail": known.title.lower()}] if param else [],
        "remedy": known.remedy,
        "request_id": "0b9d2c4e6f81",
    }
