"""Who works on a job: taken, kept by signs of life, given back, and taken from who is lost.

A worker of this machine is lost when its process has died, whatever the clocks say; one of another
machine when it was silent for too long. Whatever a worker writes is written only while its token
is that of the claim: one that was thought lost, and was not, can change nothing any more.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from autopeft.errors import JobError
from autopeft.service.event import Happening
from autopeft.service.job import MOST_ATTEMPTS, MOST_FALSE_STARTS, Job, JobState, Lane
from autopeft.storage.database import Database
from autopeft.storage.processes import Process
from autopeft.storage.service.changing import apply, lock_job, read_job
from autopeft.storage.service.documents import claim_columns, job_of, process_of_claim
from autopeft.storage.service.moves import let_go, lost
from autopeft.storage.service.tables import claims, jobs, turns
from autopeft.storage.service.times import Times
from autopeft.storage.service.turns import next_job
from autopeft.storage.service.upserts import put
from autopeft.storage.tables import leases

LOST_AFTER = timedelta(seconds=60)
"""The silence after which a worker of another machine is lost."""
_ONE_AT_A_TIME = 0x636C61696D  # names PostgreSQL's lock: whose turn it is depends on who is held
_ORPHANS = (
    select(jobs.c.id)
    .outerjoin(claims, claims.c.job_id == jobs.c.id)
    .where(jobs.c.state.in_([state.value for state in JobState if state.held]))
    .where(claims.c.job_id.is_(None))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where claims are kept, what time it is there, and which process asks."""

    database: Database
    times: Times
    process: Callable[[], Process]


class SqlClaim:
    """Fills ``Claim``; may be used from several threads."""

    def __init__(self, place: Place, job: Job, token: str) -> None:
        self._place = place
        self._job = job
        self._token = token

    @property
    def job(self) -> Job:
        """The job as it was when it was last read or written."""
        return self._job

    def beat(self) -> Job:
        """Give a sign of life and read the job anew: its state may have become a wish."""
        with self._place.database.writing() as connection:
            now = self._place.times.now(connection)
            seen = update(claims).where(self._mine).values(heartbeat=now)
            if connection.execute(seen).rowcount != 1:
                raise self._taken
            self._job = read_job(connection, self._job.id)
        return self._job

    def write(self, change: Callable[[Job], Job], *happenings: Happening) -> Job:
        """Change the job and add to its events, both or neither, as long as it is still held."""
        with self._place.database.writing() as connection:
            job = self._locked(connection)
            now = self._place.times.now(connection)
            connection.execute(update(claims).where(self._mine).values(heartbeat=now))
            written = apply(connection, job, change, happenings, now)
        self._job = written
        return written

    def release(self, *happenings: Happening) -> Job:
        """Let go of the job, so that it goes on with whoever takes it next."""
        with self._place.database.writing() as connection:
            job = self._locked(connection)
            released = give_back(connection, job, let_go, happenings, self._place)
        self._job = released
        return released

    def _locked(self, connection: Connection) -> Job:
        job = lock_job(connection, self._job.id)
        if connection.scalar(select(claims.c.job_id).where(self._mine)) is None:
            raise self._taken
        return job

    @property
    def _mine(self) -> Any:
        return (claims.c.job_id == self._job.id) & (claims.c.token == self._token)

    @property
    def _taken(self) -> JobError:
        return JobError(
            f"{self._job.kind} {self._job.id} is no longer this worker's: another one has taken "
            "it over, or it was stopped; leave it as it is and claim the next job"
        )


def take_next(place: Place, lane: Lane, worker: str) -> SqlClaim | None:
    """Put back what lost workers held, then take the job whose turn it is."""
    token = uuid4().hex
    with place.database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
        _put_back_all(connection, place)
        row = next_job(connection, lane, locking=True)
        if row is None:
            return None
        job, now = job_of(row), place.times.now(connection)
        columns = claim_columns(token, worker, lane.value, place.process(), now)
        connection.execute(insert(claims).values(job_id=job.id, **columns))
        taken = apply(connection, job, *_taking(job, worker), now)
        if taken == job:  # one that is validated stays as it is, and is no longer free
            connection.execute(update(jobs).where(jobs.c.id == job.id).values(lane=None))
        _note_turn(connection, lane, job.owner)
    return SqlClaim(place, taken, token)


