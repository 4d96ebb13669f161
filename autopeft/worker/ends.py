"""How the work on a job ends when it does not end well, in words for whoever submitted it."""

import errno
from dataclasses import replace

from autopeft.errors import AutopeftError, OutputError, StoreError
from autopeft.service.job import Job, JobState, Trouble
from autopeft.settings import ServiceSettings
from autopeft.training.memory import is_out_of_memory

_FULL = {errno.ENOSPC, errno.EDQUOT}


def is_full(error: BaseException) -> bool:
    """Tell whether a disk is full, by what an error says or by what it was made of."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    if isinstance(error, OutputError):
        return isinstance(error.__context__, OSError) and error.__context__.errno in _FULL
    return isinstance(error, StoreError) and "the disk is full" in str(error)


def is_outage(error: BaseException) -> bool:
    """Tell whether it may go on by itself: the store is away, or there is no room on a disk."""
    return isinstance(error, StoreError) or is_full(error)


def trouble_for(error: BaseException, job: Job, settings: ServiceSettings) -> Trouble:
    """Say why a job has failed, without anything of the inside."""
    from autopeft.wiring.refusals import trouble_of

    if is_full(error):
        return Trouble(
            code="disk_full",
            detail="the service has no room left on its disk; what was measured is kept: resume "
            "the job when whoever runs the service has made room",
        )
    if isinstance(error, AutopeftError):
        return trouble_of(error, settings)
    if is_out_of_memory(error):
        return Trouble(
            code="out_of_memory",
            detail=f"memory ran out outside of a trial of this {job.kind}: choose a smaller model, "
            "recipe.batch_size or task.max_length, or resume it where there is more memory",
        )
    return Trouble(
        code="internal",
        detail=f"something went wrong inside of the service; its log names {job.id}: tell whoever "
        "runs it, and resume the job when it is mended",
    )


def failed(job: Job, trouble: Trouble) -> Job:
    """Return a job that has failed, or is cancelled where that was wished for."""
    if job.state is JobState.CANCELLING:
        return replace(job, state=JobState.CANCELLED)
    return replace(job, state=JobState.FAILED, trouble=trouble)
