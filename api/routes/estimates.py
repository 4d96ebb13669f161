"""Estimates: what a search would cost, from its first step."""

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
from autopeft.api.problems import documented
from autopeft.api.routes.events import add_events
from autopeft.api.routes.jobs import add_job_routes
from autopeft.api.submitting import (
    add_once,
    check_search,
    new_job,
)
from autopeft.resources.answers import EstimateResource
from autopeft.resources.requests import EstimateRequest
from autopeft.service.job import Kind

router = APIRouter(prefix=PLACES[Kind.ESTIMATE], tags=["estimates"])


@router.post(
    "",
    status_code=202,
    operation_id="submit_estimate",
    summary="Estimate a search",
    response_model=EstimateResource,
    responses=documented(
        "unsupported_media_type", "too_large", "too_slow", "quota_exceeded",
        "idempotency_in_progress", "idempotency_mismatch",
    ),
)  # fmt: skip
def submit_estimate(
    body: EstimateRequest,
    caller: Submitter,
    service: ServiceDep,
    settings: SettingsDep,
    present: PresentDep,
    once: OnceDep,
    audit: AuditDep,
) -> Response:
    """Takes the same as a search. One step of it is measured, and nothing is trained.

    Estimates do not wait behind searches; `Location` is where to look for it.
    """
    asked = body.model_dump(mode="json")

    def make() -> Made:
        check_search(service, caller, body, settings)
        made = new_job(
            Kind.ESTIMATE, caller, asked,
            metadata=body.metadata, priority=body.priority, name=once.name,
        )  # fmt: skip
        job = add_once(service, caller, made)
        audit("estimate.submit", job.id)
        return Made(status=202, body=present.estimate(job), location=place_of(job))

    return once.answer(asked, make)


add_job_routes(router, Kind.ESTIMATE, EstimateResource)
add_events(router, Kind.ESTIMATE)
