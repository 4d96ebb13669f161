"""What everything that fills ``Jobs`` promises of jobs, their events and their lists."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from autopeft.errors import FullError, JobError, UnknownError
from autopeft.service.event import Happening
from autopeft.service.job import (
    JobState,
    Kind,
    Lane,
    Progress,
    Trouble,
    cancelled,
    paused,
    resumed,
)
from tests.contracts.service_records import (
    ODD,
    REMARK,
    START,
    a_job,
    an_artifact,
    claim_ids,
    claimed,
)


class JobsContract:
    """Jobs are kept, found, changed, and their history told."""

    def test_a_job_is_read_back_equal(self, service):
        """With all that can be in it; its first event is there."""
        job = a_job(
            request={"model": ODD, "rungs": [0.5, 1.0], "task": None},
            state=JobState.PAUSED,
            key="k1",
            metadata={"team": ODD},
            priority=-3,
            most_running=2,
            started=START,
            progress=Progress(phase="trials", share=0.5, best=math.inf, remaining=1.5),
            result={"sentence": ODD, "n": [1, {"x": None}]},
            trouble=Trouble(code="invalid_data", detail=ODD, param="data.dataset"),
            attempts=1,
        )

        assert service.jobs.add(job) == replace(job, events=1)
        assert service.jobs.job(job.id) == replace(job, events=1)

    def test_a_new_job_has_one_event(self, service):
        """It says where the job stands."""
        service.jobs.add(a_job(state=JobState.VALIDATING, study=""))

        (event,) = service.jobs.events(a_job().id)
        assert (event.job, event.number) == (a_job().id, 1)
        assert event.happening.message == "search waits to be validated"
        assert event.happening.data == {"state": "validating"}

    def test_an_id_is_given_once(self, service):
        """The first job stays as it is."""
        service.jobs.add(a_job())

        with pytest.raises(JobError, match="there is a job 'search_000000000000' already"):
            service.jobs.add(a_job(owner="bob"))
        assert service.jobs.job(a_job().id).owner == "ann"

    def test_no_more_jobs_wait_than_may_however_many_are_added_at_once(self, service):
        def add(number: int) -> bool:
            try:
                service.jobs.add(a_job(number, owner="eve"), most=3)
            except FullError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            added = list(pool.map(add, range(12)))

        assert sum(added) == service.jobs.queued("eve") == 3
        with pytest.raises(FullError, match="3 jobs of eve wait, and no more are allowed"):
            service.jobs.add(a_job(19, owner="eve"), most=3)
        assert service.jobs.add(a_job(20, owner="bob"), most=1).owner == "bob"

    def test_no_more_jobs_wait_than_may_however_many_go_on_at_once(self, service):
        """A change that makes none wait that did not is no matter of how many do."""
        names = [service.jobs.add(a_job(number, owner="eve")).id for number in range(8)]
        for name in names:
            service.jobs.change(name, cancelled, most=0)

        def resume(name: str) -> bool:
            try:
                service.jobs.change(name, resumed, most=3)
            except FullError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            gone_on = dict(zip(names, pool.map(resume, names), strict=True))

        assert sum(gone_on.values()) == service.jobs.queued("eve") == 3
        refused = next(name for name, waits in gone_on.items() if not waits)
        before = service.jobs.job(refused)
        with pytest.raises(FullError, match="3 jobs of eve wait, and no more are allowed"):
            service.jobs.change(refused, resumed, most=3)
        assert service.jobs.job(refused) == before
        waiting = next(name for name, waits in gone_on.items() if waits)
        assert service.jobs.change(waiting, resumed, most=0) == service.jobs.job(waiting)

    @pytest.mark.parametrize("name", ["search_7", "", "search\x00", "\udcff", "ä" * 1000])
    def test_an_unknown_job_is_said_to_be_so(self, service, name):
        """Whatever somebody writes in the place of an id."""
        asking = (
            lambda: service.jobs.job(name),
            lambda: service.jobs.change(name, cancelled),
            lambda: service.jobs.page(after=name),
            lambda: service.jobs.add_artifact(an_artifact(job=name)),
        )
        for ask in asking:
            with pytest.raises(UnknownError, match=r"there is no job '.*': see the list of jobs"):
                ask()
        assert service.jobs.events(name) == ()
        assert service.jobs.artifacts(name) == ()
        assert service.jobs.latest([name]) == {}

    def test_jobs_are_listed_newest_first_in_pages(self, service):
        """Each page begins where the last ended, also when jobs were added meanwhile."""
        known = [service.jobs.add(a_job(number)) for number in (3, 1, 4, 0, 2)]
        found, after, more = [], None, True
        while more:
            page = service.jobs.page(after=after, limit=2)
            found += page.jobs
            after, more = page.jobs[-1].id, page.more
            service.jobs.add(a_job(10 + len(found)))

        assert found == sorted(known, key=lambda job: job.created, reverse=True)

    def test_jobs_of_one_moment_are_listed_once_each(self, service):
        """Their ids decide."""
        for number in range(5):
            service.jobs.add(a_job(number, created=START))
        first = service.jobs.page(limit=3)
        second = service.jobs.page(limit=3, after=first.jobs[-1].id)

        assert len({job.id for job in (*first.jobs, *second.jobs)}) == 5
        assert (first.more, second.more) == (True, False)

    def test_a_list_is_filtered(self, service):
        """By owner, kind, states and metadata, and all of them together."""
        for number, (owner, kind, state, team) in enumerate(
            [
                ("ann", Kind.SEARCH, JobState.QUEUED, "x"),
                ("ann", Kind.ESTIMATE, JobState.SUCCEEDED, ODD),
                ("bob", Kind.SEARCH, JobState.FAILED, "x"),
                ("ann", Kind.SEARCH, JobState.PAUSED, "y"),
            ]
        ):
            metadata = {"team": team, "n": str(number)}
            job = a_job(number, owner=owner, kind=kind, state=state, metadata=metadata)
            service.jobs.add(job)

        def found(**filters: Any) -> list[int]:
            page = service.jobs.page(**filters)
            assert not page.more
            return [int(job.metadata["n"]) for job in page.jobs]

        assert found() == [3, 2, 1, 0]
        assert found(owner="ann") == [3, 1, 0]
        assert found(owner="nobody") == []
        assert found(kind=Kind.SEARCH) == [3, 2, 0]
        assert found(states=[JobState.QUEUED, JobState.FAILED]) == [2, 0]
        assert found(metadata={"team": "x"}) == [2, 0]
        assert found(metadata={"team": ODD}) == [1]
        assert found(metadata={"team": "x", "n": "2"}) == [2]
        assert found(metadata={"x": "team"}) == []
        assert found(owner="ann", kind=Kind.SEARCH, metadata={"team": "x"}) == [0]
        assert found(owner="ann", after=a_job(2).id) == [1, 0]

    def test_a_change_is_kept_with_what_is_told_of_it(self, service):
        """The change of state is told by itself, after what was told."""
        service.jobs.add(a_job())

        changed = service.jobs.change(a_job().id, paused, REMARK)

        assert changed == service.jobs.job(a_job().id)
        assert (changed.state, changed.events) == ("paused", 3)
        events = service.jobs.events(a_job().id, after=1)
        assert [event.number for event in events] == [2, 3]
        assert events[0].happening == REMARK
        assert events[1].happening.data == {"state": "paused"}
        assert "is paused; what is recorded is kept" in events[1].happening.message

    def test_a_change_of_state_may_be_told_in_other_words(self, service):
        """It is then told once."""
        service.jobs.add(a_job())
        words = Happening(kind="state", message="no power", data={"state": "paused"})
        service.jobs.change(a_job().id, paused, words)

        assert service.jobs.events(a_job().id, after=1)[0].happening == words
        assert service.jobs.job(a_job().id).events == 2

    def test_a_change_that_is_refused_changes_nothing(self, service):
        """Neither the job nor its events."""
        known = service.jobs.add(a_job(state=JobState.SUCCEEDED))

        with pytest.raises(JobError, match="has succeeded and cannot be cancelled any more"):
            service.jobs.change(known.id, cancelled, REMARK)
        assert service.jobs.job(known.id) == known
        assert len(service.jobs.events(known.id)) == 1

    def test_a_change_that_changes_nothing_is_not_told(self, service):
        """Cancelling twice is cancelling once."""
        service.jobs.add(a_job())
        once = service.jobs.change(a_job().id, cancelled)

        assert service.jobs.change(a_job().id, cancelled) == once
        assert once.events == 2

    def test_metadata_that_was_changed_is_found(self, service):
        """And what was there before is not."""
        service.jobs.add(a_job(metadata={"team": "x"}))
        service.jobs.change(a_job().id, lambda job: replace(job, metadata={"team": "y"}))

        assert len(service.jobs.page(metadata={"team": "y"}).jobs) == 1
        assert service.jobs.page(metadata={"team": "x"}).jobs == ()

    def test_events_are_read_from_where_one_stopped(self, service):
        """In order, as many as are wanted."""
        service.jobs.add(a_job())
        service.jobs.add(a_job(1))
        for number in range(5):
            told = replace(REMARK, message=f"{number} {ODD}")
            service.jobs.change(a_job().id, lambda job: job, told)

        events = service.jobs.events(a_job().id, after=2, limit=3)
        assert [event.number for event in events] == [3, 4, 5]
        assert events[0].happening.message == f"1 {ODD}"
        assert service.jobs.events(a_job().id, after=6) == ()
        assert service.jobs.latest([a_job().id, a_job(1).id, "search_9"]) == {
            a_job().id: 6,
            a_job(1).id: 1,
        }

    def test_writers_at_once_leave_no_gap_in_the_events(self, service):
        """Nor does one of them undo what another has written."""
        service.jobs.add(a_job(result={"n": 0}))

        def write(_writer: int) -> None:
            for _ in range(10):
                service.jobs.change(
                    a_job().id, lambda job: replace(job, result={"n": job.result["n"] + 1}), REMARK
                )

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))

        assert service.jobs.job(a_job().id).result == {"n": 40}
        numbers = [event.number for event in service.jobs.events(a_job().id)]
        assert numbers == list(range(1, 42))


class CountsContract:
    """It is known how much there is of what, and what jobs have made."""

    def test_an_owners_jobs_are_counted(self, service):
        """Those that are held, and those that wait."""
        for number, state in enumerate(JobState):
            if not state.held:
                service.jobs.add(a_job(number, state=state, study=""))
        service.jobs.add(a_job(90))
        service.jobs.add(a_job(91, owner="bob"))
        claim_ids(service)

        assert (service.jobs.running("ann"), service.jobs.queued("ann")) == (2, 1)
        assert (service.jobs.running("bob"), service.jobs.queued("bob")) == (1, 0)
        assert (service.jobs.running("eve"), service.jobs.queued("eve")) == (0, 0)

    def test_all_is_counted(self, service, wait):
        """Jobs by kind and state, those that wait by lane, and since when."""
        assert service.jobs.counts().jobs == {}
        assert service.jobs.counts().waiting == {Lane.CHECKS: 0, Lane.RUNS: 0}
        assert service.jobs.counts().oldest == 0
        service.jobs.add(a_job())
        claimed(service)
        for number in (1, 2):
            service.jobs.add(a_job(number))
            wait(10)
        service.jobs.add(a_job(3, kind=Kind.ESTIMATE))

        counts = service.jobs.counts()

        assert counts.jobs == {
            (Kind.SEARCH, JobState.RUNNING): 1,
            (Kind.SEARCH, JobState.QUEUED): 2,
            (Kind.ESTIMATE, JobState.QUEUED): 1,
        }
        assert counts.waiting == {Lane.CHECKS: 1, Lane.RUNS: 2}
        assert counts.oldest == pytest.approx(20, abs=5)  # a server's clock goes on by itself

    def test_workers_that_were_seen_of_late_are_counted(self, service, wait):
        """Each once; those not seen for a minute are forgotten."""
        for worker, lane in (("w1", Lane.RUNS), ("w1", Lane.CHECKS), ("w2", Lane.RUNS)):
            service.jobs.sign(lane, worker, "idle")
            service.jobs.sign(lane, worker, "search_1")
        assert service.jobs.counts().workers == {Lane.CHECKS: 1, Lane.RUNS: 2}
        wait(50)
        service.jobs.sign(Lane.RUNS, "w2")
        wait(50)

        assert service.jobs.counts().workers == {Lane.CHECKS: 0, Lane.RUNS: 1}

    def test_a_worker_that_signs_off_is_counted_no_more(self, service):
        """At once; and one that never signed has nothing to sign off."""
        service.jobs.sign(Lane.RUNS, "w1")
        service.jobs.sign(Lane.RUNS, "w2")

        service.jobs.sign_off("w1")
        service.jobs.sign_off("w1")

        assert service.jobs.counts().workers == {Lane.CHECKS: 0, Lane.RUNS: 1}

    def test_the_files_of_a_job_are_listed_by_name(self, service):
        """One that is made again replaces the first."""
        service.jobs.add(a_job())
        service.jobs.add(a_job(1))
        for artifact in (an_artifact("report.md"), an_artifact(), an_artifact(bytes=20)):
            service.jobs.add_artifact(artifact)

        assert service.jobs.artifacts(a_job().id) == (
            an_artifact(bytes=20),
            an_artifact("report.md"),
        )
        assert service.jobs.artifacts(a_job(1).id) == ()
