"""The training of a plan, and its score on the test part."""

from dataclasses import replace

from autopeft.errors import OptionError
from autopeft.plan import Plan
from autopeft.records import to_json
from autopeft.resources.requests import TaskOf, TrainRequest
from autopeft.service.event import Happening
from autopeft.service.job import Job, JobState, Kind
from autopeft.study import Where
from autopeft.wiring.allowed import check_download
from autopeft.wiring.capacity import beyond_threads
from autopeft.wiring.refusals import RefusedError
from autopeft.worker.checking import await_data
from autopeft.worker.following import furthest
from autopeft.worker.means import Means
from autopeft.worker.work import READING, Work

_TENTHS = 10


def train(means: Means, work: Work) -> None:
    """Train the plan of a search from scratch; its weights become a file of the job.

    Raises:
        AutopeftError: There is no plan, it cannot be trained, or the work is to end: then nothing
            of it is kept.
    """
    from autopeft.training.course import How
    from autopeft.training.production import Outcome
    from autopeft.training.production import train as trained
    from autopeft.wiring.hidden import Hidden

    job = work.job
    request = dict(job.request)
    body = TrainRequest.model_validate({k: v for k, v in request.items() if k != "search"})
    if trouble := beyond_threads(body.threads, means.settings, "threads"):
        raise RefusedError(trouble)
    plan = _plan(means, job, str(request["search"]))
    work.now_at(READING)
    work.look()
    await_data(means, work, body.data)
    where = _where(means, job, plan, body)
    seed = plan.seed if body.seed is None else body.seed
    folder, told, outcome = means.folder(job.id), 0, None
    before = furthest(means.events(job.id)).get("training", 0.0)
    work.now_at("training")
    work.look()
    how = How(memory=means.memory)
    with work.heart.interruptible():
        for event in trained(plan, where, folder, seed=seed, threads=body.threads, how=how):
            if isinstance(event, Outcome):
                outcome = event
                break
            work.now_at("training", event, remaining=_remaining(work, event))
            if int(event * _TENTHS) > told:
                told = int(event * _TENTHS)
                data = {"phase": "training", "share": event}
                text = f"training: {event:.0%}"
                happening = Happening(kind="progress", message=text, data=data)
                work.tell(happening, advanced=event > before)
            work.look()
    assert outcome is not None, "training ended without an outcome"
    document = to_json(outcome)
    means.keep_json(job.id, "plan.json", Hidden(means.settings).plan(plan).to_json())
    means.keep_json(job.id, "outcome.json", document)
    means.note(job.id, "adapter.safetensors", "application/octet-stream")
    test, validation = outcome.test.mean, outcome.validation
    said = f"{outcome.metric} on test {test:.4f}, on validation {validation:.4f}"
    work.now_at("training", 1.0, remaining=0.0)

    def succeeded(job: Job) -> Job:
        state = JobState.CANCELLED if job.state is JobState.CANCELLING else JobState.SUCCEEDED
        return replace(job, state=state, result=document)

    work.end(succeeded, Happening(kind="answer", message=said, data=document))


def _plan(means: Means, job: Job, search_id: str) -> Plan:
    search = means.service.jobs.job(search_id)
    found = means.store.answer(search.study) if search.study else None
    if search.owner != job.owner or search.kind is not Kind.SEARCH or found is None:
        raise OptionError(f"search {search_id} has no plan yet: wait until it has succeeded")
    return found[1]


def _where(means: Means, job: Job, plan: Plan, body: TrainRequest) -> Where:
    from autopeft.wiring.submitted import data_submitted

    check_download(plan.where.model)
    if body.data is None:
        return plan.where
    data = data_submitted(
        body.data, TaskOf(kind=plan.task.kind, text=plan.task.columns.text), job.owner,
        means.service.datasets, means.settings,
    )  # fmt: skip
    return Where(model=plan.where.model, data=data)


def _remaining(work: Work, share: float) -> float | None:
    return round(work.run_seconds * (1 - share) / share, 1) if share > 0 else None
