"""Files that a job has made."""

import re
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from starlette.responses import FileResponse

from autopeft.api.dependencies import PresentDep, Reader, ServiceDep, SettingsDep
from autopeft.api.problems import ProblemError, documented, missing
from autopeft.api.routes.jobs import JobId, as_json, found
from autopeft.resources.answers import ArtifactResource, Listed
from autopeft.service.dataset import Artifact
from autopeft.service.job import Kind
from autopeft.settings import ServiceSettings

_BYTES: dict[str, Any] = {
    "description": "The file.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: _BYTES,
    206: {**_BYTES, "description": "The part of the file that `Range` asked for."},
    304: {"description": "It has not changed since the `If-None-Match` that was sent."},
}
_PART = re.compile(r"(\d{0,18})-(\d{0,18})", re.ASCII)
FileName = Annotated[str, InPath(alias="name", description="The file's name.")]


def add_artifacts(router: APIRouter, kind: Kind) -> None:
    """Add the files of a kind's jobs to a router."""

    @router.get(
        "/{id}/artifacts",
        operation_id=f"list_{kind}_artifacts",
        summary=f"List the files of a {kind}",
        response_model=Listed[ArtifactResource],
        responses=documented("not_found"),
    )
    def list_artifacts(
        job_id: JobId, caller: Reader, service: ServiceDep, present: PresentDep
    ) -> Response:
        """All of them by name, with their size and digest."""
        found(service, caller, kind, job_id)
        data = [present.artifact(each) for each in service.jobs.artifacts(job_id)]
        return as_json(Listed[ArtifactResource](data=data, has_more=False))

    @router.head("/{id}/artifacts/{name}", include_in_schema=False)
    @router.get(
        "/{id}/artifacts/{name}",
        operation_id=f"get_{kind}_artifact",
        summary=f"Get a file of a {kind}",
        response_class=Response,
        responses={**_ANSWERS, **documented("not_found", "range_not_satisfiable")},
    )
    def get_artifact(
        request: Request,
        job_id: JobId,
        name: FileName,
        caller: Reader,
        service: ServiceDep,
        settings: SettingsDep,
    ) -> Response:
        """The whole file, or the part that a `Range` header asks for; `ETag` is its digest."""
        found(service, caller, kind, job_id)
        artifact = next((a for a in service.jobs.artifacts(job_id) if a.name == name), None)
        if artifact is None or (file := _file(settings, artifact)) is None:
            raise missing("file", name)
        headers = {"ETag": f'"{artifact.digest}"', "Cache-Control": "private, no-cache"}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        _settle_range(request, file.stat().st_size)
        return FileResponse(
            file, media_type=artifact.media_type, filename=artifact.name, headers=headers
        )


def _settle_range(request: Request, size: int) -> None:
    """Ignore a Range that cannot be read, as RFC 9110 wants it, and refuse one beyond the file.

    Raises:
        ProblemError: A part begins after the end of the file.
    """
    unit, _, listed = request.headers.get("range", "").partition("=")
    parts = [_PART.fullmatch(part.strip()) for part in listed.split(",")]
    bounds = [(part[1], part[2]) for part in parts if part and (part[1] or part[2])]
    ordered = all(not (a and b) or int(a) <= int(b) for a, b in bounds)
    if unit.strip().lower() != "bytes" or len(bounds) < len(parts) or not ordered:
        headers = request.scope["headers"]
        request.scope["headers"] = [each for each in headers if each[0] != b"range"]
    elif any(int(a) >= size if a else int(b) == 0 for a, b in bounds):
        raise ProblemError(
            "range_not_satisfiable",
            f"the file has {size:,} bytes, and {request.headers['range']!r} begins beyond them",
            headers={"Content-Range": f"bytes */{size}"},
        )


def _file(settings: ServiceSettings, artifact: Artifact) -> Path | None:
    """Return where a file is; None where it has gone, or lies outside of the service's folder."""
    folder = settings.folder.resolve()
    file = (folder / artifact.file).resolve()
    return file if file.is_file() and file.is_relative_to(folder) else None
