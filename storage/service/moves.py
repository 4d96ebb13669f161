"""What a change makes of a job: its times, its events, and where it goes when it is let go of.

All functions here are pure.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from autopeft.service.event import Event, Happening
from autopeft.service.job import MOST_ATTEMPTS, MOST_FALSE_STARTS, Job, JobState, Trouble

_SENTENCES = {
    JobState.VALIDATING: "waits to be validated",
    JobState.QUEUED: "waits for a worker",
    JobState.RUNNING: "is being worked on",
    JobState.PAUSING: "will pause as soon as its worker has put down what it is doing",
    JobState.PAUSED: "is paused; what is recorded is kept, and it can be resumed",
    JobState.CANCELLING: "will be cancelled as soon as its worker has put down what it is doing",
    JobState.CANCELLED: "is cancelled; what is recorded is kept, and it can be resumed",
    JobState.SUCCEEDED: "has succeeded",
    JobState.FAILED: "has failed",
}
_LET_GO = {
    JobState.RUNNING: JobState.QUEUED,
    JobState.PAUSING: JobState.PAUSED,
    JobState.CANCELLING: JobState.CANCELLED,
}


def let_go(job: Job) -> Job:
    """Return a job as it is when its worker lets go of it in an orderly way."""
    return replace(job, state=_LET_GO.get(job.state, job.state))


def lost(job: Job) -> Job:
    """Return a job as it is when its worker is lost: put back, or failed if that goes on."""
    attempts, false_starts = job.attempts + job.begun, job.false_starts + (not job.begun)
    left = replace(let_go(job), attempts=attempts, false_starts=false_starts, begun=False)
    wanted_on = left.state in {JobState.QUEUED, JobState.VALIDATING}
    if not wanted_on or (attempts < MOST_ATTEMPTS and false_starts < MOST_FALSE_STARTS):
        return left
    detail = (
        f"{attempts + false_starts} workers in turn were lost while they worked on this "
        f"{job.kind}, most likely because it needs more memory than there is: see the worker's "
        "log, give it more memory or choose a smaller model, batch or length, then resume it"
    )
    return replace(left, state=JobState.FAILED, trouble=Trouble(code="worker_lost", detail=detail))


def stays_claimed(old: Job, new: Job) -> bool:
    """Whether a worker that holds a job still does after a change of it."""
    return new.state.held or (new.state is old.state and old.state is JobState.VALIDATING)


def followed(
    old: Job, new: Job, happenings: Sequence[Happening], now: datetime
) -> tuple[Job, tuple[Event, ...]]:
    """Return a job as it is kept after a change, and the events of that change.

    Whoever tells of a change of state in words of their own is not spoken over.
    """
    moved = new.state is not old.state
    told = [*happenings]
    if moved and not any(happening.kind == "state" for happening in told):
        told.append(_said(new))
    started = old.started or (now if new.state is JobState.RUNNING else None)
    ended = (now if new.state.ended else None) if moved else old.ended
    kept = replace(
        new, id=old.id, owner=old.owner, kind=old.kind, created=old.created,
        started=started, ended=ended, events=old.events + len(told),
    )  # fmt: skip
    return kept, numbered(kept, told, old.events, now)


def first(job: Job, now: datetime) -> tuple[Job, tuple[Event, ...]]:
    """Return a new job and its first event."""
    return replace(job, events=1), numbered(job, [_said(job)], 0, now)


def numbered(
    job: Job, happenings: Sequence[Happening], after: int, now: datetime
) -> tuple[Event, ...]:
    """Give happenings their places in a job's history."""
    return tuple(
        Event(job=job.id, number=number, at=now, happening=happening)
        for number, happening in enumerate(happenings, after + 1)
    )


def _said(job: Job) -> Happening:
    sentence = f"{job.kind} {_SENTENCES[job.state]}"
    failed = job.state is JobState.FAILED
    if failed and job.trouble:
        sentence = f"{sentence}: {job.trouble.detail}"
    return Happening(
        kind="state",
        message=sentence,
        level="error" if failed else "info",
        data={"state": job.state.value},
    )
