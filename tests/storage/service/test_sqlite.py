"""The service's memory in a SQLite file: what each promises, and what happens to files."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autopeft.errors import JobError, StoreError, StudyError
from autopeft.service.job import JobState, Lane, cancelled
from autopeft.service.ports import Service
from autopeft.storage.processes import this_process
from autopeft.storage.service.sql import SqlService
from autopeft.storage.sql import SqlStore
from autopeft.wiring.sockets import service_of
from tests.contracts.service import ServiceContract
from tests.contracts.service_records import START, a_dataset, a_job, an_artifact, claimed, moved
from tests.contracts.store import Surroundings, a_study
from tests.storage.test_database import a_full_disk

ROOT = Path(__file__).parents[3]
WRITES: dict[str, Callable[[Service], object]] = {
    "add": lambda service: service.jobs.add(a_job(7)),
    "change": lambda service: service.jobs.change(a_job(1).id, cancelled),
    "claim": lambda service: service.jobs.claim(Lane.RUNS, "w"),
    "sign": lambda service: service.jobs.sign(Lane.RUNS, "w"),
    "sign_off": lambda service: service.jobs.sign_off("w"),
    "add_artifact": lambda service: service.jobs.add_artifact(an_artifact()),
    "add a data set": lambda service: service.datasets.add(a_dataset(1)),
    "change a data set": lambda service: service.datasets.change(
        a_dataset().id, lambda known: replace(known, name="other")
    ),
    "remove a data set": lambda service: service.datasets.remove(a_dataset().id),
    "note": lambda service: service.keys.note("ann", "did", "that", START),
    "begin": lambda service: service.replies.begin("ann", "n", "body"),
    "finish": lambda service: service.replies.finish("ann", "n", 202, "text"),
    "drop": lambda service: service.replies.drop("ann", "n"),
    "check": lambda service: service.check(),
}
READS: dict[str, Callable[[Service], object]] = {
    "job": lambda service: service.jobs.job(a_job().id),
    "page": lambda service: service.jobs.page(),
    "waiting": lambda service: service.jobs.waiting(Lane.RUNS),
    "events": lambda service: service.jobs.events(a_job().id),
    "latest": lambda service: service.jobs.latest([a_job().id]),
    "running": lambda service: service.jobs.running("ann"),
    "counts": lambda service: service.jobs.counts(),
    "artifacts": lambda service: service.jobs.artifacts(a_job().id),
    "key": lambda service: service.keys.key("k"),
    "keys": lambda service: service.keys.keys(),
    "audit": lambda service: service.keys.audit(),
    "datasets": lambda service: service.datasets.page(),
    "bytes": lambda service: service.datasets.bytes("ann"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "studies.db"


@pytest.fixture
def service(file: Path) -> Iterator[SqlService]:
    """Two jobs that wait, and a data set."""
    with SqlService(str(file)).closing() as service:
        filled(service)
        yield service


def filled(service: Service) -> None:
    """Add two jobs that wait, and a data set."""
    for number in range(2):
        service.jobs.add(a_job(number))
    service.datasets.add(a_dataset())


class TestSqlServiceInAFile(ServiceContract):
    """A SQLite file keeps what everything that fills ``Service`` promises."""

    @pytest.fixture
    def service(self, file: Path, surroundings: Surroundings) -> Iterator[SqlService]:
        clock, process = surroundings.clock, surroundings.this_process
        with SqlService(str(file), clock=clock, process=process).closing() as service:
            yield service

    @pytest.fixture
    def wait(self, surroundings: Surroundings) -> Callable[[float], None]:
        def wait(seconds: float) -> None:
            surroundings.seconds += seconds

        return wait


def a_worker(url: str, doing: str) -> "subprocess.Popen[str]":
    """A process that claims jobs of a store, and says the id of each."""
    code = (
        "import sys; from tests.contracts.service_records import *\n"
        "from autopeft.storage.service.sql import SqlService\n"
        "service = SqlService(sys.argv[1])\n"
        "while claim := service.jobs.claim(Lane.RUNS, 'child'):\n"
        f"    print(claim.job.id, flush=True); {doing}\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, url], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_get_every_job_once(file, service):
    """None twice, none left over."""
    for number in range(2, 30):
        service.jobs.add(a_job(number, owner=f"owner {number % 3}"))
    workers = [a_worker(str(file), "claim.write(moved(JobState.SUCCEEDED))") for _ in range(2)]
    found = [worker.communicate()[0].split() for worker in workers]

    assert [worker.returncode for worker in workers] == [0, 0]
    assert sorted(found[0] + found[1]) == [a_job(number).id for number in range(30)]


def test_the_job_of_a_killed_process_goes_on_at_once(file, service):
    """While it lived, it could not be had."""
    with a_worker(str(file), "sys.stdin.read() if claim.job.id == a_job(1).id else 0") as worker:
        held = {worker.stdout.readline().strip() for _ in range(2)}
        assert service.jobs.claim(Lane.RUNS, "w") is None
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        assert service.jobs.waiting(Lane.RUNS)
        again = [claimed(service).job for _ in held]

    assert {job.id for job in again} == held
    assert {job.false_starts for job in again} == {1}


def test_the_study_of_a_lost_worker_is_free_with_its_job(file):
    """Or the next worker would be refused for another minute."""
    surroundings = Surroundings()
    times = {"clock": surroundings.clock, "process": surroundings.this_process}
    service, store = SqlService(str(file), **times), SqlStore(str(file), **times)
    store.add_study(a_study())
    service.jobs.add(a_job(study=a_study().id))
    surroundings.process = replace(this_process(), host="elsewhere")
    claimed(service)
    abandoned = store.lease(a_study().id)
    abandoned.__enter__()
    surroundings.process = this_process()
    surroundings.seconds += 61
    with pytest.raises(StudyError, match="is being run by process"):
        store.lease(a_study().id).__enter__()

    claimed(service)

    with store.lease(a_study().id) as lease:
        lease.renew()


def test_a_job_and_a_study_are_written_side_by_side(file, service):
    """Two stores in one file do not keep each other off."""
    store = SqlStore(str(file))
    store.add_study(a_study())
    claim = claimed(service)
    with store.lease(a_study().id):
        claim.write(moved(JobState.SUCCEEDED))

    assert service.jobs.job(claim.job.id).state == "succeeded"
    assert store.studies() == (a_study(),)


@pytest.mark.usefixtures("service")
def test_a_locked_file_is_refused_after_a_while(file):
    """Every write says so; reading goes on; afterwards all is as before."""
    hasty = SqlService(f"sqlite:///{file}?timeout=0.01")
    claim = claimed(hasty)
    locking = sqlite3.connect(file, isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    held = {"beat": claim.beat, "release": claim.release}
    writes = {name: lambda write=write: write(hasty) for name, write in WRITES.items()} | held

    for write in writes.values():
        with pytest.raises(StoreError, match="is locked by another process that does not let go"):
            write()
    for read in READS.values():
        read(hasty)

    locking.close()
    for write in writes.values():
        write()


def test_a_full_disk_leaves_nothing_half_written(file, service):
    """A job that is refused is not there; there is room again, and it is accepted."""
    filling = a_job(7, request={"text": "x" * 10**6})
    with a_full_disk():
        full = SqlService(str(file))
        with pytest.raises(StoreError, match="the disk is full: free some space"):
            full.jobs.add(filling)
        assert len(full.jobs.page().jobs) == 2
        full.close()

    assert service.jobs.add(filling).events == 1


def test_who_was_without_the_store_of_late_takes_nothing_from_the_silent(file):
    """They may have been without it too; the dead of this machine are dead all the same."""
    surroundings = Surroundings()
    times = {"clock": surroundings.clock, "process": surroundings.this_process}
    service = SqlService(f"sqlite:///{file}?timeout=0.01", **times)
    service.jobs.add(a_job())
    surroundings.process = replace(this_process(), host="elsewhere")
    claim = claimed(service)
    surroundings.process = this_process()
    locking = sqlite3.connect(file, isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="is locked"):
        service.jobs.claim(Lane.RUNS, "w")
    locking.close()
    surroundings.seconds += 90

    assert service.jobs.claim(Lane.RUNS, "w") is None
    assert claim.beat().state == "running"
    surroundings.seconds += 90
    always = SqlService(str(file), **times)  # could read at any time
    assert claimed(always).job.false_starts == 1
    with pytest.raises(JobError, match="another one has taken it over"):
        claim.beat()


def test_it_is_opened_by_its_url(file):
    """Whoever needs it does not know what fills it."""
    with service_of(f"sqlite:///{file}").closing() as service:
        service.jobs.add(a_job())

    assert SqlService(str(file)).jobs.job(a_job().id).events == 1
