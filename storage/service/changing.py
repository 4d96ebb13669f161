"""The one place where the row of a job is read for a change, and written."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from autopeft.errors import UnknownError
from autopeft.service.event import Happening
from autopeft.service.job import Job
from autopeft.storage.service.documents import (
    add_events,
    job_columns,
    job_of,
    replace_metadata,
)
from autopeft.storage.service.moves import first, followed, stays_claimed
from autopeft.storage.service.tables import claims, jobs


def add_job(connection: Connection, job: Job, now: datetime) -> Job:
    """Write a new job and its first event."""
    kept, events = first(job, now)
    connection.execute(insert(jobs).values(since=now, **job_columns(kept, free=True)))
    replace_metadata(connection, kept)
    add_events(connection, events)
    return kept


def keep_others_out(connection: Connection, owner: str) -> None:
    """Let nobody else add jobs of an owner until the end of the transaction.

    In SQLite a write transaction does so anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(owner))))


def read_job(connection: Connection, job_id: str) -> Job:
    """Read a job.

    Raises:
        UnknownError: There is none.
    """
    return job_of(_row(connection.execute(select(jobs).where(jobs.c.id == job_id)), job_id))


def lock_job(connection: Connection, job_id: str) -> Job:
    """Read a job and keep other writers off it; in SQLite a write transaction does the latter.

    Raises:
        UnknownError: There is none.
    """
    wanted = select(jobs).where(jobs.c.id == job_id).with_for_update()
    return job_of(_row(connection.execute(wanted), job_id))


def apply(
    connection: Connection,
    old: Job,
    change: Callable[[Job], Job],
    happenings: Sequence[Happening],
    now: datetime,
) -> Job:
    """Change a job that is locked, and add to its events.

    The claim of a worker ends with the state in which a worker is at it.
    """
    kept, events = followed(old, change(old), happenings, now)
    if kept == old:
        return old
    claimed = _claimed(connection, old.id)
    if claimed and not stays_claimed(old, kept):
        connection.execute(delete(claims).where(claims.c.job_id == old.id))
        claimed = False
    moved: dict[str, Any] = {"since": now} if kept.state is not old.state else {}
    columns = job_columns(kept, free=not claimed) | moved
    connection.execute(update(jobs).where(jobs.c.id == old.id).values(**columns))
    if kept.metadata != old.metadata:
        replace_metadata(connection, kept)
    add_events(connection, events)
    return kept


def unknown_job(job_id: str) -> UnknownError:
    """Say that there is no such job."""
    return UnknownError(f"there is no job {job_id!r}: see the list of jobs for those there are")


def _claimed(connection: Connection, job_id: str) -> bool:
    wanted = select(claims.c.job_id).where(claims.c.job_id == job_id)
    return connection.scalar(wanted) is not None


def _row(found: Any, job_id: str) -> Row[Any]:
    row: Row[Any] | None = found.first()
    if row is None:
        raise unknown_job(job_id)
    return row
