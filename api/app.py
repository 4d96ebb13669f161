"""The service over HTTP. Nothing here trains or searches: workers do, and the store is between."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

from anyio import to_thread
from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from autopeft.api import openapi
from autopeft.api.access import Access
from autopeft.api.dependencies import Parts
from autopeft.api.envelope import Envelope
from autopeft.api.errors import add_handlers
from autopeft.api.gate import Gate
from autopeft.api.limits import Buckets, SmallBodies
from autopeft.api.logs import open_log
from autopeft.api.metrics import Requests, count_jobs, registry
from autopeft.api.parameters import check_parameters
from autopeft.api.presenting import Present
from autopeft.api.routes import (
    catalog,
    datasets,
    estimates,
    health,
    plans,
    searches,
    trainings,
)
from autopeft.api.static import add_static
from autopeft.api.streams import Streams
from autopeft.ports import Store
from autopeft.service.ports import Service
from autopeft.settings import ServiceSettings
from autopeft.wiring.hidden import Hidden

THREADS = 6
"""Requests that are at the store at the same time: more of them only wait for each other."""
ROUTERS = (searches, estimates, datasets, plans, trainings, catalog)
_EXPOSED = ("Location", "Retry-After", "X-Request-Id", "Idempotency-Replayed", "ETag")


def create_app(
    service: Service, store: Store, settings: ServiceSettings, *, log: TextIO | None = None
) -> FastAPI:
    """Make the app of a service; ``log`` is a stream for JSON lines, stderr unless given."""
    parts = _parts(service, store, settings, log)
    counted = registry()
    requests = Requests(counted)
    count_jobs(counted, service, parts.streams)

    @asynccontextmanager
    async def living(_app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        settings.folder.mkdir(parents=True, exist_ok=True)
        async with parts.streams.watching():
            yield

    app = FastAPI(
        title="autopeft",
        lifespan=living,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.parts = parts
    app.state.registry = counted
    app.state.readiness = health.Readiness()
    add_handlers(app)
    for room in ROUTERS:
        app.include_router(room.router, dependencies=[Depends(check_parameters)])
    app.include_router(health.router)  # probes may add what they like
    add_static(app)
    _wrap(app, settings, parts, requests)
    app.openapi = lambda: openapi.describe(app)  # type: ignore[method-assign]
    return app


def _parts(
    service: Service, store: Store, settings: ServiceSettings, stream: TextIO | None
) -> Parts:
    log = open_log(stream)
    present = Present(Hidden(settings))
    return Parts(
        service=service,
        store=store,
        settings=settings,
        access=Access(service.keys, host=settings.host, origins=settings.cors),
        buckets=Buckets(rate=settings.requests, burst=settings.burst),
        streams=Streams(service.jobs, present, log),
        present=present,
        log=log,
    )


def _wrap(app: FastAPI, settings: ServiceSettings, parts: Parts, requests: Requests) -> None:
    """Put the layers around the routes: the last one added is the outermost."""
    app.add_middleware(SmallBodies, streamed=frozenset({"/v1/datasets"}))
    app.add_middleware(Gate, parts=parts)
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
            expose_headers=_EXPOSED,
        )
    app.add_middleware(Envelope, log=parts.log, requests=requests)
