"""What is looked at before a job is made of a request."""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from autopeft.api.access import Caller
from autopeft.api.problems import ProblemError
from autopeft.errors import FullError, JobError, UnknownError
from autopeft.resources.requests import DataSource, SearchRequest
from autopeft.service.dataset import DatasetState
from autopeft.service.job import Job, JobState, Kind, Trouble
from autopeft.service.key import Scope
from autopeft.service.ports import Service
from autopeft.settings import ServiceSettings
from autopeft.wiring.submitted import seen_in, seen_in_data

_PARTS = ("dataset", "validation_dataset", "test_dataset")
_SETS = "Upload it with POST /v1/datasets; GET /v1/datasets lists those that there are."
_FILES = (
    "Name a file below the service's folders of data, or upload it with POST /v1/datasets and "
    "name the data set."
)
_REMEDIES = {
    "model": "Name one of those that GET /v1/models lists.",
    **{f"data.{part}": _SETS for part in _PARTS},
    **{f"data.{part}": _FILES for part in ("path", "validation_path", "test_path")},
}
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


def changed(service: Service, caller: Caller, job_id: str, change: Callable[[Job], Job]) -> Job:
    """Change a job, which may make it wait for a worker again.

    Raises:
        ProblemError: It would, and as many jobs wait as the quota allows.
        JobError: Its state does not allow the change.
    """
    try:
        return service.jobs.change(job_id, change, most=caller.quota.waiting)
    except FullError as error:
        raise _full(str(error)) from None


def check_search(
    service: Service, caller: Caller, body: SearchRequest, settings: ServiceSettings
) -> None:
    """See that what a search asks for means something and may be had, as far as that can be seen.

    What is inside of the model and the data is looked at later, by a worker.

    Raises:
        ProblemError: It names all fields that have a value that does not exist, or that is not
            allowed here; or more trials are asked for than the quota allows.
    """
    _refuse([*seen_in(body, settings), *_missing(service, caller, body.data)])
    check_trials(caller, body.limits.trials)


def check_data(
    service: Service, caller: Caller, data: DataSource | None, settings: ServiceSettings
) -> None:
    """See that the data that a request names may be read, as far as that can be seen.

    Raises:
        ProblemError: It names all parts that are not there, not the caller's, or of no use.
    """
    _refuse([*seen_in_data(data, settings), *_missing(service, caller, data)])


def _refuse(troubles: Sequence[Trouble]) -> None:
    if not troubles:
        return
    first = troubles[0]
    more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
    raise ProblemError(
        "invalid_request",
        f"{first.detail}{more}",
        param=first.param,
        errors=[(trouble.param, trouble.detail) for trouble in troubles],
        remedy=_REMEDIES.get(first.param),
    )


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


def _missing(service: Service, caller: Caller, data: DataSource | None) -> Iterator[Trouble]:
    """Yield of each data set that a request names that it cannot be used."""
    for part in _PARTS:
        name = getattr(data, part, None)
        if name is not None and (why := _unusable(service, caller, name)):
            yield Trouble(code="invalid_data", detail=why, param=f"data.{part}")


def _unusable(service: Service, caller: Caller, name: str) -> str:
    try:
        found = service.datasets.dataset(name) if is_id(name) else None
    except UnknownError:
        found = None
    # An administrator sees the data of others, but a job reads only its own owner's.
    if found is None or found.owner != caller.owner:
        return f"there is no data set {name!r}"
    if found.state is DatasetState.INVALID:
        why = f": {found.trouble.detail}" if found.trouble else ""
        return f"the data set {name} cannot be used{why}"
    return ""


def is_id(name: str) -> bool:
    """Whether a text can be the id of anything: all others need not be looked for."""
    return _ID.fullmatch(name) is not None
