"""What everything that fills ``Claim`` promises, and what becomes of jobs whose worker is lost."""

from dataclasses import replace

import pytest

from autopeft.errors import JobError
from autopeft.service.job import (
    MOST_ATTEMPTS,
    MOST_FALSE_STARTS,
    JobState,
    Lane,
    Progress,
    advanced,
    cancelled,
    extended,
    paused,
    resumed,
)
from autopeft.storage.processes import this_process
from tests.contracts.service_records import (
    REMARK,
    a_job,
    claimed,
    moved,
)


class ClaimsContract:
    """One worker at a time is at a job."""

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


class LostWorkersContract:
    """What the lost have held goes on."""

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
        assert all(service.jobs.waiting(lane) for lane in Lane)

        service.jobs.claim(Lane.CHECKS, "w2")  # also who takes nothing from that lane

        job = service.jobs.job(a_job().id)
        assert (job.state, job.false_starts) == (state, 1)
        reason, told = service.jobs.events(a_job().id, after=job.events - 2)
        assert reason.happening.level == "warning"
        assert "worker w1@here on host" in reason.happening.message
        told_of = "was lost before it had begun with this search (1 of 10 in turn)"
        assert told_of in reason.happening.message
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

        assert (job.state, job.false_starts) == ("running", 1)

    def test_a_job_whose_validation_lost_its_worker_is_validated_again(
        self, service, surroundings, the_dead
    ):
        """It stays what it is, and can be taken."""
        service.jobs.add(a_job(state=JobState.VALIDATING))
        surroundings.process = the_dead
        claimed(service, Lane.CHECKS)
        surroundings.process = this_process()

        job = claimed(service, Lane.CHECKS).job

        assert (job.state, job.false_starts, job.events) == ("validating", 1, 2)

    @pytest.mark.parametrize(("begun", "most"), [(True, MOST_ATTEMPTS), (False, MOST_FALSE_STARTS)])
    def test_a_job_that_loses_worker_after_worker_fails(
        self, service, surroundings, the_dead, begun, most
    ):
        """With what to do about it, and later where little is lost; resumed it begins anew."""
        service.jobs.add(a_job())
        for _ in range(most):
            surroundings.process = the_dead
            claimed(service).write(lambda job: replace(job, begun=begun))
            surroundings.process = this_process()
        assert service.jobs.claim(Lane.RUNS, "w") is None

        job = service.jobs.job(a_job().id)
        assert (job.state, job.attempts + job.false_starts) == ("failed", most)
        assert job.trouble.code == "worker_lost"
        assert f"{most} workers in turn were lost while they worked on this" in job.trouble.detail
        assert job.ended is not None
        told = service.jobs.events(a_job().id)[-1].happening
        assert (told.level, told.message) == ("error", f"search has failed: {job.trouble.detail}")
        again = service.jobs.change(a_job().id, resumed)
        assert (again.attempts, again.false_starts, again.trouble) == (0, 0, None)
        assert again.state == "queued"

    def test_a_job_that_gets_on_may_lose_any_number_of_workers(
        self, service, surroundings, the_dead
    ):
        """Over days, as on a machine that is restarted again and again."""
        service.jobs.add(a_job())
        for number in range(3 * MOST_FALSE_STARTS):
            surroundings.process = the_dead
            claim = claimed(service)
            claim.write(lambda job: replace(job, begun=True))
            if number % 3 == 2:
                claim.write(advanced)
            surroundings.process = this_process()

        assert claimed(service).job.state == "running"

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

        assert claimed(service, worker="w2").job.false_starts == 1
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
        assert service.jobs.waiting(Lane.RUNS)

        assert claimed(service).job.false_starts == 1
