"""What a search has found: its front, its report and its plan."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic_core import to_json

from autopeft.answer import Answer
from autopeft.api.dependencies import PresentDep, Reader, ServiceDep, StoreDep
from autopeft.api.problems import ProblemError, documented
from autopeft.api.routes.jobs import JobId, as_json, found
from autopeft.api.routes.trials import studied
from autopeft.api.trials import pareto
from autopeft.plan import Plan
from autopeft.ports import Store
from autopeft.report import content_of
from autopeft.report.content import Content
from autopeft.report.html import html_page
from autopeft.report.markdown import markdown
from autopeft.resources.answers import ParetoResource
from autopeft.service.job import Job, Kind

_MARKDOWN = "text/markdown"
_WRITERS: dict[str, tuple[str, Callable[[Content], str]]] = {
    "markdown": (_MARKDOWN, markdown),
    "html": ("text/html", html_page),
}
Format = Annotated[
    Literal["markdown", "html"],
    Query(
        alias="format",
        description="Markdown, or one page of HTML that needs no network and no script.",
    ),
]
_PLAN: dict[str, Any] = {
    "description": "The plan: backbone, task, configuration, recipe, and the score to expect.",
    "content": {"application/json": {"schema": {"type": "object", "title": "Plan"}}},
}
_REPORT: dict[str, Any] = {
    "description": "The report.",
    "content": {
        _MARKDOWN: {"schema": {"type": "string"}, "example": "# Study 0b9d2c4e6f81\n\n..."},
        "text/html": {"schema": {"type": "string"}, "example": "<!doctype html>..."},
    },
}


def add_results(router: APIRouter) -> None:
    """Add what was found to the router of searches."""

    @router.get(
        "/{id}/pareto",
        operation_id="get_search_pareto",
        summary="Get the Pareto front of a search",
        response_model=ParetoResource,
        responses=documented("not_found", "conflict"),
    )
    def get_pareto(job_id: JobId, caller: Reader, service: ServiceDep, store: StoreDep) -> Response:
        """Every measured trial in the plane of the objectives, the budget, and what is covered."""
        job = found(service, caller, Kind.SEARCH, job_id)
        known = studied(store, job)
        if known is None:
            raise _too_early(job, "trials")
        return as_json(pareto(*known, job))

    @router.get(
        "/{id}/report",
        operation_id="get_search_report",
        summary="Get the report of a search",
        response_class=Response,
        responses={200: _REPORT, **documented("not_found", "conflict")},
    )
    def get_report(
        job_id: JobId,
        caller: Reader,
        service: ServiceDep,
        store: StoreDep,
        present: PresentDep,
        form: Format = "markdown",
    ) -> Response:
        """One page: the answer, what it was held against, and every trial."""
        job = found(service, caller, Kind.SEARCH, job_id)
        answer, plan = _answered(store, job, "report")
        known = studied(store, job)
        if known is None:
            raise _too_early(job, "report")
        study, trials = known
        study = replace(study, where=present.hidden.where(study.where))
        kind, write = _WRITERS[form]
        written = write(content_of(study, trials, answer, plan))
        return Response(present.text(written), media_type=kind)

    @router.get(
        "/{id}/plan",
        operation_id="get_search_plan",
        summary="Get the plan of a search",
        response_class=Response,
        responses={200: _PLAN, **documented("not_found", "conflict")},
    )
    def get_plan(
        job_id: JobId,
        caller: Reader,
        service: ServiceDep,
        store: StoreDep,
        present: PresentDep,
    ) -> Response:
        """The document that `autopeft train` and POST /v1/plans/{id}/train take."""
        job = found(service, caller, Kind.SEARCH, job_id)
        _, plan = _answered(store, job, "plan")
        document = replace(plan, where=present.hidden.where(plan.where)).to_json()
        return Response(
            to_json(document, inf_nan_mode="null"),
            media_type="application/json",
            headers={"Content-Disposition": 'inline; filename="plan.json"'},
        )


def _answered(store: Store, job: Job, what: str) -> tuple[Answer, Plan]:
    known = store.answer(job.study) if studied(store, job) else None
    if known is None:
        raise _too_early(job, what)
    return known


def _too_early(job: Job, what: str) -> ProblemError:
    return ProblemError(
        "conflict",
        f"the search {job.id} is {job.state} and has no {what} yet",
        remedy="Follow its events; it is there when they tell of an answer."
        if not job.state.ended
        else "Resume the search, or submit another one.",
    )
