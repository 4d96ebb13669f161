"""How a call is tried again, and what becomes of a refusal; nothing is sent from here.

`exchange` is a conversation with a transport: it yields a call to be sent or seconds to wait, and
is sent what came of it. So both transports share every decision.
"""

import itertools
import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import ValidationError

from autopeft.client.calls import Answer, Call
from autopeft.errors import ServiceError
from autopeft.resources.answers import Problem

BUSY = {429, 502, 503, 504}
"""Statuses after which the same may go well a little later."""
_MOST_SHOWN = 200
_MOST_NAMED = 6


class RefusedError(ServiceError):
    """The service refuses; ``problem`` is what it said, for programs."""

    def __init__(self, problem: Problem) -> None:
        """Take the problem's sentence, and the remedy where there is one."""
        self.problem = problem
        super().__init__(_sentence(problem))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a service answered; ``content`` is empty where it went into a file."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def good(self) -> bool:
        """Whether it did what it was asked."""
        return 200 <= self.status < 300

    @property
    def asked(self) -> float | None:
        """How many seconds the service asks to wait, None where it does not say."""
        seconds = self.headers.get("retry-after", "")
        return float(seconds) if seconds.isdecimal() else None


Came = Reply | httpx.TransportError


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often and how soon a call is tried again, in seconds.

    A stream of events is opened again ``reconnections`` times in a row before it is given up; each
    time that something was heard the count begins anew. Where a service asks with Retry-After for
    more than ``longest``, nobody waits.
    """

    retries: int = 5
    first: float = 0.25
    longest: float = 30.0
    reconnections: int = 60

    def before(self, attempt: int, came: Came) -> float:
        """Return how long to wait before another attempt; ``attempt`` counts from 0."""
        if isinstance(came, Reply) and (asked := came.asked) is not None:
            return asked
        # clients that lost the same service do not come back in the same moment
        spread = random.uniform(0.5, 1.0)
        return min(self.first * 2.0 ** min(attempt, 10), self.longest) * spread


def exchange(
    call: Call[Answer], patience: Patience, url: str
) -> Generator["Call[Answer] | float", Came | None, Answer]:
    """Lead a call to its answer.

    Raises:
        ServiceError: The service refuses, or cannot be reached after all attempts.
    """
    for attempt in itertools.count():
        came = yield call
        if isinstance(came, Reply) and came.good:
            return call.read(came.content)
        if came is None or attempt >= patience.retries or not _again(call, came, patience):
            raise trouble(came, url)
        yield patience.before(attempt, came)
    raise AssertionError("unreachable")


def trouble(came: Came | None, url: str) -> ServiceError:
    """Return what to raise for something that is no good answer."""
    if isinstance(came, Reply):
        return RefusedError(_problem(came))
    if isinstance(came, httpx.ConnectError | httpx.ConnectTimeout):
        return ServiceError(
            f"no service answers at {url}: start one with autopeft serve, or name another with "
            f"--url or AUTOPEFT_URL ({_reason(came)})"
        )
    if isinstance(came, httpx.TimeoutException):
        return ServiceError(f"the service at {url} takes too long to answer: try again later")
    return ServiceError(
        f"the connection to the service at {url} was lost ({_reason(came)}): try again"
    )


def _again(call: Call[Any], came: Came, patience: Patience) -> bool:
    """Whether another attempt makes sense, and does no harm."""
    if not call.repeatable:
        return False
    if not isinstance(came, Reply):
        return True
    if (came.asked or 0) > patience.longest:
        return False
    return came.status in BUSY or _problem(came).code == "idempotency_in_progress"


def _problem(reply: Reply) -> Problem:
    """Read a problem; one that is no RFC 9457 document, such as a proxy's page, becomes one."""
    try:
        return Problem.model_validate_json(reply.content)
    except ValidationError:
        text = " ".join(reply.content.decode("utf-8", "replace").split())[:_MOST_SHOWN]
        said = f": {text}" if text and not text.startswith("<") else ""
        return Problem(
            type="about:blank", title="Unexpected answer", status=reply.status, code="unexpected",
            detail=f"the service answered with the status {reply.status}{said}",
        )  # fmt: skip


def _sentence(problem: Problem) -> str:
    said = problem.detail
    if problem.param and problem.param not in said:
        said += f" ({problem.param})"
    if problem.remedy and problem.remedy not in said:
        said += f": {problem.remedy[:1].lower()}{problem.remedy[1:].removesuffix('.')}"
    if others := problem.errors[1:_MOST_NAMED]:
        said += "; also " + "; ".join(f"{each.param}: {each.detail}" for each in others)
    if problem.status >= 500 and problem.request_id:
        said += f" (request {problem.request_id})"
    return said


def _reason(error: httpx.TransportError | None) -> str:
    return str(error).strip() or type(error).__name__
