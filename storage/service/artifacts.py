"""Files that jobs have made."""

import json

from sqlalchemy import Connection, select

from autopeft.service.dataset import Artifact
from autopeft.storage.rows import record_of, text_of
from autopeft.storage.service.tables import artifacts
from autopeft.storage.service.upserts import put


def put_artifact(connection: Connection, artifact: Artifact) -> None:
    """Remember a file of a job; one of the same name is replaced."""
    row = {"job_id": artifact.job, "name": artifact.name, "document": text_of(artifact)}
    put(connection, artifacts, row, changing=("document",))


def list_artifacts(connection: Connection, job_id: str) -> tuple[Artifact, ...]:
    """List the files of a job by name."""
    wanted = select(artifacts.c.document).where(artifacts.c.job_id == job_id)
    documents = connection.scalars(wanted).all()
    found = (record_of(Artifact, json.loads(document)) for document in documents)
    return tuple(sorted(found, key=lambda artifact: artifact.name))
