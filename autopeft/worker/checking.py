"""What is found out about a job before it runs: whether a search can be run, what data holds."""

from dataclasses import replace
from functools import partial
from typing import Any

from autopeft.errors import DataError
from autopeft.resources.requests import SearchRequest
from autopeft.service.dataset import Dataset, DatasetState
from autopeft.service.event import Happening
from autopeft.service.job import MOST_ATTEMPTS, Job, JobState, Trouble
from autopeft.worker.means import Means
from autopeft.worker.work import Work

_FATAL = Trouble(
    code="worker_lost",
    detail="each worker that read the data set was lost, most likely because memory ran out: "
    "upload a smaller part of it",
    param="file",
)


def validate(means: Means, work: Work) -> None:
    """Make the study of a search, and put the search into the queue.

    Raises:
        AutopeftError: It cannot be run.
    """
    from autopeft.wiring.submitted import study_submitted

    job = work.job
    body = SearchRequest.model_validate(dict(job.request))
    with work.heart.interruptible():
        study = study_submitted(
            body, job.owner, means.service.datasets, means.settings, means.store
        )
    means.store.add_study(study)
    task = study.task
    train, validation, test = task.examples
    work.say(
        f"study {study.id}: {task.kind} ({task.metric}) on {train:,} / {validation:,} / {test:,} "
        f"examples, {body.model} with {study.backbone.parameters:,} parameters, at most "
        f"{study.ceiling:,} of them trained, space {study.space.name}, {study.strategy}",
        study=study.id,
    )
    for warning in _surprises(body, study.task.max_length, len(study.rungs), study.earlier):
        work.warn(warning)

    def valid(job: Job) -> Job:
        if job.state is not JobState.VALIDATING:
            return job
        return replace(job, study=study.id, state=JobState.QUEUED)

    work.end(valid)


def read_dataset(means: Means, work: Work) -> None:
    """Say what a data set holds, or why it cannot be used; both are a success of the job.

    Raises:
        AutopeftError: The data set is gone, or could not be read for want of room.
    """
    from autopeft.wiring.submitted import file_of, outward
    from autopeft.wiring.uploaded import found_in

    datasets = means.service.datasets
    dataset = datasets.dataset(str(work.job.request["dataset"]))
    work.now_at("reading")
    work.look()
    if work.job.attempts + 1 >= MOST_ATTEMPTS:
        # should this worker be lost as well, nobody is left to say so
        datasets.change(dataset.id, partial(replace, state=DatasetState.INVALID, trouble=_FATAL))
    found: dict[str, Any] = {}
    trouble: Trouble | None = None
    try:
        with work.heart.interruptible():
            found = found_in(file_of(dataset, means.settings))
    except DataError as error:
        detail = outward(str(error), means.settings)
        trouble = Trouble(code="invalid_data", detail=detail, param="file")

    def changed(known: Dataset) -> Dataset:
        state = DatasetState.INVALID if trouble else DatasetState.READY
        return replace(known, state=state, found=found, trouble=trouble)

    datasets.change(dataset.id, changed)
    state = "invalid" if trouble else "ready"
    said = trouble.detail if trouble else f"data set {dataset.id} is ready: {_short(found)}"
    work.end(
        lambda job: replace(job, state=JobState.SUCCEEDED, result={"state": state}),
        Happening(kind="answer", message=said, data={"dataset": dataset.id, "state": state}),
    )


def _surprises(
    body: SearchRequest, max_length: int, rungs: int, earlier: tuple[str, ...]
) -> list[str]:
    """Say what was not asked for, or was and does not take place."""
    said = []
    if max_length < body.task.max_length:
        said.append(
            f"texts are cut to {max_length} tokens instead of {body.task.max_length}, so that the "
            "prompts before them have positions too"
        )
    if body.warm_start == "auto" and not earlier:
        said.append("no earlier study is similar: there is nothing to start from")
    if body.rungs is None and body.strategy == "autopeft" and rungs == 1:
        said.append("a third of a training has too few steps to tell much: no trial stops early")
    return said


def _short(found: dict[str, Any]) -> str:
    rows = found.get("rows", 0)
    return f"{rows:,} rows, {found.get('task') or 'the task is to be named'}"
