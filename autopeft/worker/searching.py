"""A search: the same as on the command line, told to whoever submitted it."""

import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from autopeft.errors import StudyError
from autopeft.ports import Store
from autopeft.records import to_json
from autopeft.resources.requests import LimitsOf, SearchRequest
from autopeft.service.event import Happening
from autopeft.service.job import Job, JobState, Trouble
from autopeft.study import Study
from autopeft.trial import State
from autopeft.wiring import sockets
from autopeft.wiring.conclude import conclude
from autopeft.wiring.hidden import Hidden
from autopeft.wiring.refusals import RefusedError
from autopeft.wiring.strategies import entry_of
from autopeft.wiring.submitted import limits_submitted, request_submitted
from autopeft.worker.following import Following
from autopeft.worker.means import Means
from autopeft.worker.patient import PatientStore, rest
from autopeft.worker.stops import ExtendedError
from autopeft.worker.work import READING, Work

_PREPARED = {"inheritance": "supernet", "structures": "gates", "nothing": ""}
_PAUSED = "paused"
_STUDY_AGAIN, _STUDY_PATIENCE = 2.0, 150.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """What a search runs with. ``store`` is one that is waited for when it is away."""

    means: Means
    work: Work
    body: SearchRequest
    study: Study
    store: Store


def search(means: Means, work: Work) -> None:
    """Run a search, or go on with it, up to its plan.

    Raises:
        AutopeftError: It ended before that; what was measured is kept.
    """
    job = work.job
    body = SearchRequest.model_validate(dict(job.request))
    work.now_at(READING)
    work.look()
    store = PatientStore(means.store, work.look, waited=work.away)
    this = _Search(means=means, work=work, body=body, study=_study(means, job, body), store=store)
    if work.outages:
        _put_back(store, this.study)
    _await(this)
    _conclude(this, *_run(this))


def _study(means: Means, job: Job, body: SearchRequest) -> Study:
    """Find the study, with model and data where this job names them."""
    known = means.store.study(job.study)
    request = request_submitted(body, job.owner, means.service.datasets, means.settings)
    return replace(known, finals=body.limits.finals, where=request.where)


def _run(this: _Search) -> tuple[tuple[str, ...], float]:
    """Run the trials that are left; return what went wrong on the way, and what was prepared."""
    work, study, run = this.work, this.study, this.body.run
    inline, workers, threads = run.executor == "inline", run.workers, run.threads
    what = _PREPARED[entry_of(study.strategy).needs]
    with work.heart.interruptible():
        folder = this.means.folder(work.job.id) / _PAUSED
        evaluator = sockets.evaluator_of(
            study, workers, threads, folder,
            cache=this.means.cache, block_cache=this.means.block_cache,
            memory=this.means.memory_for(run.memory),
        )  # fmt: skip
        if inline:  # a worker that is lost while it reads is not to count against a trial
            evaluator.ready()
        limits = limits_submitted(this.body, work.seconds)
        following = Following(work, study, limits)
        following.known(this.store.trials(study.id), this.means.events(work.job.id))
        shared = sockets.shared_of(
            study,
            this.means.cache,
            threads,
            evaluator if inline else None,
            partial(following.preparing, what),
            scored=partial(following.scoring, what),
        )
        trials = sockets.run(
            study,
            limits,
            store=this.store,
            executor=run.executor,
            workers=workers,
            evaluator=evaluator,
            shared=shared,
            pack=run.pack,
        )
        with closing(trials):  # type: ignore[type-var]  # it is a generator
            for trial in trials:
                following.saw(trial)
                work.look()
    if shared is None:
        return (), 0.0
    return (shared.problem,) if shared.problem else (), shared.seconds


def _conclude(this: _Search, warnings: tuple[str, ...], prepared: float) -> None:
    from autopeft.report import content_of
    from autopeft.report.html import html_page
    from autopeft.report.markdown import markdown

    means, work, study, store = this.means, this.work, this.study, this.store
    job, settings = work.job, means.settings
    work.now_at("concluding", of=work.progress.trials, remaining=None)
    work.look()
    try:
        answer, plan = conclude(study, store, warnings, prepared)
    except StudyError as error:
        trouble = Trouble(code="no_answer", detail=str(error), param="limits")
        raise RefusedError(trouble) from None
    for warning in answer.warnings:
        work.warn(warning)
    content = content_of(study, store.trials(study.id), answer, plan)
    hidden = Hidden(settings)
    means.keep_json(job.id, "plan.json", hidden.plan(plan).to_json())
    for name, write, kind in (
        ("report.md", markdown, "text/markdown"),
        ("report.html", html_page, "text/html"),
    ):
        means.keep(job.id, name, hidden.text(write(content)), kind)
    result: dict[str, Any] = {"sentence": answer.sentence(), "answer": to_json(answer)}
    told = {"study": study.id, "sentence": answer.sentence(), "verdict": answer.verdict}

    def succeeded(job: Job) -> Job:
        if LimitsOf.model_validate(job.request.get("limits") or {}) != this.body.limits:
            raise ExtendedError(f"search {job.id} has other limits")
        state = JobState.CANCELLED if job.state is JobState.CANCELLING else JobState.SUCCEEDED
        return replace(job, state=state, result=result)

    work.now_at("concluding", 1.0, remaining=0.0)
    work.end(succeeded, Happening(kind="answer", message=answer.sentence(), data=told))
    shutil.rmtree(means.folder(job.id) / _PAUSED, ignore_errors=True)


def _await(this: _Search) -> None:
    """Wait for a study that a lost worker on another machine still seems to run.

    Raises:
        StudyError: Somebody runs it, outside of the service.
    """
    waited = 0.0
    this.store.add_study(this.study)
    while True:
        try:
            with this.store.lease(this.study.id):
                return
        except StudyError:
            if waited >= _STUDY_PATIENCE:
                raise
            if not waited:
                this.work.warn("another process still holds the study; waiting for it")
            rest(_STUDY_AGAIN, this.work.look)
            waited += _STUDY_AGAIN


def _put_back(store: Store, study: Study) -> None:
    """Put back what this process began and could not put back, because the store was away."""
    for trial in store.trials(study.id):
        if trial.state is State.RUNNING:
            store.put_back(study.id, trial)
