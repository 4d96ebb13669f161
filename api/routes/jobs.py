"""What jobs of every kind have in common: one, a list of them, and what can be done with one."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from autopeft.api.access import Caller
from autopeft.api.dependencies import AuditDep, PresentDep, Reader, ServiceDep, Submitter
from autopeft.api.parameters import METADATA_PARAMETER, wanted_metadata
from autopeft.api.problems import ProblemError, documented, missing
from autopeft.api.submitting import changed, is_id
from autopeft.errors import UnknownError
from autopeft.resources.answers import JobResource, Listed
from autopeft.service.job import Job, JobState, Kind, cancelled, paused, resumed
from autopeft.service.ports import Page, Service

JobId = Annotated[str, Path(alias="id", description="The job's id.")]
Limit = Annotated[int, Query(ge=1, le=100, description="At most so many.")]
After = Annotated[
    str | None, Query(max_length=64, description="Begin after this one: `next` of a page.")
]


def found(service: Service, caller: Caller, kind: Kind, job_id: str) -> Job:
    """Find a job of a kind that the caller may see.

    Raises:
        ProblemError: There is none.
    """
    try:
        job = service.jobs.job(job_id) if is_id(job_id) else None
    except UnknownError:
        job = None
    if job is None or job.kind is not kind or not caller.may_see(job.owner):
        raise missing(kind, job_id)
    return job


def listed(
    service: Service,
    caller: Caller,
    kind: Kind,
    *,
    after: str | None,
    limit: int,
    states: list[JobState],
    metadata: dict[str, str],
) -> Page:
    """List the jobs of a kind that the caller may see, the newest first.

    Raises:
        ProblemError: ``after`` is none of them.
    """
    if after is not None:
        try:
            found(service, caller, kind, after)
        except ProblemError as problem:
            raise ProblemError("invalid_request", problem.detail, param="after") from None
    return service.jobs.page(
        owner=caller.sees, kind=kind, states=states, metadata=metadata, after=after, limit=limit
    )


def add_job_routes(router: APIRouter, kind: Kind, model: type[JobResource]) -> None:
    """Add the list of a kind's jobs, one of them, and the verbs to a router."""
    _add_list(router, kind, model)
    _add_one(router, kind, model)
    _add_verb(router, kind, model, "cancel", cancelled, "Stops for good, at once or very soon.")
    _add_verb(
        router, kind, model, "pause", paused, "Stops, at once or very soon; what is done is kept."
    )
    _add_verb(
        router, kind, model, "resume", resumed,
        "Goes on from what is recorded; one that failed or was cancelled is tried again.",
        goes_on=True,
    )  # fmt: skip


def plural(kind: Kind) -> str:
    """Write the name of many jobs of a kind."""
    return f"{kind}es" if kind is Kind.SEARCH else f"{kind}s"


def _add_list(router: APIRouter, kind: Kind, model: type[JobResource]) -> None:
    @router.get(
        "",
        operation_id=f"list_{plural(kind)}",
        summary=f"List {plural(kind)}",
        response_model=Listed[model],  # type: ignore[valid-type]
        responses=documented(),
        openapi_extra={"parameters": [dict(METADATA_PARAMETER)]},
    )
    def list_jobs(
        request: Request,
        caller: Reader,
        service: ServiceDep,
        present: PresentDep,
        limit: Limit = 20,
        after: After = None,
        state: Annotated[list[JobState] | None, Query(description="Any of these.")] = None,
    ) -> Response:
        """The newest first. A page ends with `next`, which the next page begins after."""
        page = listed(
            service,
            caller,
            kind,
            after=after,
            limit=limit,
            states=state or [],
            metadata=wanted_metadata(request),
        )
        found = [present.job(job) for job in page.jobs]
        last = found[-1].id if page.more else None
        return as_json(
            Listed[model](data=found, has_more=page.more, next=last)  # type: ignore[valid-type]
        )


def _add_one(router: APIRouter, kind: Kind, model: type[JobResource]) -> None:
    @router.get(
        "/{id}",
        operation_id=f"get_{kind}",
        summary=f"Get one {kind}",
        response_model=model,
        responses=documented("not_found"),
    )
    def get_job(
        job_id: JobId, caller: Reader, service: ServiceDep, present: PresentDep
    ) -> Response:
        """Its state, how far it is, and what came of it."""
        return as_json(present.job(found(service, caller, kind, job_id)))


def _add_verb(
    router: APIRouter,
    kind: Kind,
    model: type[JobResource],
    verb: str,
    change: Callable[[Job], Job],
    promise: str,
    *,
    goes_on: bool = False,
) -> None:
    @router.post(
        f"/{{id}}/{verb}",
        operation_id=f"{verb}_{kind}",
        summary=f"{verb.capitalize()} a {kind}",
        description=f"{promise} Doing it again changes nothing. 202 says that a worker has yet to "
        "see it.",
        response_model=model,
        responses={
            **documented("not_found", "conflict", *(["quota_exceeded"] if goes_on else [])),
            202: {"model": model, "description": "A worker will see it within seconds."},
        },
    )
    def do(
        job_id: JobId,
        caller: Submitter,
        service: ServiceDep,
        present: PresentDep,
        audit: AuditDep,
    ) -> Response:
        found(service, caller, kind, job_id)
        job = changed(service, caller, job_id, change)
        audit(f"{kind}.{verb}", job.id)
        return as_json(present.job(job), status_of(job))


def status_of(job: Job) -> int:
    """Return 202 where a worker has yet to do what was asked, else 200."""
    return 202 if job.state in {JobState.PAUSING, JobState.CANCELLING} else 200


def as_json(resource: Any, status: int = 200) -> Response:
    """Answer with a resource, written once and without a detour over dictionaries."""
    return Response(resource.model_dump_json(), status, media_type="application/json")
