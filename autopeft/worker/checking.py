"""What is found out about a job before it runs: whether a search can be run, what data holds."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from autopeft.errors import DataError, UnknownError
from autopeft.resources.requests import DataSource, SearchRequest
from autopeft.service.dataset import Dataset, DatasetState
from autopeft.service.event import Happening
from autopeft.service.job import (
    MOST_FALSE_STARTS,
    Job,
    JobState,
    Kind,
    Lane,
    Trouble,
    advanced,
)
from autopeft.worker.means import Means
from autopeft.worker.patient import rest
from autopeft.worker.stops import LaterError, SlowError
from autopeft.worker.work import READING, Work

_LOOK_EVERY = 0.3
MOST_SECONDS = 300.0
"""How long the reading of a data set may take, of which others are not to wait for each other."""

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
    from autopeft.wiring.unmet import unmet

    job = work.job
    body = SearchRequest.model_validate(dict(job.request))
    await_data(means, work, body.data)
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
    if task.max_length < body.task.max_length:
        work.warn(
            f"texts are cut to {task.max_length} tokens instead of {body.task.max_length}, so that "
            "the prompts before them have positions too"
        )
    for said in unmet(study, body.warm_start, body.rungs, body.limits.trials):
        work.warn(said)

    def valid(job: Job) -> Job:
        if job.state is not JobState.VALIDATING:
            return job
        return advanced(replace(job, study=study.id, state=JobState.QUEUED))

    work.end(valid)


def read_dataset(means: Means, work: Work) -> None:
    """Say what a data set holds, or why it cannot be used; both are a success of the job.

    One that takes more than `MOST_SECONDS` to read cannot be used.

    Raises:
        AutopeftError: The data set is gone, or could not be read for want of room.
    """
    from autopeft.wiring.hidden import Hidden
    from autopeft.wiring.submitted import file_of
    from autopeft.wiring.uploaded import found_in

    datasets = means.service.datasets
    dataset = datasets.dataset(str(work.job.request["dataset"]))
    work.now_at(READING)
    work.look()
    if work.job.false_starts + 1 >= MOST_FALSE_STARTS:
        give_up(means, work.job, _FATAL)  # should this worker be lost too, nobody is left to do so
    found: dict[str, Any] = {}
    trouble: Trouble | None = None
    try:
        with work.heart.interruptible(MOST_SECONDS):
            found = found_in(file_of(dataset, means.settings))
    except DataError as error:
        detail = Hidden(means.settings).text(str(error))
        trouble = Trouble(code="invalid_data", detail=detail, param="file")
    except SlowError:
        detail = (
            f"it takes more than {MOST_SECONDS:g} seconds to read {dataset.name}: upload a part of "
            "it, or fewer and larger files"
        )
        trouble = Trouble(code="invalid_data", detail=detail, param="file")

    def changed(known: Dataset) -> Dataset:
        state = DatasetState.INVALID if trouble else DatasetState.READY
        return replace(known, state=state, found=found, trouble=trouble)

    with suppress(UnknownError):  # it has been deleted meanwhile, and this job is being cancelled
        datasets.change(dataset.id, changed)
    state = "invalid" if trouble else "ready"
    said = trouble.detail if trouble else f"data set {dataset.id} is ready: {_short(found)}"
    work.end(
        lambda job: replace(job, state=JobState.SUCCEEDED, result={"state": state}),
        Happening(kind="answer", message=said, data={"dataset": dataset.id, "state": state}),
    )


def give_up(means: Means, job: Job, trouble: Trouble) -> None:
    """Say that the data set of a job cannot be used, since it cannot be read."""
    with suppress(UnknownError):  # it is gone
        means.service.datasets.change(
            str(job.request["dataset"]),
            partial(replace, state=DatasetState.INVALID, trouble=trouble),
        )


def await_data(means: Means, work: Work, data: DataSource | None) -> None:
    """Wait until the data sets that a job names have been read.

    Raises:
        LaterError: One waits to be read, by the same lane: it goes first, then this job. Or another
            process reads it, and there is other work: a search gives way to that.
        StopError: The work is to end.
    """
    if data is None:
        return
    for name in filter(None, (data.dataset, data.validation_dataset, data.test_dataset)):
        while (reading := _reading(means, work.job, name)) is not None:
            if reading.lane and work.job.kind is not Kind.TRAINING:
                first = max(reading.priority, work.job.priority)
                means.service.jobs.change(reading.id, partial(replace, priority=first))
                raise LaterError(f"{work.job.id} waits until {name} has been read")
            rest(_LOOK_EVERY, work.look)
            if work.job.state is JobState.VALIDATING and means.service.jobs.waiting(Lane.CHECKS):
                raise LaterError(f"{work.job.id} waits until {name} has been read")


def _reading(means: Means, job: Job, name: str) -> Job | None:
    """Return the job that reads a data set, or is about to; None where that is over."""
    try:
        dataset = means.service.datasets.dataset(name)
        reading = means.service.jobs.job(f"check_{name.partition('_')[2]}")
    except UnknownError:
        return None
    waited = dataset.owner == job.owner and dataset.state is DatasetState.VALIDATING
    return reading if waited and (reading.lane or reading.state.held) else None


def _short(found: dict[str, Any]) -> str:
    rows = found.get("rows", 0)
    return f"{rows:,} rows, {found.get('task') or 'the task is to be named'}"
