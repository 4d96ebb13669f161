"""What everything that fills ``Service`` promises, and small records to try it with.

A new one subclasses ``ServiceContract`` and gives a fixture ``service`` that is empty and takes its
process from the fixture ``surroundings``, and a fixture ``wait`` that lets seconds pass.
"""

import math
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest

from autopeft.errors import JobError, UnknownError
from autopeft.service.dataset import Artifact, Dataset, DatasetState
from autopeft.service.event import Happening
from autopeft.service.job import (
    MOST_ATTEMPTS,
    Job,
    JobState,
    Kind,
    Lane,
    Progress,
    Trouble,
    cancelled,
    extended,
    paused,
    resumed,
)
from autopeft.service.key import Scope, new_key
from autopeft.service.ports import Claim, Service
from autopeft.storage.processes import Process, process_of, this_process
from tests.contracts.store import Surroundings

START = datetime(2026, 1, 1, tzinfo=UTC)
ODD = "a 'quoted' % _ \\ ä \u2028 \x00 \udcff"
REMARK = Happening(kind="message", message="a remark", data={"score": 0.5})


def a_job(number: int = 0, **others: Any) -> Job:
    """Return a search that is validated and waits; a higher number is a later one."""
    usual: dict[str, Any] = {
        "id": f"search_{number:012x}",
        "kind": Kind.SEARCH,
        "owner": "ann",
        "request": {"model": "tiny", "limits": {"trials": 3}},
        "created": START + timedelta(seconds=number),
        "state": JobState.QUEUED,
        "study": f"{number:012x}",
    }
    return Job(**usual | others)


def a_dataset(number: int = 0, **others: Any) -> Dataset:
    """Return a data set; a higher number is a later one."""
    usual: dict[str, Any] = {
        "id": f"dataset_{number:012x}",
        "owner": "ann",
        "name": "reviews",
        "file": "reviews.csv",
        "bytes": 100,
        "digest": "d" * 64,
        "created": START + timedelta(seconds=number),
    }
    return Dataset(**usual | others)


def an_artifact(name: str = "plan.json", **others: Any) -> Artifact:
    """Return a file of the first job."""
    usual: dict[str, Any] = {
        "job": a_job().id,
        "name": name,
        "file": f"jobs/{a_job().id}/{name}",
        "media_type": "application/json",
        "bytes": 10,
        "digest": "e" * 64,
        "created": START,
    }
    return Artifact(**usual | others)


def moved(state: JobState, **others: Any) -> Callable[[Job], Job]:
    """Return the change of a job to a state."""
    return lambda job: replace(job, state=state, **others)


def claimed(service: Service, lane: Lane = Lane.RUNS, worker: str = "w1") -> Claim:
    """Claim a job that there must be."""
    claim = service.jobs.claim(lane, worker)
    assert claim is not None, "there is nothing to claim"
    return claim


def claim_ids(service: Service, lane: Lane = Lane.RUNS) -> list[str]:
    """Claim all that can be claimed, one after the other, none of which ends."""
    found = []
    while claim := service.jobs.claim(lane, "w"):
        found.append(claim.job.id)
    return found


