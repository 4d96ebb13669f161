"""What happened to a job, as pages or as a stream."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from autopeft.api.dependencies import PresentDep, Reader, ServiceDep, StreamsDep, parts_of
from autopeft.api.problems import documented
from autopeft.api.routes.jobs import JobId, Limit, as_json, found
from autopeft.resources.answers import EventResource, Listed
from autopeft.service.job import Kind

_FARTHEST = 2**53 - 1
STREAM = "text/event-stream"
_EXAMPLE = (
    "retry: 2000\n\n"
    'event: state\ndata: {"id":3,"object":"event","at":"2026-11-22T10:00:00Z","kind":"state",'
    '"level":"info","message":"running","data":{"state":"running"}}\nid: 3\n\n'
    ": ping\n\n"
    "event: end\ndata: {}\n\n"
)
_OK: dict[str, Any] = {
    "description": "A page of events; or, asked for with `Accept: text/event-stream`, a stream of "
    "them. There each has its number as `id` and its kind as `event`, comments come in "
    "silence, and an event `end` when the job has ended and all is told.",
    "content": {STREAM: {"schema": {"type": "string"}, "example": _EXAMPLE}},
}


class EventStream(StreamingResponse):
    """A stream that lets go of its job as soon as the listener has left."""

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], *, headers: Mapping[str, str], media_type: str
    ) -> None:
        super().__init__(chunks, headers=headers, media_type=media_type)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell until all is told or the listener leaves."""
        async with aclosing(self._chunks):
            await super().__call__(scope, receive, send)


def add_events(router: APIRouter, kind: Kind) -> None:
    """Add the events of a kind's jobs to a router."""

    @router.get(
        "/{id}/events",
        operation_id=f"list_{kind}_events",
        summary=f"List or follow the events of a {kind}",
        response_model=Listed[EventResource],
        responses={200: _OK, **documented("not_found")},
    )
    def list_events(
        request: Request,
        job_id: JobId,
        caller: Reader,
        service: ServiceDep,
        present: PresentDep,
        streams: StreamsDep,
        after: Annotated[
            int, Query(ge=0, le=_FARTHEST, description="Begin after the event of this number.")
        ] = 0,
        limit: Limit = 100,
        accept: Annotated[str, Header(include_in_schema=False)] = "",
        last_event_id: Annotated[
            int | None,
            Header(ge=0, le=_FARTHEST, description="The same as `after`, for browsers."),
        ] = None,
    ) -> Response:
        """The oldest first. A stream begins after `Last-Event-ID`, or `after`."""
        job = found(service, caller, kind, job_id)
        after = after if last_event_id is None else last_event_id
        if STREAM in accept:
            stands = partial(parts_of(request).access.stands, caller)
            return EventStream(
                streams.follow(job, after, stands),
                media_type=STREAM,
                headers={"X-Accel-Buffering": "no"},
            )
        events = service.jobs.events(job_id, after=after, limit=limit + 1)
        more = len(events) > limit
        data = [present.event(event) for event in events[:limit]]
        last = str(data[-1].id) if more else None
        return as_json(Listed[EventResource](data=data, has_more=more, next=last))
