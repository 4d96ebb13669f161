"""What a search would cost, without training anything."""

from dataclasses import replace

from autopeft.resources.requests import EstimateRequest
from autopeft.service.event import Happening
from autopeft.service.job import JobState
from autopeft.study import Limits
from autopeft.worker.checking import await_data
from autopeft.worker.means import Means
from autopeft.worker.work import READING, Work


def estimate(means: Means, work: Work) -> None:
    """Measure a step of training and say what the whole search would take.

    Raises:
        AutopeftError: The search could not be run.
    """
    from autopeft.wiring.estimating import document_of
    from autopeft.wiring.sockets import estimate_of
    from autopeft.wiring.submitted import study_submitted

    job = work.job
    body = EstimateRequest.model_validate(dict(job.request))
    work.now_at(READING)
    work.look()
    await_data(means, work, body.data)
    with work.heart.interruptible():
        study = study_submitted(
            body, job.owner, means.service.datasets, means.settings, means.store
        )
        work.now_at("measuring")
        work.look()
        cost = estimate_of(study, means.memory_for(body.run.memory))
        limits = Limits(trials=body.limits.trials, seconds=body.limits.seconds)
        document = document_of(study, limits, body.run.workers, cost)
    said = f"about {document['seconds'] / 60:.1f} min for {document['trainings']} trainings"
    work.now_at("measuring", 1.0)
    work.end(
        lambda job: replace(job, state=JobState.SUCCEEDED, result=document),
        Happening(kind="answer", message=said, data={"seconds": document["seconds"]}),
    )
