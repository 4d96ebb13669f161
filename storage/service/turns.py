"""Whose turn it is: which job of a lane a worker takes next.

Jobs that are held are counted in the lane in which they are held: a search that runs for days
keeps none of its owner's requests from being checked.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select

from autopeft.service.job import Lane
from autopeft.storage.service.tables import claims, jobs, turns


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What is being worked on: jobs of each owner in this lane, and all studies."""

    running: dict[str, int]
    studies: tuple[str, ...]


def next_job(connection: Connection, lane: Lane, *, locking: bool) -> Row[Any] | None:
    """Return the row of the job whose turn it is, None where no job may be taken.

    With ``locking`` other writers are kept off it; one that a writer is at is passed over.
    """
    held = _held(connection, lane)
    for priority, owner in _owners(connection, lane, held):
        wanted = _of(lane, priority, owner, held)
        if locking:
            wanted = wanted.with_for_update(skip_locked=True)
        if (row := connection.execute(wanted).first()) is not None:
            return row
    return None


def _held(connection: Connection, lane: Lane) -> _Held:
    found = connection.execute(
        select(claims.c.lane, jobs.c.owner, jobs.c.study).join_from(
            claims, jobs, claims.c.job_id == jobs.c.id
        )
    ).all()
    running: dict[str, int] = {}
    for row in found:
        if row.lane == lane.value:
            running[row.owner] = running.get(row.owner, 0) + 1
    return _Held(running=running, studies=tuple({row.study for row in found if row.study}))


def _owners(connection: Connection, lane: Lane, held: _Held) -> list[tuple[int, str]]:
    """Order those who wait: priority, jobs running, time since the last turn, oldest job."""
    waiting = connection.execute(
        select(jobs.c.priority, jobs.c.owner, func.min(jobs.c.created).label("oldest"))
        .where(jobs.c.lane == lane.value)
        .group_by(jobs.c.priority, jobs.c.owner)
    ).all()
    served = dict(
        connection.execute(
            select(turns.c.owner, turns.c.turn).where(turns.c.lane == lane.value)
        ).all()
    )
    ordered = sorted(
        waiting,
        key=lambda row: (
            -row.priority,
            held.running.get(row.owner, 0),
            served.get(row.owner, 0),
            row.oldest,
        ),
    )
    return [(row.priority, row.owner) for row in ordered]


def _of(lane: Lane, priority: int, owner: str, held: _Held) -> Any:
    """Select an owner's oldest job that may be taken."""
    allowed = or_(jobs.c.most_running.is_(None), jobs.c.most_running > held.running.get(owner, 0))
    return (
        select(jobs)
        .where(jobs.c.lane == lane.value, jobs.c.priority == priority, jobs.c.owner == owner)
        .where(allowed, jobs.c.study.not_in(held.studies))
        .order_by(jobs.c.created, jobs.c.id)
        .limit(1)
    )
