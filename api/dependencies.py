"""What routes ask for: FastAPI fills it in.

    @router.post("", status_code=202, responses=documented("conflict"), openapi_extra=...)
    def add(body: SearchRequest, caller: Submitter, service: ServiceDep, once: OnceDep) -> Response:
        return once.answer(body.model_dump(mode="json"), lambda: Made(status=202, body=..., ...))

``Reader``, ``Submitter`` and ``Admin`` are the `Caller`, let in by the gate, with at least that
scope. What belongs to another owner is not found: ``caller.may_see(job.owner)``.
All routes are plain ``def`` (they run in threads, for the store waits), unless they stream.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Request

from autopeft.api.access import Access, Caller
from autopeft.api.idempotency import LONGEST, Once
from autopeft.api.limits import Buckets
from autopeft.api.logs import Log
from autopeft.api.presenting import Present
from autopeft.api.problems import ProblemError
from autopeft.api.streams import Streams
from autopeft.ports import Store
from autopeft.service.key import Scope
from autopeft.service.ports import Service
from autopeft.settings import ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an app is made of; it lies in ``app.state.parts``."""

    service: Service
    store: Store
    settings: ServiceSettings
    access: Access
    buckets: Buckets
    streams: Streams
    present: Present
    log: Log


def parts_of(request: Request) -> Parts:
    """Return what the app is made of."""
    parts: Parts = request.app.state.parts
    return parts


async def _service(request: Request) -> Service:
    return parts_of(request).service


async def _store(request: Request) -> Store:
    return parts_of(request).store


async def _settings(request: Request) -> ServiceSettings:
    return parts_of(request).settings


async def _streams(request: Request) -> Streams:
    return parts_of(request).streams


async def _present(request: Request) -> Present:
    return parts_of(request).present


ServiceDep = Annotated[Service, Depends(_service)]
"""Jobs, keys, data sets, replies."""
StoreDep = Annotated[Store, Depends(_store)]
"""Studies, trials, answers."""
SettingsDep = Annotated[ServiceSettings, Depends(_settings)]
"""What the service was started with."""
StreamsDep = Annotated[Streams, Depends(_streams)]
"""Streams of events."""
PresentDep = Annotated[Present, Depends(_present)]
"""Records to resources, without the paths of this machine."""


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller  # whom the gate has let in
    return caller


def _with_scope(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    async def allowed(request: Request) -> Caller:
        caller: Caller = request.state.caller
        if not caller.scope.includes(scope):
            raise ProblemError(
                "forbidden",
                f"this needs a key of the scope {scope!s}, and this one has {caller.scope!s}",
            )
        return caller

    return allowed


Reader = Annotated[Caller, Depends(_with_scope(Scope.READ))]
"""Who asks, with the scope ``read`` or a larger one."""
Submitter = Annotated[Caller, Depends(_with_scope(Scope.SUBMIT))]
"""Who asks, with the scope ``submit`` or a larger one."""
Admin = Annotated[Caller, Depends(_with_scope(Scope.ADMIN))]
"""Who asks, with the scope ``admin``."""


async def _once(
    request: Request,
    caller: Annotated[Caller, Depends(_caller)],
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=LONGEST,
            pattern=r"^[\x21-\x7e]+$",
            description="A name of your choice: the same request with the same name takes effect "
            "once, and gets the same answer for a day.",
        ),
    ] = None,
) -> Once:
    return Once(
        replies=parts_of(request).service.replies,
        owner=caller.owner,
        route=f"{request.method} {request.url.path}",
        key=idempotency_key,
    )


OnceDep = Annotated[Once, Depends(_once)]
"""Makes an answer once for each Idempotency-Key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Notes in the audit log who did what."""

    service: Service
    log: Log
    caller: Caller
    request_id: str

    def __call__(self, what: str, about: str) -> None:
        """Note that the caller did something, such as ``search.cancel``, to a resource."""
        self.service.keys.note(self.caller.who, what, about, datetime.now(UTC))
        self.log.info(
            "audit", who=self.caller.who, what=what, about=about, request_id=self.request_id
        )


async def _audit(request: Request, caller: Annotated[Caller, Depends(_caller)]) -> Audit:
    parts = parts_of(request)
    return Audit(
        service=parts.service, log=parts.log, caller=caller, request_id=request.state.request_id
    )


AuditDep = Annotated[Audit, Depends(_audit)]
"""Notes who did what: ``audit("search.submit", job.id)``."""
