"""What is looked at before a job is made of a request."""

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from autopeft.api.access import Caller
from autopeft.api.problems import ProblemError
from autopeft.errors import FullError, JobError, UnknownError
from autopeft.resources.requests import DataSource, SearchRequest
from autopeft.service.dataset import DatasetState
from autopeft.service.job import Job, JobState, Kind
from autopeft.service.key import Scope
from autopeft.service.ports import Service
from autopeft.settings import ServiceSettings
from autopeft.wiring.submitted import RefusedError, check_words

_PARTS = ("dataset", "validation_dataset", "test_dataset")
_LATER = {"Retry-After": "60"}
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


def new_job(
    kind: Kind,
    caller: Caller,
    request: Mapping[str, Any],
    *,
    metadata: Mapping[str, str] | None = None,
    priority: int = 0,
    name: str = "",
) -> Job:
    """Make a job of a request (JSON values) that was found to be in order.

    ``name`` is the end of its id, drawn where it is empty.

    Raises:
        ProblemError: It would go before everybody else's, which only administrators may want.
    """
    if priority > 0 and not caller.scope.includes(Scope.ADMIN):
        raise ProblemError(
            "forbidden",
            f"a priority above 0, such as {priority}, needs a key with the scope admin",
            param="priority",
            remedy="Leave the priority out, or give one of 0 or less to let others go first.",
        )
    return Job(
        id=f"{kind}_{name or secrets.token_hex(6)}",
        kind=kind,
        owner=caller.owner,
        key=caller.key,
        request=request,
        created=datetime.now(UTC),
        state=JobState.VALIDATING if kind is Kind.SEARCH else JobState.QUEUED,
        metadata=dict(metadata or {}),
        priority=priority,
        most_running=caller.quota.running,
    )


def add_once(service: Service, caller: Caller, job: Job) -> Job:
    """Add a job, or find it where an earlier try of the same request came so far and no further.

    Raises:
        ProblemError: The id, which follows from the Idempotency-Key, is that of another request;
            or as many jobs wait as the quota allows.
    """
    try:
        return service.jobs.add(job, most=caller.quota.waiting)
    except FullError as error:
        raise _full(str(error)) from None
    except JobError:
        known = service.jobs.job(job.id)
    if (known.owner, known.request) == (job.owner, job.request):
        return known
    raise ProblemError(
        "idempotency_mismatch",
        f"the Idempotency-Key was sent before, for {known.id}, with another request",
        param="Idempotency-Key",
    )


def _full(detail: str) -> ProblemError:
    return ProblemError("quota_exceeded", detail, headers=_LATER)


def check_going_on(service: Service, caller: Caller, job: Job) -> None:
    """See that a job that waits for nothing may wait for a worker again.

    Raises:
        ProblemError: As many wait as the quota allows.
    """
    most = caller.quota.waiting
    if most is None or not (job.state.ended or job.state is JobState.PAUSED):
        return
    if service.jobs.queued(caller.owner) >= most:
        raise _full(f"{most} jobs of {caller.owner} wait, and no more are allowed")


def check_search(body: SearchRequest, settings: ServiceSettings) -> None:
    """See that what a search asks for means something; model and data are looked at later.

    Raises:
        ProblemError: A field has a value that does not exist, or that is not allowed here.
    """
    try:
        check_words(body, settings)
    except RefusedError as error:
        trouble = error.trouble
        raise ProblemError("invalid_request", trouble.detail, param=trouble.param) from None


def check_trials(caller: Caller, trials: int | None) -> None:
    """See that the caller may ask for so many trials.

    Raises:
        ProblemError: They are more than the quota allows.
    """
    most = caller.quota.trials
    if most is not None and trials is not None and trials > most:
        raise ProblemError(
            "quota_exceeded",
            f"a search of {caller.owner} may have {most:,} trials, and not {trials:,}",
            param="limits.trials",
            headers=_LATER,
            remedy="Ask for fewer trials, or the operator for a larger quota.",
        )


def check_data(
    service: Service, caller: Caller, data: DataSource | None, *, param: str = "data"
) -> None:
    """See that the data sets that a request names are there, the caller's, and no failures.

    Raises:
        ProblemError: One is not.
    """
    for part in _PARTS:
        name = getattr(data, part, None)
        if name is not None:
            _check_dataset(service, caller, name, f"{param}.{part}")


def _check_dataset(service: Service, caller: Caller, name: str, param: str) -> None:
    try:
        found = service.datasets.dataset(name) if is_id(name) else None
    except UnknownError:
        found = None
    # An administrator sees the data of others, but a job reads only its own owner's.
    if found is None or found.owner != caller.owner:
        raise ProblemError(
            "invalid_request",
            f"there is no data set {name!r}",
            param=param,
            remedy="Upload it with POST /v1/datasets; GET /v1/datasets lists those that there are.",
        )
    if found.state is DatasetState.INVALID:
        why = f": {found.trouble.detail}" if found.trouble else ""
        raise ProblemError(
            "invalid_request",
            f"the data set {name} cannot be used{why}",
            param=param,
            remedy="Mend the file and upload it again.",
        )


def is_id(name: str) -> bool:
    """Whether a text can be the id of anything: all others need not be looked for."""
    return _ID.fullmatch(name) is not None
