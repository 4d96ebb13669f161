"""The service's records to the columns of a row and back."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert

from autopeft.service.event import Event, Happening
from autopeft.service.job import Job
from autopeft.storage.processes import Process
from autopeft.storage.rows import record_of, text_of
from autopeft.storage.service.tables import job_events, job_metadata


def job_columns(job: Job, *, free: bool) -> dict[str, Any]:
    """Return a job as its row; ``free`` where no worker holds it."""
    return {
        "id": job.id,
        "kind": job.kind.value,
        "owner": job.owner,
        "state": job.state.value,
        "lane": job.lane.value if free and job.lane else None,
        "priority": job.priority,
        "most_running": job.most_running,
        "study": job.study,
        "created": job.created,
        "events": job.events,
        "document": text_of(job),
    }


def job_of(row: Row[Any]) -> Job:
    """Read a job from its row."""
    return record_of(Job, json.loads(row.document))


def add_events(connection: Connection, events: tuple[Event, ...]) -> None:
    """Add to a job's history."""
    rows = [
        {
            "job_id": event.job,
            "number": event.number,
            "at": event.at,
            "kind": event.happening.kind,
            "happening": text_of(event.happening),
        }
        for event in events
    ]
    if rows:
        connection.execute(insert(job_events), rows)


def event_of(row: Row[Any]) -> Event:
    """Read an event from its row."""
    happening = record_of(Happening, json.loads(row.happening))
    return Event(job=row.job_id, number=row.number, at=row.at, happening=happening)


def replace_metadata(connection: Connection, job: Job) -> None:
    """Write a job's metadata where jobs can be found by it."""
    connection.execute(delete(job_metadata).where(job_metadata.c.job_id == job.id))
    rows = [
        {"job_id": job.id, "name": searched(name), "value": searched(value)}
        for name, value in job.metadata.items()
    ]
    if rows:
        connection.execute(insert(job_metadata), rows)


def searched(text: str) -> str:
    """Return a text as it is compared with: whole, whatever characters it has."""
    return json.dumps(text)


def claim_columns(
    token: str, worker: str, lane: str, process: Process, heartbeat: datetime
) -> dict[str, Any]:
    """Return who holds a job."""
    return {
        "token": token,
        "worker": worker,
        "lane": lane,
        "host": process.host,
        "namespace": process.namespace,
        "pid": process.pid,
        "started": process.started,
        "heartbeat": heartbeat,
    }


def process_of_claim(row: Row[Any]) -> Process:
    """Read which process holds a job."""
    return Process(host=row.host, namespace=row.namespace, pid=row.pid, started=row.started)
