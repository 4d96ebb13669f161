"""What the service remembers; `storage` fills it, once for SQLite and PostgreSQL."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from autopeft.service.dataset import Artifact, Dataset
from autopeft.service.event import Event, Happening
from autopeft.service.job import Job, JobState, Kind, Lane
from autopeft.service.key import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Jobs, the newest first, and whether there are older ones."""

    jobs: tuple[Job, ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to a request that came with an Idempotency-Key.

    ``body`` is a digest of what was asked; ``status`` is None while the answer is being made.
    """

    body: str
    status: int | None
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much there is of what, for metrics and for whom it concerns.

    ``waiting`` is in jobs by lane, ``oldest`` the seconds that the first of them has waited.
    ``workers`` are those that gave a sign of life of late, by lane.
    """

    jobs: Mapping[tuple[Kind, JobState], int]
    trials: Mapping[str, int]
    waiting: Mapping[Lane, int]
    oldest: float
    workers: Mapping[Lane, int]


class Claim(Protocol):
    """The right to work on a job, held by one worker at a time."""

    @property
    def job(self) -> Job:
        """The job as it was when it was last read or written."""

    def beat(self) -> Job:
        """Give a sign of life and read the job anew: its state may have become a wish.

        Raises:
            JobError: Another worker has taken the job over, or it was stopped while it was being
                validated; what is done here must stop.
        """

    def write(self, change: Callable[[Job], Job], *happenings: Happening) -> Job:
        """Change the job and add to its events, both or neither, as long as it is still held.

        A change of state adds an event by itself, unless a happening of the kind ``state`` tells
        of it in words of its own. A change to a state that is not held ends the claim; a job that
        is being validated stays claimed as long as that is its state.

        Raises:
            JobError: Another worker has taken the job over, or it was stopped meanwhile.
        """

    def release(self, *happenings: Happening) -> Job:
        """Let go of the job in an orderly way: it goes on with whoever takes it next.

        One that runs waits again, one that is pausing is paused, one that is being cancelled is
        cancelled. No worker counts as lost.

        Raises:
            JobError: Another worker has taken the job over, or it was stopped meanwhile.
        """


class Jobs(Protocol):
    """The queue, and what became of what was in it."""

    def add(self, job: Job, *, most: int | None = None) -> Job:
        """Add a job with its first event, if no more than ``most`` of its owner wait with it.

        Raises:
            JobError: Its id is known.
            FullError: There are as many already, however many add jobs at the same time.
        """

    def job(self, job_id: str) -> Job:
        """Find a job by its id.

        Raises:
            UnknownError: There is none.
        """

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
        """List jobs, the newest first, beginning after the job with the id ``after``.

        ``owner`` None is everybody's; ``metadata`` are values that a job must have.

        Raises:
            UnknownError: There is no job ``after``.
        """

    def change(
        self,
        job_id: str,
        change: Callable[[Job], Job],
        *happenings: Happening,
        most: int | None = None,
    ) -> Job:
        """Change a job and add to its events, both or neither, while no other writer is at it.

        A change of state adds an event by itself. What ``change`` raises changes nothing. A job
        that did not wait may wait afterwards if no more than ``most`` of its owner wait with it.

        Raises:
            UnknownError: There is no such job.
            FullError: As many wait already, however many are added or go on at the same time.
        """

    def claim(self, lane: Lane, worker: str) -> Claim | None:
        """Take the next job of a lane, or None where there is none.

        Higher priority goes first, then the owner with the fewest jobs running, then the one who
        was served longest ago, then the oldest job. A job is passed over while its owner has as
        many running as allowed, or while another job of the same study is held. A job whose
        worker is lost (its process has died, or it gave no sign of life for too long) is put
        back first, and fails where it has lost too many. Running jobs are those that are held in
        the same lane: a long search keeps no request of its owner from being checked.
        """

    def waiting(self, lane: Lane) -> bool:
        """Whether `claim` might find a job: cheap, and without a lock."""

    def events(self, job_id: str, *, after: int = 0, limit: int = 100) -> tuple[Event, ...]:
        """List what happened to a job after the event with a number."""

    def latest(self, job_ids: Sequence[str]) -> Mapping[str, int]:
        """Return the number of the last event of each job that is known, in one cheap query."""

    def running(self, owner: str) -> int:
        """Count the jobs of an owner that are held."""

    def queued(self, owner: str) -> int:
        """Count the jobs of an owner that wait."""

    def counts(self) -> Counts:
        """Count what there is."""

    def sign(self, lane: Lane, worker: str, doing: str = "") -> None:
        """Note that a worker lives; those not seen for long are forgotten."""

    def sign_off(self, worker: str) -> None:
        """Note that a worker has ended; one that never lived is no trouble."""

    def add_artifact(self, artifact: Artifact) -> None:
        """Remember a file of a job; one of the same name is replaced."""

    def artifacts(self, job_id: str) -> tuple[Artifact, ...]:
        """List the files of a job by name."""


class Keys(Protocol):
    """API keys."""

    def add(self, key: Key) -> None:
        """Remember a key."""

    def key(self, key_id: str) -> Key | None:
        """Find a key by its id."""

    def keys(self, owner: str | None = None) -> tuple[Key, ...]:
        """List all keys, or an owner's, the oldest first."""

    def revoke(self, key_id: str, at: datetime) -> Key:
        """Make a key useless from now on; doing it again changes nothing.

        Raises:
            UnknownError: There is no such key.
        """

    def note(self, who: str, what: str, about: str, at: datetime) -> None:
        """Add to the audit log: who did what to which resource. It is never changed."""

    def audit(self, limit: int = 100) -> tuple[tuple[datetime, str, str, str], ...]:
        """List the audit log, the latest first: when, who, what, about what."""


class Datasets(Protocol):
    """Data that was uploaded."""

    def add(self, dataset: Dataset) -> None:
        """Remember a data set."""

    def dataset(self, dataset_id: str) -> Dataset:
        """Find a data set.

        Raises:
            UnknownError: There is none.
        """

    def page(
        self, *, owner: str | None = None, after: str | None = None, limit: int = 20
    ) -> tuple[tuple[Dataset, ...], bool]:
        """List data sets, the newest first, after one of them, and whether there are more."""

    def change(self, dataset_id: str, change: Callable[[Dataset], Dataset]) -> Dataset:
        """Change a data set while no other writer is at it.

        Raises:
            UnknownError: There is none.
        """

    def remove(self, dataset_id: str) -> None:
        """Forget a data set.

        Raises:
            JobError: There is none, or a job of its owner that has not ended uses it.
        """

    def bytes(self, owner: str) -> int:
        """Add up what an owner has uploaded."""


class Replies(Protocol):
    """Answers that are given again when a request is repeated with its Idempotency-Key."""

    def begin(self, owner: str, name: str, body: str) -> Reply | None:
        """Note that an answer is being made, or return the one that there is or will be.

        One that has been in the making for a minute is taken for lost and begun anew.
        """

    def finish(self, owner: str, name: str, status: int, content: str) -> None:
        """Keep the answer for a day."""

    def drop(self, owner: str, name: str) -> None:
        """Forget one that came to nothing, so that it can be tried again."""


class Service(Protocol):
    """All of it, in one place."""

    @property
    def jobs(self) -> Jobs:
        """The queue."""

    @property
    def keys(self) -> Keys:
        """API keys and the audit log."""

    @property
    def datasets(self) -> Datasets:
        """What was uploaded."""

    @property
    def replies(self) -> Replies:
        """What was answered."""

    def check(self) -> None:
        """See that the store can be read and written.

        Raises:
            StoreError: It cannot.
        """

    def closing(self) -> AbstractContextManager["Service"]:
        """Close all connections at the end of a ``with`` block."""
