"""The queue, and what became of what was in it."""

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection, Select, and_, func, or_, select
from sqlalchemy.exc import IntegrityError

from autopeft.errors import FullError, JobError
from autopeft.service.dataset import Artifact
from autopeft.service.event import Event, Happening
from autopeft.service.job import Job, JobState, Kind, Lane
from autopeft.service.ports import Claim, Counts, Page
from autopeft.storage.service import artifacts, counting, datasets
from autopeft.storage.service.changing import (
    add_job,
    apply,
    keep_others_out,
    lock_job,
    read_job,
    unknown_job,
)
from autopeft.storage.service.claims import Place, any_lost, take_next
from autopeft.storage.service.documents import event_of, job_of, searched
from autopeft.storage.service.tables import job_events, job_metadata, jobs
from autopeft.storage.service.turns import next_job

_HELD = tuple(state for state in JobState if state.held)
_WAITING = (JobState.VALIDATING, JobState.QUEUED)


class SqlJobs:
    """Fills ``Jobs`` in a database; may be used from several threads and processes."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._database = place.database
        self._times = place.times

    def add(self, job: Job, *, most: int | None = None) -> Job:
        """Add a job with its first event, if no more than ``most`` of its owner wait with it."""
        with self._database.writing() as connection:
            if most is not None:
                keep_others_out(connection, job.owner)
            datasets.keep(connection, job)
            try:
                added = add_job(connection, job, self._times.now(connection))
            except IntegrityError:
                raise JobError(
                    f"there is a job {job.id!r} already: give the new one an id of its own"
                ) from None
            _must_have_room(connection, job.owner, most)
            return added

    def job(self, job_id: str) -> Job:
        """Find a job by its id."""
        with self._database.reading() as connection:
            return read_job(connection, job_id)

    def page(
        self,
        *,
        owner: str | None = None,
        kind: Kind | None = None,
        states: Sequence[JobState] = (),
        metadata: Mapping[str, str] | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> Page:
        """List jobs, the newest first, beginning after the job with the id ``after``."""
        wanted = _filtered(owner, kind, states, metadata or {})
        with self._database.reading() as connection:
            if after is not None:
                of = select(jobs.c.created, jobs.c.id).where(jobs.c.id == after)
                row = connection.execute(of).first()
                if row is None:
                    raise unknown_job(after)
                wanted = wanted.where(
                    or_(
                        jobs.c.created < row.created,
                        and_(jobs.c.created == row.created, jobs.c.id < row.id),
                    )
                )
            newest = wanted.order_by(jobs.c.created.desc(), jobs.c.id.desc()).limit(limit + 1)
            rows = connection.execute(newest).all()
        return Page(jobs=tuple(map(job_of, rows[:limit])), more=len(rows) > limit)

    def change(
        self,
        job_id: str,
        change: Callable[[Job], Job],
        *happenings: Happening,
        most: int | None = None,
    ) -> Job:
        """Change a job and add to its events, both or neither, while no other writer is at it."""
        with self._database.writing() as connection:
            if most is not None:  # before the job is locked, as where one is added
                keep_others_out(connection, read_job(connection, job_id).owner)
            job = lock_job(connection, job_id)
            kept = apply(connection, job, change, happenings, self._times.now(connection))
            if kept.state in _WAITING and job.state not in _WAITING:
                _must_have_room(connection, job.owner, most)
            return kept

    def claim(self, lane: Lane, worker: str) -> Claim | None:
        """Take the next job of a lane, or None where there is none."""
        return take_next(self._place, lane, worker)

    def waiting(self, lane: Lane) -> bool:
        """Whether `claim` might find a job: cheap, and without a lock."""
        with self._database.reading() as connection:
            if next_job(connection, lane, locking=False) is not None:
                return True
            return any_lost(connection, self._place)

    def events(self, job_id: str, *, after: int = 0, limit: int = 100) -> tuple[Event, ...]:
        """List what happened to a job after the event with a number."""
        wanted = (
            select(job_events)
            .where(job_events.c.job_id == job_id, job_events.c.number > after)
            .order_by(job_events.c.number)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return tuple(map(event_of, connection.execute(wanted).all()))

    def latest(self, job_ids: Sequence[str]) -> Mapping[str, int]:
        """Return the number of the last event of each job that is known, in one cheap query."""
        wanted = select(jobs.c.id, jobs.c.events).where(jobs.c.id.in_(job_ids))
        with self._database.reading() as connection:
            return {row.id: row.events for row in connection.execute(wanted)}

    def running(self, owner: str) -> int:
        """Count the jobs of an owner that are held."""
        return self._count(owner, _HELD)

    def queued(self, owner: str) -> int:
        """Count the jobs of an owner that wait."""
        return self._count(owner, _WAITING)

    def counts(self) -> Counts:
        """Count what there is."""
        with self._database.reading() as connection:
            return counting.counts(connection, self._times.now(connection))

    def sign(self, lane: Lane, worker: str, doing: str = "") -> None:
        """Note that a worker lives; those not seen for long are forgotten."""
        with self._database.writing() as connection:
            counting.note(connection, lane, worker, doing, self._times.now(connection))

    def sign_off(self, worker: str) -> None:
        """Note that a worker has ended; one that never lived is no trouble."""
        with self._database.writing() as connection:
            counting.forget(connection, worker)

    def add_artifact(self, artifact: Artifact) -> None:
        """Remember a file of a job; one of the same name is replaced."""
        with self._database.writing() as connection:
            lock_job(connection, artifact.job)
            artifacts.put_artifact(connection, artifact)

    def artifacts(self, job_id: str) -> tuple[Artifact, ...]:
        """List the files of a job by name."""
        with self._database.reading() as connection:
            return artifacts.list_artifacts(connection, job_id)

    def _count(self, owner: str, states: tuple[JobState, ...]) -> int:
        with self._database.reading() as connection:
            return connection.execute(_of(owner, states)).scalar_one()


def _must_have_room(connection: Connection, owner: str, most: int | None) -> None:
    """Undo a transaction after which more jobs of an owner would wait than allowed.

    Raises:
        FullError: They would.
    """
    if most is not None and connection.execute(_of(owner, _WAITING)).scalar_one() > most:
        raise FullError(f"{most} jobs of {owner} wait, and no more are allowed")


def _of(owner: str, states: tuple[JobState, ...]) -> Select[int]:
    return select(func.count()).where(jobs.c.owner == owner, jobs.c.state.in_(states))


def _filtered(
    owner: str | None,
    kind: Kind | None,
    states: Sequence[JobState],
    metadata: Mapping[str, str],
) -> Select[tuple[object, ...]]:
    wanted = select(jobs)
    if owner is not None:
        wanted = wanted.where(jobs.c.owner == owner)
    if kind is not None:
        wanted = wanted.where(jobs.c.kind == kind.value)
    if states:
        wanted = wanted.where(jobs.c.state.in_([state.value for state in states]))
    for name, value in metadata.items():
        having = select(job_metadata.c.job_id).where(
            job_metadata.c.name == searched(name), job_metadata.c.value == searched(value)
        )
        wanted = wanted.where(jobs.c.id.in_(having))
    return wanted
