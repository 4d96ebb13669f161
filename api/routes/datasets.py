"""Data sets: files that are uploaded once and named in any number of requests."""

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from autopeft.api.access import Caller
from autopeft.api.dependencies import (
    AuditDep,
    OnceDep,
    PresentDep,
    Reader,
    ServiceDep,
    SettingsDep,
    Submitter,
)
from autopeft.api.idempotency import Made
from autopeft.api.problems import ProblemError, documented, missing
from autopeft.api.routes.jobs import After, Limit
from autopeft.api.uploads import Incoming, Limits, arriving, receive
from autopeft.errors import JobError, UnknownError
from autopeft.resources.answers import DatasetResource, Listed
from autopeft.service.dataset import Dataset
from autopeft.service.job import Job, JobState, Kind, cancelled
from autopeft.service.ports import Service
from autopeft.wiring.uploaded import FORMATS

PLACE = "/v1/datasets"
router = APIRouter(prefix=PLACE, tags=["datasets"])

DatasetId = Annotated[str, InPath(alias="id", description="The data set's id.")]
_ID = re.compile(r"dataset_[0-9a-f]{12}")
Name = Annotated[
    str,
    Query(
        max_length=300,
        description="The file's name, where the body is the file itself; in a form, the part's own "
        f"filename is taken where this is left out. It ends in one of {', '.join(FORMATS)}.",
    ),
]
Digest = Annotated[
    str | None,
    Query(
        pattern=r"^[0-9a-fA-F]{64}$",
        description="The file's SHA-256 (hex): an upload with another one is refused.",
    ),
]
_FILE = {"type": "string", "format": "binary"}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {
                    "file": _FILE | {"description": "With a filename that tells the format."},
                    "sha256": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
                },
            }
        },
        "application/octet-stream": {"schema": _FILE},
    },
}


class _Asked(BaseModel):
    """What makes an upload the same as another one, for Idempotency-Key."""

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: int
    sha256: str


@router.post(
    "",
    status_code=201,
    operation_id="upload_dataset",
    summary="Upload a data set",
    response_model=DatasetResource,
    responses=documented(
        "conflict", "too_large", "unsupported_media_type", "quota_exceeded",
        "idempotency_in_progress", "idempotency_mismatch",
    ),
    openapi_extra={"requestBody": _BODY},
)  # fmt: skip
async def upload(
    *,
    request: Request,
    caller: Submitter,
    service: ServiceDep,
    settings: SettingsDep,
    once: OnceDep,
    audit: AuditDep,
    present: PresentDep,
    name: Name = "",
    sha256: Digest = None,
) -> Response:
    """CSV, TSV, JSON lines, Parquet, or an archive (.zip, .tar.gz) of images in folders.

    The body is written to disk as it comes. What is in it is found out in the background: look at
    `state`, which becomes `ready` or `invalid`.
    """
    kept = partial(service.datasets.bytes, caller.owner)
    limits = Limits(most=settings.upload_bytes, quota=caller.quota.bytes, kept=kept)
    root = settings.folder / "datasets"
    async with arriving(root, caller.owner, limits) as incoming:
        incoming.name = name
        await receive(request, incoming)
        _check_digest(incoming, sha256)

        def make() -> Made:
            dataset = _keep(incoming, root, caller, service)
            audit("dataset.upload", dataset.id)
            body = present.dataset(dataset)
            return Made(status=201, body=body, location=f"{PLACE}/{dataset.id}")

        asked = _Asked(name=incoming.name, bytes=incoming.size, sha256=incoming.digest)
        return await run_in_threadpool(once.answer, asked.model_dump(), make)


@router.get(
    "",
    operation_id="list_datasets",
    summary="List data sets",
    response_model=Listed[DatasetResource],
    responses=documented(),
)
def datasets(
    caller: Reader,
    service: ServiceDep,
    present: PresentDep,
    limit: Limit = 20,
    after: After = None,
) -> Listed[DatasetResource]:
    """The newest first. A page ends with `next`, which the next page begins after."""
    if after is not None:
        try:
            _of(caller, service, after)
        except ProblemError as problem:
            raise ProblemError("invalid_request", problem.detail, param="after") from None
    found, more = service.datasets.page(owner=caller.sees, after=after, limit=limit)
    data = [present.dataset(dataset) for dataset in found]
    return Listed(data=data, has_more=more, next=found[-1].id if more else None)


