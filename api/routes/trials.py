"""The trials of a search."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response

from autopeft.api.dependencies import PresentDep, Reader, ServiceDep, StoreDep
from autopeft.api.problems import documented, missing
from autopeft.api.routes.jobs import JobId, Limit, as_json, found
from autopeft.errors import StudyError
from autopeft.ports import Store
from autopeft.resources.answers import Listed, TrialDetail, TrialResource, TrialState
from autopeft.service.job import Job, Kind
from autopeft.study import Study
from autopeft.trial import Trial

_LARGEST = 2**31 - 1
Number = Annotated[int, Path(alias="n", ge=0, le=_LARGEST, description="The trial's number.")]
States = Annotated[list[TrialState] | None, Query(description="Any of these.")]
Purposes = Annotated[
    list[Literal["baseline", "search", "final"]] | None, Query(description="Any of these.")
]
AfterTrial = Annotated[
    int | None, Query(ge=0, le=_LARGEST, description="Begin after the trial of this number.")
]


def studied(store: Store, job: Job) -> tuple[Study, tuple[Trial, ...]] | None:
    """Return a search's study and trials; None while it has not begun."""
    if not job.study:
        return None
    try:
        return store.study(job.study), store.trials(job.study)
    except StudyError:  # it is validated, and its worker has not begun
        return None


def add_trials(router: APIRouter) -> None:
    """Add the trials to the router of searches."""

    @router.get(
        "/{id}/trials",
        operation_id="list_search_trials",
        summary="List the trials of a search",
        response_model=Listed[TrialResource],
        responses=documented("not_found"),
    )
    def list_trials(
        job_id: JobId,
        caller: Reader,
        service: ServiceDep,
        store: StoreDep,
        present: PresentDep,
        limit: Limit = 100,
        after: AfterTrial = None,
        state: States = None,
        purpose: Purposes = None,
    ) -> Response:
        """By number, the first one first; empty while the search has not begun."""
        job = found(service, caller, Kind.SEARCH, job_id)
        known = studied(store, job)
        everything = present.trials(*known, job) if known else []
        wanted = [
            trial
            for trial in everything
            if trial.number > (-1 if after is None else after)
            and (not state or trial.state in state)
            and (not purpose or trial.purpose in purpose)
        ]
        more = len(wanted) > limit
        last = str(wanted[limit - 1].number) if more else None
        return as_json(Listed[TrialResource](data=wanted[:limit], has_more=more, next=last))

    @router.get(
        "/{id}/trials/{n}",
        operation_id="get_search_trial",
        summary="Get one trial of a search",
        response_model=TrialDetail,
        responses=documented("not_found"),
    )
    def get_trial(
        job_id: JobId,
        number: Number,
        caller: Reader,
        service: ServiceDep,
        store: StoreDep,
        present: PresentDep,
    ) -> Response:
        """With its table of sizes, blocks by slots, its recipe and all that was measured."""
        job = found(service, caller, Kind.SEARCH, job_id)
        known = studied(store, job)
        if known is None or number not in {trial.number for trial in known[1]}:
            raise missing("trial", str(number))
        return as_json(present.trial(*known, job, number))
