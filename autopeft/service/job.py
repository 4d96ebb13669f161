"""Work that was submitted, the states it goes through, and which change is allowed when.

    submitted ──> validating ──> queued ──> running ──> succeeded
                      │             │ ▲        │  └───> failed
                      │             ▼ │        ▼
                      │           paused <── pausing
                      └──> cancelled <────── cancelling

A job that runs is not paused or cancelled at once: its state becomes a wish that the worker sees at
its next sign of life. All functions here are pure; a store applies them to what it holds.

A job whose worker is lost goes on with another one, as long as it gets on. It fails where
`MOST_ATTEMPTS` workers in turn were lost while they were at it, or `MOST_FALSE_STARTS` before they
had begun, when all that was lost is the reading of model and data. Both counts begin anew whenever
something has come of the job that had not come of it before: it was validated, one of its trials
was measured, a supernet or a training is a tenth further than it ever was. So may a search of days
lose any number of workers, and one that ends each of its workers does not take them all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from autopeft.errors import JobError


class Kind(StrEnum):
    """What a job does."""

    SEARCH = "search"
    ESTIMATE = "estimate"
    DATASET = "dataset"
    """Reads a data set that was uploaded, to say what is in it."""
    TRAINING = "training"
    """Trains a plan and scores it on the test part."""


class Lane(StrEnum):
    """Short work does not wait behind long work: each worker process serves one lane."""

    CHECKS = "checks"
    """Validating searches, estimates, data sets: seconds."""
    RUNS = "runs"
    """Searches and trainings: minutes to days."""


class JobState(StrEnum):
    """Where a job stands."""

    VALIDATING = "validating"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens unless somebody asks for it."""
        return self in {JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED}

    @property
    def held(self) -> bool:
        """Whether a worker is at it."""
        return self in {JobState.RUNNING, JobState.PAUSING, JobState.CANCELLING}


MOST_ATTEMPTS = 5
"""How many workers in turn may be lost at a job before it is the job that is to blame.

More than a trial may lose before it is given up, so that a search goes on without that trial.
"""
MOST_FALSE_STARTS = 10
"""The same of those that were lost before they had begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a job failed: a code for programs, a sentence that says what to do, and where to look.

    ``param`` is the field of the request that is to be changed, as ``data.dataset``; or empty.
    """

    code: str
    detail: str
    param: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is.

    ``phase`` names what goes on, such as ``supernet``, ``trials`` or ``finals``, ``share`` is how
    much of it is done, in [0, 1]. ``trials`` counts those that have ended, ``of`` what was asked
    for. ``best`` is the best score so far, ``seconds`` what was spent over all runs, and
    ``remaining`` what is probably still to come, None where that is not known.
    """

    phase: str = ""
    share: float = 0.0
    trials: int = 0
    of: int = 0
    best: float | None = None
    seconds: float = 0.0
    remaining: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A piece of work as it was submitted, and what has become of it.

    ``request`` is the body as it was submitted and found valid, a JSON object. ``result`` is what
    came of it, a small JSON object: an estimate, the sentence of an answer, a training's scores.
    ``study`` is empty until a search is validated. ``owner`` is whose it is, ``key`` the id of the
    API key it came with, empty without keys. A higher ``priority`` goes first. ``most_running`` is
    how many jobs its owner may have running when it is claimed, None for any number. ``attempts``
    counts the workers it has lost in turn since it got on, ``false_starts`` those that were lost
    before they had ``begun``, which says whether the one that holds it now has. ``events`` numbers
    its last event.
    """

    id: str
    kind: Kind
    owner: str
    request: Mapping[str, Any]
    created: datetime
    state: JobState = JobState.VALIDATING
    key: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    most_running: int | None = None
    study: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    progress: Progress = Progress()
    result: Mapping[str, Any] = field(default_factory=dict)
    trouble: Trouble | None = None
    attempts: int = 0
    false_starts: int = 0
    begun: bool = False
    events: int = 0

    @property
    def lane(self) -> Lane | None:
        """Which lane would take the job now; None where there is nothing to do."""
        if self.state is JobState.VALIDATING:
            return Lane.CHECKS
        if self.state is not JobState.QUEUED:
            return None
        short = self.kind in {Kind.ESTIMATE, Kind.DATASET}
        return Lane.CHECKS if short else Lane.RUNS


def cancelled(job: Job) -> Job:
    """Cancel a job: at once where nobody is at it. Cancelling twice changes nothing.

    Raises:
        JobError: It has ended otherwise.
    """
    if job.state in {JobState.CANCELLED, JobState.CANCELLING}:
        return job
    if job.state.ended:
        raise JobError(f"{job.kind} {job.id} has {job.state} and cannot be cancelled any more")
    return replace(job, state=JobState.CANCELLING if job.state.held else JobState.CANCELLED)


def paused(job: Job) -> Job:
    """Pause a job; `resumed` lets it go on from what is recorded. Pausing twice changes nothing.

    Raises:
        JobError: It has ended, or is being cancelled.
    """
    if job.state in {JobState.PAUSED, JobState.PAUSING}:
        return job
    if job.state.ended or job.state is JobState.CANCELLING:
        raise JobError(f"{job.kind} {job.id} is {job.state} and cannot be paused")
    return replace(job, state=JobState.PAUSING if job.state.held else JobState.PAUSED)


def resumed(job: Job) -> Job:
    """Let a paused job go on, or try one again that failed or was cancelled.

    One that waits or runs stays as it is.

    Raises:
        JobError: It has succeeded, or is on its way to a stop.
    """
    if job.state in {JobState.VALIDATING, JobState.QUEUED, JobState.RUNNING}:
        return job
    if job.state is JobState.SUCCEEDED:
        more = ": extend it to search further" if job.kind is Kind.SEARCH else ""
        raise JobError(f"{job.kind} {job.id} has succeeded and cannot be resumed{more}")
    if job.state.held:
        raise JobError(f"{job.kind} {job.id} is still {job.state}: resume it when it has stopped")
    return _waiting(job)


def extended(job: Job, limits: Mapping[str, Any]) -> Job:
    """Give a search other limits; one that has ended goes on with them.

    One that runs is told to pause, and the worker that lets go of it puts it back into the queue.

    Raises:
        JobError: It is no search, or is being cancelled.
    """
    if job.kind is not Kind.SEARCH:
        raise JobError(f"only a search can be extended, and {job.id} is a {job.kind}")
    if job.state is JobState.CANCELLING:
        raise JobError(f"{job.kind} {job.id} is being cancelled and cannot be extended")
    known = dict(job.request.get("limits") or {})
    larger = replace(job, request={**job.request, "limits": known | dict(limits)})
    return _waiting(larger) if job.state.ended else larger


def advanced(job: Job) -> Job:
    """Clear a job that gets on of the workers it has lost."""
    return replace(job, attempts=0, false_starts=0)


def _waiting(job: Job) -> Job:
    known = job.study or job.kind is not Kind.SEARCH
    state = JobState.QUEUED if known else JobState.VALIDATING
    return advanced(replace(job, state=state, ended=None, trouble=None))