def give_back(
    connection: Connection,
    job: Job,
    change: Callable[[Job], Job],
    happenings: tuple[Happening, ...],
    place: Place,
) -> Job:
    """End the claim of a job that is locked, and change it."""
    connection.execute(delete(claims).where(claims.c.job_id == job.id))
    now = place.times.now(connection)
    changed = apply(connection, job, change, happenings, now)
    if changed == job:
        free = job.lane.value if job.lane else None
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(lane=free))
    return changed


def any_lost(connection: Connection, place: Place) -> bool:
    """Whether there is a job to be put back, of any lane: it may hinder those of another one."""
    return bool(_lost_claims(connection, place)) or connection.scalar(_ORPHANS) is not None


def _taking(job: Job, worker: str) -> tuple[Callable[[Job], Job], tuple[Happening, ...]]:
    if job.state is JobState.VALIDATING:
        return lambda same: same, ()
    again = "goes on with" if job.started else "is at work on"
    happening = Happening(
        kind="state",
        message=f"worker {worker} {again} this {job.kind}",
        data={"state": JobState.RUNNING.value, "worker": worker},
    )
    return lambda queued: replace(queued, state=JobState.RUNNING, begun=False), (happening,)


def _note_turn(connection: Connection, lane: Lane, owner: str) -> None:
    last = connection.scalar(select(func.max(turns.c.turn)).where(turns.c.lane == lane.value))
    row = {"lane": lane.value, "owner": owner, "turn": (last or 0) + 1}
    put(connection, turns, row, changing=("turn",))


def _lost_claims(connection: Connection, place: Place) -> list[Row[Any]]:
    held = connection.execute(select(claims)).all()
    if not held:
        return []
    asking, since = place.process(), _too_old(connection, place)
    return [row for row in held if _is_lost(row, asking, since)]


def _is_lost(row: Row[Any], asking: Process, since: datetime | None) -> bool:
    process = process_of_claim(row)
    if process.seen_from(asking):  # then whether it lives is known, whatever the clock says
        return not process.lives
    return since is not None and row.heartbeat < since


def _too_old(connection: Connection, place: Place) -> datetime | None:
    """Return the time before which a last sign of life is too old.

    There is none for who was without the store of late: others may have been so too, and be about
    to come back.
    """
    if place.database.failed_within(LOST_AFTER.total_seconds()):
        return None
    return place.times.now(connection) - LOST_AFTER


def _put_back_all(connection: Connection, place: Place) -> None:
    for row in _lost_claims(connection, place):
        job = lock_job(connection, row.job_id)
        same = select(claims).where(claims.c.job_id == row.job_id).with_for_update()
        now = connection.execute(same).first()  # it may have given a sign of life since
        if now is not None and (now.token, now.heartbeat) == (row.token, row.heartbeat):
            _free_study(connection, job, process_of_claim(row))
            _put_back(connection, job, f"worker {row.worker} on host {row.host}", place)
    for job_id in connection.scalars(_ORPHANS).all():
        job = lock_job(connection, job_id)
        if job.state.held:
            _put_back(connection, job, "its worker", place)


def _put_back(connection: Connection, job: Job, who: str, place: Place) -> None:
    if job.begun:
        when, count, most = "while it worked on", job.attempts + 1, MOST_ATTEMPTS
    else:
        when, count, most = "before it had begun with", job.false_starts + 1, MOST_FALSE_STARTS
    message = (
        f"{who} was lost {when} this {job.kind} ({count} of {most} in turn); what is recorded is "
        "kept"
    )
    happening = Happening(kind="message", message=message, level="warning")
    give_back(connection, job, lost, (happening,), place)


def _free_study(connection: Connection, job: Job, process: Process) -> None:
    """Let go of the study that a lost worker ran, so that the next one need not wait for it."""
    connection.execute(
        delete(leases).where(
            leases.c.study_id == job.study,
            leases.c.host == process.host,
            leases.c.namespace == process.namespace,
            leases.c.pid == process.pid,
            leases.c.started == process.started,
        )
    )
