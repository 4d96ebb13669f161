"""Plans that searches have found: trained, and scored on the test part."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Body, Response

from autopeft.api.dependencies import (
    AuditDep,
    OnceDep,
    PresentDep,
    ServiceDep,
    SettingsDep,
    StoreDep,
    Submitter,
)
from autopeft.api.idempotency import Made
from autopeft.api.presenting import place_of
from autopeft.api.problems import ProblemError, documented
from autopeft.api.routes.jobs import JobId, found
from autopeft.api.submitting import add_once, check_data, new_job
from autopeft.ports import Store
from autopeft.resources.answers import TrainingResource
from autopeft.resources.requests import TrainRequest
from autopeft.service.job import Job, Kind

router = APIRouter(prefix="/v1/plans", tags=["trainings"])
_AS_PLANNED = TrainRequest()


@router.post(
    "/{id}/train",
    status_code=202,
    operation_id="train_plan",
    summary="Train a plan",
    response_model=TrainingResource,
    responses=documented(
        "not_found", "conflict", "unsupported_media_type", "too_large", "too_slow",
        "quota_exceeded", "idempotency_in_progress", "idempotency_mismatch",
    ),
)  # fmt: skip
def train_plan(
    *,
    job_id: JobId,
    caller: Submitter,
    service: ServiceDep,
    settings: SettingsDep,
    store: StoreDep,
    present: PresentDep,
    once: OnceDep,
    audit: AuditDep,
    body: Annotated[TrainRequest, Body()] = _AS_PLANNED,
) -> Response:
    """Trains the plan of a search (its id) from scratch, and scores it on the test part.

    The weights become `adapter.safetensors` among the training's artifacts. Without a body it is
    trained as it was planned.
    """
    asked = body.model_dump(mode="json")

    def make() -> Made:
        search = found(service, caller, Kind.SEARCH, job_id)
        _check_plan(store, search)
        check_data(service, caller, body.data, settings)
        # Named in the training too, so that its data cannot be deleted while it needs it.
        data = asked["data"] or search.request["data"]
        request = {"search": search.id, **asked, "data": data}
        made = new_job(
            Kind.TRAINING, caller, request,
            metadata=body.metadata, priority=body.priority, name=once.name,
        )  # fmt: skip
        # An administrator trains in the name of whose plan it is, who then sees the training.
        job = add_once(service, caller, replace(made, owner=search.owner))
        audit("training.submit", job.id)
        return Made(status=202, body=present.training(job), location=place_of(job))

    return once.answer(asked, make)


def _check_plan(store: Store, search: Job) -> None:
    if not search.study or store.answer(search.study) is None:
        raise ProblemError(
            "conflict",
            f"the search {search.id} is {search.state} and has no plan yet",
            remedy="Follow its events; the plan is there when they tell of an answer.",
        )
