"""Requests that are sent twice and take effect once."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from autopeft.api.problems import ProblemError
from autopeft.records import digest
from autopeft.service.ports import Replies

LONGEST = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a request has made: the status, the body of the answer, and where it can be found."""

    status: int
    body: BaseModel
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """Answers a request once; its repetition with the same Idempotency-Key gets the same answer.

    ``key`` is that header, None without one; ``route`` the method and path, so that a key that
    is used for something else is noticed.
    """

    replies: Replies
    owner: str
    route: str
    key: str | None

    def answer(self, asked: Any, make: Callable[[], Made]) -> Response:
        """Make the answer to what was asked (JSON values), or give again the one that there is.

        What ``make`` raises is not kept: the request can be tried again with the same key.

        Raises:
            ProblemError: The key was used for another request, or its answer is being made.
        """
        if self.key is None:
            return _response(make())
        body = digest([self.route, asked])
        known = self.replies.begin(self.owner, self.key, body)
        if known is None:
            return self._made(self.key, make)
        if known.body != body:
            raise ProblemError(
                "idempotency_mismatch",
                f"the Idempotency-Key {self.key!r} was sent before with another request",
                param="Idempotency-Key",
            )
        if known.status is None:
            raise ProblemError(
                "idempotency_in_progress",
                f"the request with the Idempotency-Key {self.key!r} is being answered",
                param="Idempotency-Key",
                headers={"Retry-After": "1"},
            )
        return _replayed(known.status, known.content)

    @property
    def name(self) -> str:
        """What names the thing that is made: the same for every try; empty without a key.

        Should the process die between making it and keeping the answer, the next try finds it.
        """
        return digest([self.owner, self.route, self.key])[:12] if self.key else ""

    def _made(self, key: str, make: Callable[[], Made]) -> Response:
        try:
            made = make()
            kept = {"location": made.location, "body": made.body.model_dump_json()}
            self.replies.finish(self.owner, key, made.status, json.dumps(kept))
        except BaseException:
            self.replies.drop(self.owner, key)
            raise
        return _response(made)


def _response(made: Made) -> Response:
    return _with(made.status, made.body.model_dump_json(), made.location)


def _replayed(status: int, content: str) -> Response:
    kept = json.loads(content)
    response = _with(status, kept["body"], kept["location"])
    response.headers["Idempotency-Replayed"] = "true"
    return response


def _with(status: int, body: str, location: str) -> Response:
    headers = {"Location": location} if location else {}
    return Response(body, status, headers, "application/json")
