"""Searches: submitted, listed, stopped and continued."""

from functools import partial

from fastapi import APIRouter, Response

from autopeft.api.dependencies import (
    AuditDep,
    OnceDep,
    PresentDep,
    ServiceDep,
    SettingsDep,
    Submitter,
)
from autopeft.api.idempotency import Made
from autopeft.api.presenting import PLACES, place_of
from autopeft.api.problems import ProblemError, documented
from autopeft.api.routes.artifacts import add_artifacts
from autopeft.api.routes.events import add_events
from autopeft.api.routes.jobs import JobId, add_job_routes, as_json, found, status_of
from autopeft.api.routes.results import add_results
from autopeft.api.routes.trials import add_trials
from autopeft.api.submitting import (
    add_once,
    check_data,
    check_going_on,
    check_search,
    check_trials,
    new_job,
)
from autopeft.resources.answers import SearchResource
from autopeft.resources.requests import ExtendRequest, SearchRequest
from autopeft.service.job import Kind, extended

router = APIRouter(prefix=PLACES[Kind.SEARCH], tags=["searches"])


@router.post(
    "",
    status_code=202,
    operation_id="submit_search",
    summary="Submit a search",
    response_model=SearchResource,
    responses=documented(
        "unsupported_media_type", "too_large", "too_slow", "quota_exceeded",
        "idempotency_in_progress", "idempotency_mismatch",
    ),
)  # fmt: skip
def submit_search(
    body: SearchRequest,
    caller: Submitter,
    service: ServiceDep,
    settings: SettingsDep,
    present: PresentDep,
    once: OnceDep,
    audit: AuditDep,
) -> Response:
    """It is validated, waits for a worker, and runs; `Location` is where to look for it.

    What is wrong with the model or the data is found while it is validated, and told by its
    `trouble` and an event.
    """
    asked = body.model_dump(mode="json")

    def make() -> Made:
        check_search(body, settings)
        check_trials(caller, body.limits.trials)
        check_data(service, caller, body.data)
        made = new_job(
            Kind.SEARCH, caller, asked,
            metadata=body.metadata, priority=body.priority, name=once.name,
        )  # fmt: skip
        job = add_once(service, caller, made)
        audit("search.submit", job.id)
        return Made(status=202, body=present.search(job), location=place_of(job))

    return once.answer(asked, make)


@router.post(
    "/{id}/extend",
    operation_id="extend_search",
    summary="Extend a search",
    response_model=SearchResource,
    responses={
        **documented(
            "not_found",
            "conflict",
            "quota_exceeded",
            "unsupported_media_type",
            "too_large",
            "too_slow",
        ),
        202: {"model": SearchResource, "description": "A worker will see it within seconds."},
    },
)
def extend_search(
    job_id: JobId,
    body: ExtendRequest,
    caller: Submitter,
    service: ServiceDep,
    present: PresentDep,
    audit: AuditDep,
) -> Response:
    """Its limits become these, and one that has ended goes on with them; the trials are all kept.

    The limits are totals: one that ran 30 trials and is given 50 runs 20 more.
    """
    known = found(service, caller, Kind.SEARCH, job_id)
    limits = body.model_dump(mode="json", exclude_none=True)
    if not limits:
        raise ProblemError(
            "invalid_request",
            "an extension needs another limit: trials, seconds or finals",
            param="trials",
        )
    check_trials(caller, body.trials)
    check_going_on(service, caller, known)
    job = service.jobs.change(job_id, partial(extended, limits=limits))
    audit("search.extend", job.id)
    return as_json(present.search(job), status_of(job))


add_job_routes(router, Kind.SEARCH, SearchResource)
add_trials(router)
add_results(router)
add_events(router, Kind.SEARCH)
add_artifacts(router, Kind.SEARCH)