class ServiceContract:
    """What everything that fills ``Service`` promises."""

    @pytest.fixture
    def surroundings(self) -> Surroundings:
        return Surroundings()

    @pytest.fixture
    def neighbour(self) -> Iterator[Process]:
        """A living process of this machine that is not ours."""
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            yield process_of(child.pid)
            child.kill()

    @pytest.fixture
    def the_dead(self) -> Process:
        """A process of this machine that lives no more."""
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            process = process_of(child.pid)
            child.kill()
        return process

    # Jobs

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

    # Whose turn it is

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

    # Claims

    def test_a_claim_is_told_with_its_worker(self, service):
        """And when it goes on after a pause, that it goes on."""
        service.jobs.add(a_job())
        claimed(service, worker="w1@here").write(moved(JobState.PAUSED))
        service.jobs.change(a_job().id, resumed)
        claimed(service, worker="w2@there")

        told = [event.happening.message for event in service.jobs.events(a_job().id)]
        assert told == [
            "search waits for a worker",
            "worker w1@here is at work on this search",
            "search is paused; what is recorded is kept, and it can be resumed",
            "search waits for a worker",
            "worker w2@there goes on with this search",
        ]

    def test_a_beat_tells_of_wishes(self, service):
        """What was changed meanwhile is seen; the claim goes on."""
        service.jobs.add(a_job())
        claim = claimed(service)
        assert claim.beat().state == "running"
        service.jobs.change(a_job().id, paused)
        service.jobs.change(a_job().id, lambda job: extended(job, {"trials": 9}))

        job = claim.beat()

        assert job == claim.job == service.jobs.job(a_job().id)
        assert (job.state, job.request["limits"]) == ("pausing", {"trials": 9})
        assert claim.write(lambda job: job, REMARK).state == "pausing"

    def test_what_is_written_under_a_claim_is_changed_as_it_is_by_then(self, service):
        """A wish that came meanwhile is not undone by progress."""
        service.jobs.add(a_job())
        claim = claimed(service)
        service.jobs.change(a_job().id, cancelled)

        written = claim.write(lambda job: replace(job, progress=Progress(share=0.5)))

        assert (written.state, written.progress.share) == ("cancelling", 0.5)
        assert claim.job == written == service.jobs.job(a_job().id)

    @pytest.mark.parametrize(
        "state",
        [JobState.QUEUED, JobState.PAUSED, JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED],
    )
    def test_a_state_in_which_nobody_is_at_a_job_ends_the_claim(self, service, state):
        """What comes from the worker later is refused, and changes nothing."""
        service.jobs.add(a_job())
        claim = claimed(service)
        ended = claim.write(moved(state))

        for late in (claim.beat, claim.release, lambda: claim.write(moved(JobState.RUNNING))):
            with pytest.raises(JobError, match="search_000000000000 is no longer this worker's"):
                late()
        assert service.jobs.job(a_job().id) == ended

    def test_a_job_that_is_validated_is_held_until_its_state_changes(self, service):
        """Progress may be told meanwhile."""
        service.jobs.add(a_job(state=JobState.VALIDATING, study=""))
        claim = claimed(service, Lane.CHECKS)
        claim.write(lambda job: job, REMARK)
        claim.write(lambda job: replace(job, progress=Progress(phase="reading")))
        assert service.jobs.claim(Lane.CHECKS, "w2") is None

        claim.write(moved(JobState.QUEUED, study="s"))

        assert claimed(service).job.study == "s"

    @pytest.mark.parametrize("stop", [cancelled, paused])
    def test_a_job_that_is_stopped_while_it_is_validated_is_its_workers_no_more(
        self, service, stop
    ):
        """It is stopped at once; what the worker finds is not written."""
        service.jobs.add(a_job(state=JobState.VALIDATING, study=""))
        claim = claimed(service, Lane.CHECKS)
        stopped = service.jobs.change(a_job().id, stop)
        service.jobs.change(a_job().id, resumed)

        with pytest.raises(JobError, match="or it was stopped; leave it as it is"):
            claim.write(moved(JobState.QUEUED, study="s"))
        assert stopped.state in {"cancelled", "paused"}
        assert claimed(service, Lane.CHECKS).job.state == "validating"

    @pytest.mark.parametrize(
        ("wish", "state"), [(None, "queued"), (paused, "paused"), (cancelled, "cancelled")]
    )
    def test_a_job_is_let_go_of_in_an_orderly_way(self, service, wish, state):
        """Nobody is to blame for that."""
        service.jobs.add(a_job())
        claim = claimed(service)
        if wish:
            service.jobs.change(a_job().id, wish)

        released = claim.release(REMARK)

        assert released == service.jobs.job(a_job().id)
        assert (released.state, released.attempts) == (state, 0)
        remark, told = service.jobs.events(a_job().id, after=released.events - 2)
        assert (remark.happening, told.happening.data) == (REMARK, {"state": state})
        assert service.jobs.waiting(Lane.RUNS) == (state == "queued")

    def test_a_job_that_was_being_validated_can_be_let_go_of(self, service):
        """The next worker begins anew."""
        service.jobs.add(a_job(state=JobState.VALIDATING))
        claimed(service, Lane.CHECKS).release()

        assert claimed(service, Lane.CHECKS, "w2").job.state == "validating"

    def test_times_follow_the_states(self, service):
        """Begun once, ended whenever it has ended, and not any more when it goes on."""
        service.jobs.add(a_job())
        assert service.jobs.job(a_job().id).started is None
        started = claimed(service).job.started
        assert started is not None

        paused_at = service.jobs.change(a_job().id, paused)
        assert paused_at.ended is None
        ended = service.jobs.change(a_job().id, moved(JobState.CANCELLED, started=None))
        assert ended.ended is not None
        assert ended.ended >= started == ended.started
        again = service.jobs.change(a_job().id, resumed)
        assert (again.started, again.ended) == (started, None)
        assert claimed(service).job.started == started

    # Workers that are lost

    @pytest.mark.parametrize(
        ("wish", "state"), [(None, "queued"), (paused, "paused"), (cancelled, "cancelled")]
    )
    def test_the_job_of_a_dead_worker_is_put_back(
        self, service, surroundings, the_dead, wish, state
    ):
        """At once, whatever the clock says; what was wished for is done."""
        service.jobs.add(a_job())
        surroundings.process = the_dead
        claim = claimed(service, worker="w1@here")
        if wish:
            service.jobs.change(a_job().id, wish)
        surroundings.process = this_process()
        assert service.jobs.waiting(Lane.RUNS)
        assert not service.jobs.waiting(Lane.CHECKS)

        service.jobs.claim(Lane.CHECKS, "w2")  # also who takes nothing from that lane

        job = service.jobs.job(a_job().id)
        assert (job.state, job.attempts) == (state, 1)
        reason, told = service.jobs.events(a_job().id, after=job.events - 2)
        assert reason.happening.level == "warning"
        assert "worker w1@here on host" in reason.happening.message
        assert "was lost while it worked on this search (worker 1 of 3)" in reason.happening.message
        assert told.happening.data == {"state": state}
        with pytest.raises(JobError, match="is no longer this worker's"):
            claim.write(moved(JobState.SUCCEEDED))

    def test_a_dead_workers_job_goes_on_with_the_worker_that_finds_it(
        self, service, surroundings, the_dead
    ):
        """One call puts it back and takes it."""
        service.jobs.add(a_job())
        surroundings.process = the_dead
        claimed(service)
        surroundings.process = this_process()

        job = claimed(service, worker="w2").job

        assert (job.state, job.attempts) == ("running", 1)

    def test_a_job_whose_validation_lost_its_worker_is_validated_again(
        self, service, surroundings, the_dead
    ):
        """It stays what it is, and can be taken."""
        service.jobs.add(a_job(state=JobState.VALIDATING))
        surroundings.process = the_dead
        claimed(service, Lane.CHECKS)
        surroundings.process = this_process()

        job = claimed(service, Lane.CHECKS).job

        assert (job.state, job.attempts, job.events) == ("validating", 1, 2)

    def test_a_job_that_loses_worker_after_worker_fails(self, service, surroundings, the_dead):
        """With what to do about it; resumed it has all its attempts again."""
        service.jobs.add(a_job())
        for _ in range(MOST_ATTEMPTS):
            surroundings.process = the_dead
            claimed(service)
            surroundings.process = this_process()
        assert service.jobs.claim(Lane.RUNS, "w") is None

        job = service.jobs.job(a_job().id)
        assert (job.state, job.attempts) == ("failed", MOST_ATTEMPTS)
        assert job.trouble.code == "worker_lost"
        assert "3 workers in turn were lost while they worked on this" in job.trouble.detail
        assert job.ended is not None
        told = service.jobs.events(a_job().id)[-1].happening
        assert (told.level, told.message) == ("error", f"search has failed: {job.trouble.detail}")
        again = service.jobs.change(a_job().id, resumed)
        assert (again.attempts, again.trouble, again.state) == (0, None, "queued")

    def test_a_living_worker_of_this_machine_keeps_its_job_however_silent(
        self, service, surroundings, neighbour, wait
    ):
        """Whether it lives is known, and clocks may jump."""
        service.jobs.add(a_job())
        surroundings.process = neighbour
        claim = claimed(service)
        surroundings.process = this_process()
        wait(9_999)

        assert not service.jobs.waiting(Lane.RUNS)
        assert service.jobs.claim(Lane.RUNS, "w2") is None
        assert claim.beat().state == "running"

    def test_two_workers_of_one_process_do_not_take_from_each_other(self, service):
        """As in a program that has one thread for each lane."""
        service.jobs.add(a_job())
        claim = claimed(service)

        assert service.jobs.claim(Lane.RUNS, "w2") is None
        assert claim.beat().state == "running"

    @pytest.mark.parametrize("where", [{"host": "elsewhere"}, {"namespace": "pid:[7]"}])
    def test_a_worker_that_cannot_be_asked_is_lost_after_a_minute(
        self, service, surroundings, wait, where
    ):
        """On another machine, or in another container; signs of life keep the job."""
        service.jobs.add(a_job())
        surroundings.process = replace(this_process(), **where)
        claim = claimed(service)
        surroundings.process = this_process()
        for sign in (claim.beat, lambda: claim.write(lambda job: job, REMARK)):
            wait(50)
            assert service.jobs.claim(Lane.RUNS, "w2") is None
            sign()
        wait(50)
        assert service.jobs.claim(Lane.RUNS, "w2") is None
        wait(15)

        assert claimed(service, worker="w2").job.attempts == 1
        with pytest.raises(JobError, match="another one has taken it over"):
            claim.beat()
        with pytest.raises(JobError, match="another one has taken it over"):
            claim.write(moved(JobState.FAILED))
        with pytest.raises(JobError, match="another one has taken it over"):
            claim.release()
        assert service.jobs.job(a_job().id).state == "running"

    def test_a_job_that_runs_without_anybody_at_it_is_put_back(self, service):
        """As after a repair by hand: no job is lost."""
        service.jobs.add(a_job(state=JobState.RUNNING))

        assert claimed(service).job.attempts == 1

    # How much there is

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

    # Keys

    def test_a_key_is_read_back_equal(self, service):
        """It fits its secret and no other; unknown ones are None."""
        key, token = new_key("ann", ODD, Scope.SUBMIT, created=START, expires=START)
        service.keys.add(key)

        assert service.keys.key(key.id) == key
        assert service.keys.key(key.id).fits(token.split("_", 2)[2])
        assert [service.keys.key(name) for name in ("", "\x00", "k")] == [None] * 3
        with pytest.raises(JobError, match=f"there is a key '{key.id}' already"):
            service.keys.add(key)

    def test_keys_are_listed_oldest_first(self, service):
        """All, or those of an owner."""
        made = [
            new_key(owner, "", Scope.READ, created=START + timedelta(seconds=second))[0]
            for second, owner in ((2, "ann"), (1, "bob"), (0, "ann"))
        ]
        for key in made:
            service.keys.add(key)

        assert service.keys.keys() == (made[2], made[1], made[0])
        assert service.keys.keys("ann") == (made[2], made[0])

    def test_a_key_is_revoked_once(self, service):
        """The first time counts."""
        key, _ = new_key("ann", "", Scope.READ, created=START)
        service.keys.add(key)
        for day in (1, 2):
            revoked = service.keys.revoke(key.id, START + timedelta(days=day))

        assert revoked == service.keys.key(key.id)
        assert revoked.revoked == START + timedelta(days=1)
        with pytest.raises(UnknownError, match="there is no key 'x': list the keys"):
            service.keys.revoke("x", START)

    def test_what_was_done_is_listed_latest_first(self, service):
        """In the order in which it was noted, whatever the clocks say."""
        for day in (2, 3, 1):
            service.keys.note("ann", "revoked", f"key {day}\x00", START + timedelta(days=day))

        latest, *others = service.keys.audit(limit=2)
        assert latest == (START + timedelta(days=1), "ann", "revoked", "key 1\ufffd")
        assert [about for *_, about in others] == ["key 3\ufffd"]

    # Data sets

    def test_a_data_set_is_read_back_equal(self, service):
        """And changed as a whole."""
        service.datasets.add(a_dataset(name=ODD))

        changed = service.datasets.change(
            a_dataset().id,
            lambda known: replace(known, state=DatasetState.READY, found={"rows": 3, "by": ODD}),
        )

        assert service.datasets.dataset(a_dataset().id) == changed
        assert changed == a_dataset(name=ODD, state=DatasetState.READY, found=changed.found)
        with pytest.raises(JobError, match="there is a data set 'dataset_000000000000' already"):
            service.datasets.add(a_dataset())

    def test_an_unknown_data_set_is_said_to_be_so(self, service):
        """Whatever is asked of it."""
        for ask in (
            lambda: service.datasets.dataset("x\x00"),
            lambda: service.datasets.change("x", lambda known: known),
            lambda: service.datasets.remove("x"),
            lambda: service.datasets.page(after="x"),
        ):
            with pytest.raises(UnknownError, match=r"there is no data set '.*': see the list"):
                ask()

    def test_data_sets_are_listed_newest_first_in_pages(self, service):
        """All, or those of an owner; their sizes are added up."""
        for number in range(5):
            owner = "bob" if number == 2 else "ann"
            service.datasets.add(a_dataset(number, owner=owner, bytes=2**40))

        first, more = service.datasets.page(owner="ann", limit=3)
        rest, end = service.datasets.page(owner="ann", limit=3, after=first[-1].id)
        assert [set_.id for set_ in (*first, *rest)] == [a_dataset(n).id for n in (4, 3, 1, 0)]
        assert (more, end) == (True, False)
        assert len(service.datasets.page()[0]) == 5
        assert [service.datasets.bytes(owner) for owner in ("ann", "bob", "eve")] == [
            4 * 2**40,
            2**40,
            0,
        ]

    @pytest.mark.parametrize(
        "request_",
        [
            {"dataset": a_dataset().id},
            {"data": {"dataset": a_dataset(1).id, "test_dataset": a_dataset().id}},
            {"list": [[a_dataset().id]]},
        ],
    )
    def test_a_data_set_that_is_used_is_not_removed(self, service, request_):
        """Wherever in a request it is named, until that job has ended."""
        service.datasets.add(a_dataset())
        service.jobs.add(a_job(request=request_, state=JobState.PAUSED))
        service.jobs.add(a_job(1, request=request_, state=JobState.FAILED))

        used = "data set dataset_000000000000 is used by search_000000000000, which has not ended"
        with pytest.raises(JobError, match=used):
            service.datasets.remove(a_dataset().id)
        service.jobs.change(a_job().id, cancelled)
        service.datasets.remove(a_dataset().id)

        assert service.datasets.page() == ((), False)

    def test_a_data_set_whose_name_is_only_part_of_another_one_is_removed(self, service):
        """Or of any other text."""
        service.datasets.add(a_dataset())
        request = {"dataset": f"{a_dataset().id}0", "note": f"not {a_dataset().id}"}
        service.jobs.add(a_job(request=request))

        service.datasets.remove(a_dataset().id)

    # Replies

    def test_an_answer_is_given_again(self, service):
        """Also while it is being made; it belongs to one owner."""
        assert service.replies.begin("ann", ODD, "body") is None
        being_made = service.replies.begin("ann", ODD, "other")
        assert (being_made.body, being_made.status) == ("body", None)
        service.replies.finish("ann", ODD, 202, '{"a": "ä"}')

        kept = service.replies.begin("ann", ODD, "body")
        assert (kept.body, kept.status, kept.content) == ("body", 202, '{"a": "ä"}')
        assert service.replies.begin("bob", ODD, "body") is None

    def test_an_answer_that_came_to_nothing_is_made_again(self, service):
        """As if it had never been asked for."""
        service.replies.begin("ann", "n", "body")
        service.replies.drop("ann", "n")

        assert service.replies.begin("ann", "n", "other") is None

    def test_an_answer_is_kept_for_a_day_and_a_lost_one_for_a_minute(self, service, wait):
        """Whoever began it may have died."""
        for name in ("done", "lost"):
            service.replies.begin("ann", name, "body")
        service.replies.finish("ann", "done", 202, "text")
        wait(50)
        assert service.replies.begin("ann", "lost", "body").status is None
        wait(20)
        assert service.replies.begin("ann", "lost", "anew") is None
        assert service.replies.begin("ann", "done", "body").status == 202
        wait(24 * 3600)
        assert service.replies.begin("ann", "done", "body") is None

    def test_of_those_who_begin_at_once_one_makes_the_answer(self, service):
        """All others are told that it is being made."""
        ready = Barrier(4)

        def begin(_: int) -> bool:
            ready.wait()
            return service.replies.begin("ann", "n", "body") is None

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(begin, range(4))) == 1

    # All of it

    def test_it_can_be_checked_and_leaves_nothing_behind(self, service):
        """No worker, for one."""
        service.check()

        assert service.jobs.counts().workers == {Lane.CHECKS: 0, Lane.RUNS: 0}

    def test_it_is_closed_at_the_end_of_a_block(self, service):
        """And is there again when it is used again."""
        with service.closing() as opened:
            assert opened is service
            service.jobs.add(a_job())

        assert service.jobs.job(a_job().id).id == a_job().id
