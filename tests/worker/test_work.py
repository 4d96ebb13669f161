"""What is written of a job while it is worked on, and how often."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from autopeft.errors import JobError, StoreError
from autopeft.service.event import Happening
from autopeft.service.job import Job, JobState, Kind
from autopeft.worker.heartbeat import Heartbeat
from autopeft.worker.stops import LostError
from autopeft.worker.work import READING, Work

JOB = Job(
    id="search_1", kind=Kind.SEARCH, owner="local", request={}, created=datetime.now(UTC),
    state=JobState.RUNNING, attempts=2, false_starts=1,
)  # fmt: skip
SAID = Happening(kind="message", message="said")


class Claimed:
    """A claim that keeps what is written, and is away or lost while a test says so."""

    def __init__(self, job=JOB):
        self.job = job
        self.written = []
        self.error = None

    def beat(self):
        return self.job

    def write(self, change, *happenings):
        if self.error:
            raise self.error
        self.job = change(self.job)
        self.written.append([happening.message for happening in happenings])
        return self.job

    def release(self, *happenings):
        return self.write(lambda job: replace(job, state=JobState.QUEUED), *happenings)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def claim():
    return Claimed()


@pytest.fixture
def work(claim, clock):
    return Work(claim, Heartbeat(claim, lambda: False, every=0.0), clock=clock)


def test_what_happens_is_written_at_once(work, claim):
    work.tell(SAID)
    work.look()

    assert claim.written == [["said"]]


def test_many_events_are_a_few_writes_a_second(work, claim, clock):
    for _ in range(1000):
        clock.now += 0.01
        work.tell(SAID)
        work.look()

    assert len(claim.written) <= 10 * 3 + 4
    assert sum(map(len, claim.written)) > 950


def test_progress_alone_is_written_once_a_second(work, claim, clock):
    work.now_at("trials", 0.0)
    work.look()
    for step in range(100):
        clock.now += 0.1
        work.now_at("trials", step / 100)
        work.look()

    assert 9 <= len(claim.written) <= 12
    assert claim.job.progress.share > 0.8


def test_seconds_are_those_of_all_runs(claim, clock):
    claim.job = replace(JOB, progress=replace(JOB.progress, seconds=30.0))
    work = Work(claim, Heartbeat(claim, lambda: False, every=0.0), clock=clock)
    clock.now += 12

    assert (work.seconds, work.run_seconds) == (42.0, 12.0)


def test_a_store_that_is_away_hears_of_everything_later(work, claim, clock):
    claim.error = StoreError("away")
    work.tell(SAID)
    work.look()
    clock.now += 31
    claim.error = None
    work.look()
    clock.now += 1
    work.look()

    assert claim.written == [
        ["said"],
        ["the store could not be written for 31 s; the work went on"],
    ]


def test_what_gets_on_is_cleared_of_the_workers_it_has_lost(work, claim, clock):
    work.tell(SAID)
    work.look()
    before = claim.job.attempts
    clock.now += 1
    work.tell(SAID, advanced=True)
    work.look()

    assert (before, claim.job.attempts, claim.job.false_starts) == (2, 0, 0)


def test_what_got_on_last_is_written_with_the_end(work, claim):
    """Also where it is an orderly one, right after it."""
    work.tell(SAID, advanced=True)
    work.release()

    assert (claim.job.attempts, claim.job.false_starts) == (0, 0)


def test_work_has_begun_when_all_is_read(work, claim):
    work.now_at(READING)
    work.look()
    before = claim.job.begun
    work.now_at("trials")
    work.look()

    assert (before, claim.job.begun) == (False, True)


def test_a_job_that_is_lost_is_written_no_more(work, claim):
    claim.error = JobError("another worker has it")
    work.tell(SAID)

    with pytest.raises(LostError, match="another worker has it"):
        work.look()
    with pytest.raises(LostError, match="another worker has it"):
        work.end(lambda job: job)
    with pytest.raises(LostError, match="another worker has it"):
        work.release()


def test_nothing_is_forgotten_where_the_end_could_not_be_written(work, claim):
    work.tell(SAID)
    claim.error = StoreError("away")
    with pytest.raises(StoreError, match="away"):
        work.end(lambda job: job)
    claim.error = None

    work.release(Happening(kind="message", message="leaving"))

    assert claim.written == [["said"], ["leaving"]]
