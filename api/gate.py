"""The door: who asks is known, and counted, before anything else of a request is looked at."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from autopeft.api.access import Caller, address_of
from autopeft.api.dependencies import Parts
from autopeft.api.errors import as_problem
from autopeft.errors import AutopeftError

_GUARDED = "/v1/"
_ALONE = {"/v1", "/metrics"}


class Gate:
    """Lets requests for jobs and data in when they come from somebody known, and not too often.

    The rate limit counts by key, or by address without keys. Who asks is ``state.caller``.
    """

    def __init__(self, app: ASGIApp, *, parts: Parts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and is_guarded(scope["path"]):
            request = Request(scope)
            try:
                scope["state"]["caller"] = await self._caller(request)
            except AutopeftError as error:
                problem = as_problem(error, self._parts, request.state.request_id)
                await problem.answer(request.state.request_id)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _caller(self, request: Request) -> Caller:
        caller = await self._parts.access.caller(request)
        self._parts.buckets.take(caller.key or address_of(request))
        return caller


def is_guarded(path: str) -> bool:
    """Whether a path is for known callers only."""
    return path.startswith(_GUARDED) or path in _ALONE
