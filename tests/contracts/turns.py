"""What everything that fills ``Jobs`` promises of the order in which jobs are claimed."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from autopeft.service.job import (
    JobState,
    Kind,
    Lane,
)
from autopeft.service.ports import Claim
from tests.contracts.service_records import (
    a_job,
    claim_ids,
    claimed,
    moved,
)


class TurnsContract:
    """Whose turn it is."""

    def test_nothing_is_claimed_where_nothing_waits(self, service):
        """Each lane has its own."""
        for state in set(JobState) - {JobState.VALIDATING, JobState.QUEUED}:
            if not state.held:
                service.jobs.add(a_job(len(state), id=state, state=state))
        assert not any(service.jobs.waiting(lane) for lane in Lane)
        assert [service.jobs.claim(lane, "w") for lane in Lane] == [None, None]

    @pytest.mark.parametrize(
        ("kind", "state", "lane"),
        [
            (Kind.SEARCH, JobState.VALIDATING, Lane.CHECKS),
            (Kind.SEARCH, JobState.QUEUED, Lane.RUNS),
            (Kind.TRAINING, JobState.QUEUED, Lane.RUNS),
            (Kind.ESTIMATE, JobState.QUEUED, Lane.CHECKS),
            (Kind.DATASET, JobState.QUEUED, Lane.CHECKS),
        ],
    )
    def test_a_job_is_claimed_once_and_in_its_lane(self, service, kind, state, lane):
        """One that is validated stays what it is; all others run."""
        service.jobs.add(a_job(kind=kind, state=state))
        (other,) = set(Lane) - {lane}
        assert service.jobs.waiting(lane)
        assert not service.jobs.waiting(other)
        assert service.jobs.claim(other, "w") is None

        job = claimed(service, lane).job

        assert job == service.jobs.job(job.id)
        assert job.state == (state if state is JobState.VALIDATING else "running")
        assert not service.jobs.waiting(lane)
        assert service.jobs.claim(lane, "w") is None

    def test_the_oldest_job_goes_first(self, service):
        """Of one owner; not the one that was added first."""
        for number in (2, 0, 1):
            service.jobs.add(a_job(number))

        assert claim_ids(service) == [a_job(number).id for number in range(3)]

    def test_a_higher_priority_goes_first(self, service):
        """Whosever it is."""
        for number, priority in enumerate((0, 5, -5, 5)):
            service.jobs.add(a_job(number, priority=priority, owner=f"owner {number % 2}"))

        assert claim_ids(service) == [a_job(number).id for number in (1, 3, 0, 2)]

    def test_owners_take_turns(self, service):
        """However many jobs one of them has, and however early; with nothing running beside."""
        for number in range(6):
            service.jobs.add(a_job(number, owner="ann" if number < 4 else "bob"))
        order = []
        while claim := service.jobs.claim(Lane.RUNS, "w"):
            order.append(claim.job.owner)
            claim.write(moved(JobState.SUCCEEDED))

        assert order == ["ann", "bob", "ann", "bob", "ann", "ann"]

    def test_the_owner_with_fewer_jobs_running_goes_first(self, service):
        """Also when the other one has waited longer for a turn."""
        for number, owner in enumerate(("ann", "bob", "ann", "bob", "bob")):
            service.jobs.add(a_job(number, owner=owner))
        first, second = claimed(service), claimed(service)
        assert (first.job.owner, second.job.owner) == ("ann", "bob")

        second.write(moved(JobState.SUCCEEDED))

        assert claimed(service).job.owner == "bob"

    def test_an_owner_has_no_more_jobs_running_than_allowed(self, service):
        """The jobs of others are taken meanwhile; when one has ended the next is."""
        for number in range(3):
            service.jobs.add(a_job(number, most_running=1))
        service.jobs.add(a_job(3, owner="bob"))
        first = claimed(service)
        assert claim_ids(service) == [a_job(3).id]
        assert not service.jobs.waiting(Lane.RUNS)

        first.write(moved(JobState.SUCCEEDED))

        assert service.jobs.waiting(Lane.RUNS)
        assert claim_ids(service) == [a_job(1).id]

    def test_a_long_search_keeps_no_request_of_its_owner_from_being_checked(self, service):
        """What runs is counted in each lane by itself."""
        service.jobs.add(a_job(most_running=1))
        service.jobs.add(a_job(1, most_running=1, state=JobState.VALIDATING, study=""))
        claimed(service)

        assert claimed(service, Lane.CHECKS).job.id == a_job(1).id

    def test_two_jobs_of_one_study_do_not_run_at_once(self, service):
        """The next job of another study is taken instead."""
        for number, study in enumerate(("s", "s", "t", "s")):
            service.jobs.add(a_job(number, study=study, owner=f"owner {number % 2}"))
        first = claimed(service)
        assert claim_ids(service) == [a_job(2).id]
        assert not service.jobs.waiting(Lane.RUNS)

        first.write(moved(JobState.PAUSED))

        assert claimed(service).job.id == a_job(1).id

    def test_jobs_without_a_study_do_not_hinder_each_other(self, service):
        """An empty one is none."""
        for number in range(2):
            service.jobs.add(a_job(number, study="", kind=Kind.TRAINING))

        assert len(claim_ids(service)) == 2

    def test_many_workers_at_once_get_every_job_once(self, service):
        """None twice, none left over."""
        for number in range(20):
            service.jobs.add(a_job(number, owner=f"owner {number % 3}"))
        ready = Barrier(4)

        def work(worker: int) -> list[str]:
            ready.wait()
            found = []
            while claim := service.jobs.claim(Lane.RUNS, f"w{worker}"):
                found.append(claim.job.id)
                claim.write(moved(JobState.SUCCEEDED))
            return found

        with ThreadPoolExecutor(4) as pool:
            found = [name for names in pool.map(work, range(4)) for name in names]

        assert sorted(found) == [a_job(number).id for number in range(20)]

    def test_workers_at_once_keep_to_what_an_owner_may_have_running(self, service):
        """They decide one after the other."""
        for number in range(8):
            service.jobs.add(a_job(number, most_running=2))
        ready = Barrier(4)

        def work(worker: int) -> Claim | None:
            ready.wait()
            return service.jobs.claim(Lane.RUNS, f"w{worker}")

        with ThreadPoolExecutor(4) as pool:
            assert sum(claim is not None for claim in pool.map(work, range(4))) == 2