@router.get(
    "/{id}",
    operation_id="get_dataset",
    summary="Get one data set",
    response_model=DatasetResource,
    responses=documented("not_found"),
)
def dataset(
    dataset_id: DatasetId, caller: Reader, service: ServiceDep, present: PresentDep
) -> DatasetResource:
    """Its state, and what was found in it or why it cannot be used."""
    return present.dataset(_of(caller, service, dataset_id))


@router.delete(
    "/{id}",
    status_code=204,
    operation_id="delete_dataset",
    summary="Delete a data set",
    response_class=Response,
    responses=documented("not_found", "conflict"),
)
def delete(
    dataset_id: DatasetId,
    caller: Submitter,
    service: ServiceDep,
    settings: SettingsDep,
    audit: AuditDep,
) -> Response:
    """Refused while a job that has not ended uses it."""
    found = _of(caller, service, dataset_id)
    try:
        service.datasets.remove(found.id)
    except UnknownError:
        raise missing("data set", dataset_id) from None
    except JobError as error:
        raise ProblemError(
            "conflict", str(error), remedy="Cancel the job, or wait until it has ended."
        ) from None
    _stop_check(found, service)
    audit("dataset.delete", found.id)
    shutil.rmtree(settings.folder / "datasets" / found.id, ignore_errors=True)
    return Response(status_code=204)


def check_of(dataset_id: str) -> str:
    """Return the id of the job that reads a data set."""
    return f"check_{dataset_id.partition('_')[2]}"


def _of(caller: Caller, service: Service, dataset_id: str) -> Dataset:
    """Find a data set that the caller may see.

    Raises:
        ProblemError: There is none, or it is somebody else's.
    """
    if not _ID.fullmatch(dataset_id):
        raise missing("data set", dataset_id)
    try:
        found = service.datasets.dataset(dataset_id)
    except UnknownError:
        raise missing("data set", dataset_id) from None
    if not caller.may_see(found.owner):
        raise missing("data set", dataset_id)
    return found


def _check_digest(incoming: Incoming, wanted: str | None) -> None:
    for text in filter(None, (wanted, incoming.fields.get("sha256"))):
        if text.lower() != incoming.digest:
            raise ProblemError(
                "invalid_request",
                f"the upload has the SHA-256 {incoming.digest}, and not the one that was given",
                param="sha256",
                remedy="Send it again; if the digest is the same, it was wrong.",
            )


def _keep(incoming: Incoming, root: Path, caller: Caller, service: Service) -> Dataset:
    """Give the upload its place, and have it read. What fails on the way leaves nothing."""
    now = datetime.now(UTC)
    made = Dataset(
        id=f"dataset_{token_hex(6)}",
        owner=caller.owner,
        name=incoming.name,
        file=incoming.file.name,
        bytes=incoming.size,
        digest=incoming.digest,
        created=now,
    )
    folder = incoming.folder.rename(root / made.id)
    with _undone(partial(shutil.rmtree, folder, ignore_errors=True)):
        service.datasets.add(made)
    with _undone(partial(_forget, service, made, folder)):
        service.jobs.add(_check(made, caller, now))
    return made


def _check(dataset: Dataset, caller: Caller, now: datetime) -> Job:
    return Job(
        id=check_of(dataset.id),
        kind=Kind.DATASET,
        owner=caller.owner,
        request={"dataset": dataset.id},
        created=now,
        state=JobState.QUEUED,
        key=caller.key,
        most_running=caller.quota.running,
    )


class _undone:  # noqa: N801  # reads as a word: with _undone(...)
    """Undo something where what follows it fails."""

    def __init__(self, undo: Callable[[], object]) -> None:
        self._undo = undo

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            self._undo()


def _forget(service: Service, dataset: Dataset, folder: Path) -> None:
    service.datasets.remove(dataset.id)
    shutil.rmtree(folder, ignore_errors=True)


def _stop_check(dataset: Dataset, service: Service) -> None:
    """Cancel the job that reads the data set: nobody will need what it finds."""
    try:
        job = service.jobs.job(check_of(dataset.id))
        if not job.state.ended:
            service.jobs.change(job.id, cancelled)
    except JobError:  # there is none, or it has just ended
        return
