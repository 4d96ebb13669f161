"""The queue under any order of events: workers that come, work and die; users who interfere."""

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from autopeft.errors import JobError
from autopeft.service.event import Happening
from autopeft.service.job import Job, JobState, Kind, Lane, cancelled, paused, resumed
from autopeft.service.ports import Claim
from autopeft.storage.processes import this_process
from autopeft.storage.service.moves import lost
from autopeft.storage.service.sql import SqlService
from tests.contracts.service_records import a_job, moved
from tests.contracts.store import Surroundings

LANES = st.sampled_from(Lane)
ENDS = st.sampled_from([JobState.SUCCEEDED, JobState.FAILED, JobState.QUEUED, JobState.PAUSED])
REMARK = Happening(kind="message", message="a remark")


@dataclass(eq=False)
class Worker:
    """A worker of another machine, what it believes to hold, and its last sign of life."""

    claim: Claim
    lane: Lane
    seen: float
    sleeps: bool = False


class Queue(RuleBasedStateMachine):
    """A queue, and beside it what is known of it: who holds what."""

    template: Path
    workers = Bundle("workers")

    @initialize()
    def open_a_copy(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name) / "queue.db"
        shutil.copy(self.template, self.file)
        self.surroundings = Surroundings()
        here = self.surroundings
        self.service = SqlService(str(self.file), clock=here.clock, process=here.this_process)
        self.jobs = self.service.jobs
        self.holders: dict[str, Worker] = {}
        self.ids: list[str] = []
        self.machines = 0

    # What users do

    @rule(
        kind=st.sampled_from([Kind.SEARCH, Kind.SEARCH, Kind.ESTIMATE, Kind.TRAINING]),
        owner=st.sampled_from("ab"),
        study=st.sampled_from(["", "", "s", "t"]),
        priority=st.integers(0, 1),
        most=st.sampled_from([None, 1, 2]),
    )
    def add(self, kind: Kind, owner: str, study: str, priority: int, most: int | None) -> None:
        checked = kind is not Kind.SEARCH or study
        state = JobState.QUEUED if checked else JobState.VALIDATING
        job = a_job(
            len(self.ids), kind=kind, owner=owner, study=study, priority=priority,
            most_running=most, state=state,
        )  # fmt: skip
        self.ids.append(self.jobs.add(job).id)

    @precondition(lambda self: self.ids)
    @rule(data=st.data(), wish=st.sampled_from([paused, cancelled, resumed]))
    def wish(self, data: st.DataObject, wish: Callable[[Job], Job]) -> None:
        name = data.draw(st.sampled_from(self.ids))
        with suppress(JobError):
            job = self.jobs.change(name, wish)
            if not job.state.held and job.state is not JobState.VALIDATING:
                self.holders.pop(name, None)

    # What workers do

    @rule(target=workers, lane=LANES)
    def claim(self, lane: Lane) -> object:
        waiting, expected = self.jobs.waiting(lane), self.free(lane)
        claim = self.claim_from_elsewhere(lane)
        if claim is None:
            assert not expected, f"nobody took any of {expected}"
            return multiple()
        assert waiting
        assert claim.job.id in {job.id for job in expected}
        assert claim.job.priority == max(job.priority for job in expected)
        worker = Worker(claim, lane, self.surroundings.seconds)
        self.holders[claim.job.id] = worker
        return worker

    @rule(worker=workers)
    def beat(self, worker: Worker) -> None:
        self.act(worker, worker.claim.beat)

    @rule(worker=workers)
    def remark(self, worker: Worker) -> None:
        self.act(worker, lambda: worker.claim.write(lambda job: job, REMARK))

    @rule(worker=workers, state=ENDS)
    def end(self, worker: Worker, state: JobState) -> None:
        if self.act(worker, lambda: worker.claim.write(moved(state, study="s"))):
            del self.holders[worker.claim.job.id]

    @rule(worker=workers)
    def release(self, worker: Worker) -> None:
        if self.act(worker, worker.claim.release):
            del self.holders[worker.claim.job.id]

    @rule(worker=workers)
    def fall_silent(self, worker: Worker) -> None:
        """Die, or wake up with the next thing that it does."""
        worker.sleeps = True

    @rule()
    def pass_time(self) -> None:
        """More than a minute, in which all others give their signs."""
        for _ in range(2):
            self.surroundings.seconds += 31
            for worker in self.holders.values():
                if not worker.sleeps:
                    self.act(worker, worker.claim.beat)

    # What holds

    @invariant()
    def the_held_are_held_by_those_who_are_known_to_hold_them(self) -> None:
        tokens = {name: worker.claim._token for name, worker in self.holders.items()}
        connection = sqlite3.connect(self.file)
        assert dict(connection.execute("SELECT job_id, token FROM claims")) == tokens
        connection.close()

    @invariant()
    def no_study_is_worked_on_twice(self) -> None:
        studies = Counter(self.jobs.job(name).study for name in self.holders)
        assert all(number == 1 for study, number in studies.items() if study)

    @invariant()
    def no_job_is_lost_and_no_event_is_missing(self) -> None:
        known = {job.id: job for job in self.jobs.page(limit=1000).jobs}
        assert sorted(known) == sorted(self.ids)
        for job in known.values():
            numbers = [event.number for event in self.jobs.events(job.id, limit=1000)]
            assert numbers == list(range(1, job.events + 1))
            assert job.state.held <= (job.id in self.holders)
            assert (job.ended is not None) == job.state.ended

    def teardown(self) -> None:
        """Find that what nobody hinders is taken in the end, whoever has died before."""
        self.surroundings.seconds += 61  # all who hold something are lost
        for lane in Lane:
            if claim := self.claim_from_elsewhere(lane):
                claim.release()
        for name in self.ids:
            with suppress(JobError):
                self.jobs.change(name, resumed)
        for lane in (Lane.CHECKS, Lane.RUNS):
            while claim := self.claim_from_elsewhere(lane):
                checked = claim.job.state is JobState.VALIDATING
                claim.write(moved(JobState.QUEUED if checked else JobState.SUCCEEDED))
        ended = {self.jobs.job(name).state for name in self.ids}
        self.service.close()
        self.folder.cleanup()
        assert ended <= {JobState.SUCCEEDED}

    # What is expected

    def act(self, worker: Worker, act: Callable[[], Job]) -> bool:
        """Let a worker do something, which works just as long as it holds the job."""
        if self.holders.get(worker.claim.job.id) is worker:
            act()
            worker.seen, worker.sleeps = self.surroundings.seconds, False
            return True
        with pytest.raises(JobError, match="is no longer this worker's"):
            act()
        return False

    def claim_from_elsewhere(self, lane: Lane) -> Claim | None:
        """Claim on a machine of one's own, of which no other can ask who lives."""
        self.machines += 1
        self.surroundings.process = replace(this_process(), host=f"machine {self.machines}")
        return self.jobs.claim(lane, "w")

    def free(self, lane: Lane) -> list[Job]:
        """Forget who is lost, and list the jobs that may then be taken."""
        known = {name: self.jobs.job(name) for name in self.ids}
        for name, worker in list(self.holders.items()):
            if self.surroundings.seconds - worker.seen > 60:
                known[name] = lost(known[name])
                del self.holders[name]
        held = {known[name].study for name in self.holders}
        running = Counter(
            known[name].owner for name, worker in self.holders.items() if worker.lane is lane
        )
        return [
            job
            for name, job in known.items()
            if job.lane is lane and name not in self.holders
            if job.most_running is None or running[job.owner] < job.most_running
            if not job.study or job.study not in held
        ]


@pytest.mark.slow
def test_the_queue_keeps_its_promises_in_any_order_of_events(tmp_path):
    """No job has two holders, none is lost, and what nobody hinders is taken in the end."""
    Queue.template = tmp_path / "queue.db"
    SqlService(str(Queue.template)).close()
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Queue,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=checks
        ),
    )
