"""Whether other limits leave anything to do for a search that has succeeded."""

from autopeft.api.problems import ProblemError
from autopeft.ports import Store
from autopeft.resources.requests import ExtendRequest, LimitsOf
from autopeft.service.job import Job, JobState
from autopeft.trial import Purpose

_REMEDY = "Limits are totals: name more than what is there, or take the answer as it is."


def is_done(job: Job, asked: ExtendRequest, store: Store) -> bool:
    """Tell whether a search has succeeded within these very limits, so that it stays as it is.

    Raises:
        ProblemError: It has succeeded, and these limits are no more than what it has used.
    """
    if job.state is not JobState.SUCCEEDED or not job.study:
        return False
    known = LimitsOf.model_validate(dict(job.request.get("limits") or {}))
    wanted = known.model_copy(update=asked.model_dump(exclude_none=True))
    if wanted == known:
        return True
    if wanted.seconds is not None and wanted.seconds <= job.progress.seconds:
        spent = f"the search {job.id} has taken {job.progress.seconds:,.0f} seconds already"
        raise _refused("seconds", spent, wanted.seconds)
    longer = known.seconds is not None and wanted.seconds != known.seconds
    if longer or wanted.finals > known.finals:  # what there was no time for may be left
        return False
    there = _trials(job.study, store)
    if wanted.trials <= there:
        raise _refused("trials", f"the search {job.id} has {there:,} trials already", wanted.trials)
    return False


def _refused(param: str, already: str, wanted: float) -> ProblemError:
    return ProblemError(
        "conflict",
        f"{already}: a limit of {wanted:,.10g} leaves nothing to do",
        param=param,
        remedy=_REMEDY,
    )


def _trials(study_id: str, store: Store) -> int:
    known = store.trials(study_id, predictions=False)
    return sum(trial.proposal.purpose is not Purpose.FINAL for trial in known)
