"""Whether the service lives, whether it is ready, and what it counts."""

import os
import threading
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from autopeft import __version__
from autopeft.api.dependencies import Admin, Parts, parts_of
from autopeft.api.metrics import written
from autopeft.api.problems import documented
from autopeft.errors import AutopeftError

router = APIRouter(tags=["health"])
_FOR = 1.0  # seconds; whoever asks more often gets the same answer


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"
    version: str = __version__


class Ready(BaseModel):
    """Whether each part of the service can be used."""

    ready: bool
    parts: dict[str, str] = Field(
        description="`ok`, or what is wrong: store, files; and how many workers live.",
        examples=[{"store": "ok", "files": "ok", "workers": "1 for checks, 1 for runs"}],
    )


class Readiness:
    """Looks at the parts at most once a second, however often it is asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: tuple[float, Ready] | None = None

    def of(self, parts: Parts) -> Ready:
        """Tell whether the parts can be used."""
        with self._lock:
            now = time.monotonic()
            if self._known is None or now - self._known[0] >= _FOR:
                self._known = now, _look(parts)
            return self._known[1]


def _look(parts: Parts) -> Ready:
    found = {"store": _store(parts), "files": _files(parts)}
    ready = all(state == "ok" for state in found.values())
    if found["store"] == "ok":
        workers = parts.service.jobs.counts().workers
        living = (f"{number} for {lane}" for lane, number in sorted(workers.items()) if number)
        found["workers"] = ", ".join(living) or "none: what is submitted waits for one"
    return Ready(ready=ready, parts=found)


def _store(parts: Parts) -> str:
    try:
        parts.service.check()
    except AutopeftError as error:
        parts.log.warning("the store is not ready", error=str(error))
        return "the store cannot be read or written; the log says why"
    return "ok"


def _files(parts: Parts) -> str:
    folder = parts.settings.folder
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return "the folder of data sets and results cannot be written"
    return "ok"


async def _readiness(request: Request) -> Readiness:
    readiness: Readiness = request.app.state.readiness
    return readiness


@router.get(
    "/healthz",
    operation_id="get_health",
    summary="Whether the process lives",
    response_model=Alive,
)
async def get_health() -> Response:
    """Always 200 while the process answers; reads nothing."""
    return JSONResponse(Alive().model_dump())


_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": Ready, "description": "A part cannot be used; `parts` says which."}
}


@router.get(
    "/readyz",
    operation_id="get_readiness",
    summary="Whether the service can be used",
    response_model=Ready,
    responses=_NOT_READY,
)
def get_readiness(
    request: Request, readiness: Annotated[Readiness, Depends(_readiness)]
) -> Response:
    """200 while store and files can be used; how many workers live does not decide."""
    ready = readiness.of(parts_of(request))
    headers = {} if ready.ready else {"Retry-After": "5"}
    return JSONResponse(ready.model_dump(), 200 if ready.ready else 503, headers)


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="What Prometheus reads",
    response_class=Response,
    responses={
        200: {
            "description": "Jobs, trials, workers, requests and what the process uses.",
            "content": {"text/plain": {"example": 'autopeft_queue_depth{lane="runs"} 0.0'}},
        },
        **documented(),
    },
)
def get_metrics(request: Request, _caller: Admin) -> Response:
    """In the text format of Prometheus; needs the scope `admin`."""
    return Response(written(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
