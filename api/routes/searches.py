"""Searches: submitted, listed, stopped and continued."""

from functools import partial

from fastapi import APIRouter, Response

from autopeft.api.dependencies import (
    AuditDep,
    OnceDep,
    PresentDep,
    ServiceDep,
    SettingsDep,
    StoreDep,
    Submitter,
)
from autopeft.api.extending import is_done
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
    changed,
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

    What names something that does not exist or is not allowed is refused at once. What is wrong
    inside of the model or the data is found while it is validated, and told by its `trouble` and
    an event.
    """
    asked = body.model_dump(mode="json")

    def make() -> Made:
        check_search(service, caller, body, settings)
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
    store: StoreDep,
    present: PresentDep,
    audit: AuditDep,
) -> Response:
    """Its limits become these, and one that has ended goes on with them; the trials are all kept.

    The limits are totals: one that ran 30 trials and is given 50 runs 20 more. One that has ended
    and that nothing is left to do for is refused, or left as it is where these are its limits.
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
    if is_done(known, body, store):
        return as_json(present.search(known))
    job = changed(service, caller, job_id, partial(extended, limits=limits))
    audit("search.extend", job.id)
    return as_json(present.search(job), status_of(job))


add_job_routes(router, Kind.SEARCH, SearchResource)
add_trials(router)
add_results(router)
add_events(router, Kind.SEARCH)
add_artifacts(router, Kind.SEARCH)
