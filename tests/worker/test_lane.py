"""The life of a worker: whom it serves, when it ends, and what two of them do."""

from dataclasses import replace

from autopeft.errors import StoreError
from autopeft.service.job import JobState, Lane
from autopeft.worker.lane import IDLE, LET_GO
from tests.worker.premises import FINALS, TRIALS, in_thread


class Gone:
    """Wraps a service whose store is away, always or for a while."""

    def __init__(self, inner, times=10**9):
        self._inner = inner
        self._left = times

    def __getattr__(self, name):
        return getattr(self._inner, name)

    @property
    def jobs(self):
        return self

    def sign(self, *_):
        """Be away, a number of times."""
        self._left -= 1
        if self._left >= 0:
            raise StoreError("the store cannot be used")

    sign_off = sign

    def waiting(self, lane):
        return self._inner.jobs.waiting(lane)

    def claim(self, lane, worker):
        return self._inner.jobs.claim(lane, worker)


def test_a_worker_without_work_ends_when_it_was_idle(premises):
    assert premises.worker().run() == IDLE


def test_a_worker_takes_the_work_of_its_lane_alone(premises):
    job = premises.search()

    premises.work(Lane.RUNS)

    assert premises.job(job).state is JobState.VALIDATING


def test_a_worker_that_is_told_to_stop_takes_no_more_work(premises):
    job = premises.search()

    assert premises.worker(Lane.CHECKS, stopping=lambda: True).run() == IDLE
    assert premises.job(job).study == ""


def test_a_worker_that_is_told_to_stop_signs_off_at_once(premises):
    for name in ("tested", "another"):
        premises.service.jobs.sign(Lane.CHECKS, name)

    premises.worker(Lane.CHECKS, stopping=lambda: True).run()

    assert premises.service.jobs.counts().workers == {Lane.CHECKS: 1, Lane.RUNS: 0}


def test_a_worker_ends_in_an_orderly_way_though_it_cannot_sign_off(premises):
    premises.service = Gone(premises.service)

    assert premises.worker(stopping=lambda: True).run() == IDLE


def test_a_worker_gives_up_a_store_that_does_not_come_back(premises):
    premises.service = Gone(premises.service)

    assert premises.worker(patience=0.0, again=0.0).run() == LET_GO


def test_a_worker_waits_for_a_store_that_comes_back(premises):
    job = premises.search()
    inner = premises.service
    premises.service = Gone(inner, times=3)

    assert premises.worker(Lane.CHECKS, again=0.0).run() == IDLE
    premises.service = inner
    assert premises.job(job).state is JobState.QUEUED


def test_of_two_workers_one_runs_a_job(premises):
    """The other finds nothing to do; every trial is started once."""
    job = premises.search()
    premises.work(Lane.CHECKS)

    threads = [in_thread(premises.worker()) for _ in range(2)]
    for thread in threads:
        thread.join(60)

    done = premises.job(job)
    attempts = [trial.attempts for trial in premises.store.trials(done.study)]
    assert (done.state, attempts) == (JobState.SUCCEEDED, [1] * (TRIALS + FINALS))


def test_a_request_of_another_version_fails_plainly(premises):
    job = premises.search()
    premises.service.jobs.change(job.id, lambda j: replace(j, request={"a": 1}))

    premises.work(Lane.CHECKS)

    assert premises.job(job).trouble.code == "internal"
