"""What goes around every request: its id, a line in the log, headers, and the last resort."""

import re
import secrets
import time
from collections.abc import MutableSequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autopeft.api.logs import Log
from autopeft.api.metrics import Requests
from autopeft.api.problems import ProblemError

_ID = re.compile(r"[\w.-]{1,64}")
_TRACE = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_QUIET = {"/healthz", "/readyz", "/metrics"}
"""What is asked for every few seconds: logged only where it fails."""
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Envelope:
    """Gives a request an id, the answer its headers, and the log one line.

    An error that nothing else has caught becomes an answer that names only the id.
    """

    def __init__(self, app: ASGIApp, *, log: Log, requests: Requests) -> None:
        self._app = app
        self._log = log
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        headers = Headers(scope=scope)
        request_id = _id_of(headers)
        scope.setdefault("state", {})["request_id"] = request_id

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _complete(message.setdefault("headers", []), request_id)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            self._log.exception("the service made a mistake", request_id=request_id)
            if status:
                raise
            problem = ProblemError("internal", "something went wrong inside of the service")
            await problem.answer(request_id)(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - began
            self._requests.answered(scope, status, seconds)
            if status >= 400 or scope["path"] not in _QUIET:
                self._tell(scope, headers, status, seconds)

    def _tell(self, scope: Scope, headers: Headers, status: int, seconds: float) -> None:
        caller = scope["state"].get("caller")
        trace = _TRACE.fullmatch(headers.get("traceparent", ""))
        self._log.info(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            ms=round(1000 * seconds, 1),
            request_id=scope["state"]["request_id"],
            **({"who": caller.who} if caller else {}),
            **({"trace_id": trace[1]} if trace else {}),
        )


def _id_of(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else secrets.token_hex(8)


def _complete(headers: MutableSequence[tuple[bytes, bytes]], request_id: str) -> None:
    """Add the headers that every answer has, where it has not set them itself."""
    present = {name.lower() for name, _ in headers}
    headers.extend(each for each in _HEADERS if each[0] not in present)
    headers.append((b"x-request-id", request_id.encode()))
