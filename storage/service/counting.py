"""How much there is of what, read from indexes alone; and the workers that live."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, select

from autopeft.service.job import JobState, Kind, Lane
from autopeft.service.ports import Counts
from autopeft.storage.service.tables import jobs, workers
from autopeft.storage.service.upserts import put
from autopeft.storage.tables import trials

SEEN_WITHIN = timedelta(seconds=60)
"""How long a sign of life counts."""


def counts(connection: Connection, now: datetime) -> Counts:
    """Count what there is."""
    by_state = connection.execute(
        select(jobs.c.kind, jobs.c.state, func.count()).group_by(jobs.c.kind, jobs.c.state)
    )
    by_trial = connection.execute(select(trials.c.state, func.count()).group_by(trials.c.state))
    queues = connection.execute(
        select(jobs.c.lane, func.count(), func.min(jobs.c.since))
        .where(jobs.c.lane.is_not(None))
        .group_by(jobs.c.lane)
    ).all()
    living = connection.execute(
        select(workers.c.lane, func.count())
        .where(workers.c.seen >= now - SEEN_WITHIN)
        .group_by(workers.c.lane)
    )
    none = dict.fromkeys(Lane, 0)
    return Counts(
        jobs={(Kind(kind), JobState(state)): number for kind, state, number in by_state},
        trials={state: number for state, number in by_trial},  # noqa: C416 - dict() of rows has no types
        waiting=none | {Lane(lane): number for lane, number, _ in queues},
        oldest=max((max(0.0, (now - since).total_seconds()) for *_, since in queues), default=0.0),
        workers=none | {Lane(lane): number for lane, number in living},
    )


def note(connection: Connection, lane: Lane, worker: str, doing: str, now: datetime) -> None:
    """Note that a worker lives, and forget those that were not seen for long."""
    row = {"worker": worker, "lane": lane.value, "doing": doing, "seen": now}
    put(connection, workers, row, changing=("doing", "seen"))
    connection.execute(delete(workers).where(workers.c.seen < now - SEEN_WITHIN))


def forget(connection: Connection, worker: str) -> None:
    """Forget a worker that has ended."""
    connection.execute(delete(workers).where(workers.c.worker == worker))
